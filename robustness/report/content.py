"""What a report says, before it is put on paper: the one content that every format renders.

All text is as it came, escaped by nobody: each format does that in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa

from robustness.charts.film import Played
from robustness.charts.tables import Table
from robustness.charts.verdict import Mark


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Titled:
    """A table with its caption. One that is ``long`` is folded where the format can do that."""

    caption: str
    table: Table
    long: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure with its text alternative; ``note`` stands below it."""

    title: str
    figure: go.Figure
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Shot:
    """An image as the bytes of a lossless PNG."""

    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Case:
    """Images side by side, the verdict on one prediction, if any, and lines of text."""

    title: str
    shots: Sequence[Shot]
    verdict: Mark | None
    lines: Sequence[str]


@dataclass(frozen=True)
class Cases:
    """Cases that are read one at a time, anew for every format."""

    caption: str
    read: Callable[[], Iterator[Case]]


@dataclass(frozen=True)
class Film:
    """What ``charts.film.played`` gives, made anew for every format that plays it.

    Those that cannot play show the ``stills`` of it, or the ``title`` alone.
    """

    title: str
    note: str
    read: Callable[[], Played]
    stills: Cases


Block = Text | Titled | Chart | Cases | Film


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Data:
    """The tidy rows in the schema ``robustness.evaluation.rows.SCHEMA``, a table at a time.

    ``tables`` holds what was worked out from the rows, by name, JSON-ready.
    """

    read: Callable[[], Iterator[pa.Table]]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


BRACKETS = "Brackets hold 95 % intervals."
"""The note of an answer whose rates stand beside their intervals."""


@dataclass(frozen=True)
class Report:
    """A result that can be handed on.

    ``answer`` is three sentences. ``facts`` are short pairs (name, value), ``cautions`` what must
    be read before the numbers. ``brief`` are the tables of a model card. ``manifest`` is enough to
    get the same rows again, and ``replay`` says how. ``note`` explains the signs in the answer.
    """

    title: str
    question: str
    answer: tuple[str, str, str]
    facts: Sequence[tuple[str, str]]
    cautions: Sequence[str]
    sections: Sequence[Section]
    brief: Sequence[Titled]
    methods: Sequence[Block]
    limits: Sequence[str]
    manifest: Mapping[str, Any]
    replay: str
    data: Data
    note: str = ""

    def facts_at(self, when: datetime) -> list[tuple[str, str]]:
        """``facts``, and ``when`` the report was made."""
        return [*self.facts, ("Report of", f"{when:%Y-%m-%d %H:%M} UTC")]
