"""The one place of the pages that makes HTML: from the macros of a template, all of it escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NewType

from robustness.base.text import unhidden
from robustness.charts.verdict import percent

Html = NewType("Html", str)
"""Safe to show: no text in it is read as a tag. Only ``html`` makes it."""


def html(part: str, **values: Any) -> Html:
    """The macro ``part`` of the template filled with ``values``, all of which it must name.

    What is ``Html`` already stays as it is; everything else is escaped, and characters that cannot
    be seen stand as their numbers.
    """
    return Html(getattr(_parts(), part)(**values))


@cache
def _parts() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment.get_template("parts.html.j2").module


def _shown(value: Any) -> Any:
    return unhidden(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
