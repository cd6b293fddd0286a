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
    return Html(getattr(_parts(), part)(**values))


def drawings(maps: Iterable[BandMap]) -> Html:
    """``maps`` one below the other, without clicks; they escape their texts themselves."""
    return Html("".join(each.html for each in maps))


@cache
def _parts() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "share": share}
    return environment.get_template("parts.html.j2").module


def _printable(value: Any) -> Any:
    return unhidden(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
