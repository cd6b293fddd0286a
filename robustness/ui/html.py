"""The only place where pages make HTML: from the macros of a template, escaped."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NewType

from robustness.base.text import share, unhidden
from robustness.report.maps import BandMap
from robustness.report.tables import percent

Html = NewType("Html", str)
"""Safe HTML: all text in it is escaped. Only this module makes it."""


def html(part: str, **values: Any) -> Html:
    """The macro ``part`` of the template filled with ``values``.

    ``Html`` stays as it is. Everything else is escaped, and invisible characters become numbers.
    """
    macro = getattr(_parts(), part)
    return Html(macro(**values))


def drawings(maps: Iterable[BandMap]) -> Html:
    """``maps`` one below the other, without clicks; they escape their texts themselves."""
    return Html("".join(band_map.html for band_map in maps))


@cache
def _parts() -> Any:
    """The macros of the template, as attributes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, share=share)
    return environment.get_template("parts.html.j2").module


def _printable(value: Any) -> Any:
    """``value`` as a template shows it: text from outside has no invisible characters."""
    is_text = isinstance(value, str) and not hasattr(value, "__html__")
    return unhidden(value) if is_text else value
