"""Tables and numbers as they are printed, and the texts that figures of a document may have."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from robustness.base.text import format_figure, points
from robustness.report.threshold import round_to_digit
from robustness.statistics.pairs import round_up

NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:%|(?= points?\b))?")
_OWN_TITLE = ("95% interval", "By chance")


class Printed(NamedTuple):
    """A table: its title ("" if none is known), the headings, and the cells of each row.

    A heading that is repeated, or says of which figure it is only by its place, has that of the
    column before it added: "95% interval of Consistency".
    """

    title: str
    head: tuple[str, ...]
    rows: list[dict[str, str]]


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Printed:
    names: list[str] = []
    for name in head:
        names.append(f"{name} of {names[-1]}" if name in _OWN_TITLE else name)
    return Printed(title, tuple(names), [dict(zip(names, row, strict=True)) for row in rows])


def markdown_tables(text: str) -> Iterator[Printed]:
    """The tables of a Markdown file, or of a terminal."""
    title = ""
    lines: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("| "):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            lines.append([re.sub(r"\\(.)", r"\1", cell).strip() for cell in cells])
            continue
        if lines:
            yield _table(title, lines[0], lines[2:])
            lines = []
        if line.startswith("#"):
            title = line.lstrip("# ")


def page_tables(text: str) -> Iterator[Printed]:
    """The tables of a page."""
    for table in re.findall(r"<table.*?</table>", text, re.DOTALL):
        cells = [_cells(row) for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)]
        yield _table("", cells[0], cells[1:])


def _cells(row: str) -> list[str]:
    found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
    return [html.unescape(re.sub("<[^>]*>", "", cell)).strip() for cell in found]


def sentences(text: str) -> Iterator[str]:
    """The lines of ``text`` that belong to no table and are no title."""
    for line in text.splitlines():
        if line and not line.startswith(("|", "#")):
            yield line


def leaves(value: Any) -> Iterator[float]:
    """Every number in ``value``, which JSON holds."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from leaves(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def texts_of(*documents: Any) -> set[str]:
    """How a sentence may write the figures of ``documents``, complements of shares included."""
    texts: set[str] = set()
    for value in leaves(documents):
        if isinstance(value, int):
            texts |= {f"{value:,}", f"{round_up(value):,}", round_to_digit(value)}
            continue
        if value.is_integer():
            texts.add(f"{value:.0f}")
        for share in (value, 1 - value):
            texts |= {format_figure(share, form) for form in (".0%", ".1%")}
        texts |= {points(value, form) for form in ("+.1f", ".1f", ".0f", "+.0f")}
        texts |= {points(-value, form) for form in ("+.1f", ".1f")}
        texts |= {format_figure(value, form) for form in (".3f", ".1f", ".0f", "g")}
        texts.add(f"{value:.7f}".rstrip("0").rstrip("."))
    return texts


def unsaid(text: str, names: Iterable[str], said: set[str]) -> list[str]:
    """The numbers in ``text`` that are not ``said``; those within ``names`` are none."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, " ")
    return [number for number in NUMBER.findall(text) if number.rstrip(",") not in said]
