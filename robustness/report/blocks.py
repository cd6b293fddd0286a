"""The content of a report: pages draw it, files and the command line render it.

Texts are unescaped: each format escapes them in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustness.charts.band_and_map_drawing import BandMap
from robustness.charts.ranking_and_condition_tables import Table
from robustness.charts.verdict_signs_and_words import Mark

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Text:
    """A paragraph; a page shows ``help``, how the figures are computed, behind an icon."""

    text: str
    help: str = ""


@dataclass(frozen=True)
class Titled:
    """A table with its caption; ``long`` ones are folded where the format allows it."""

    caption: str
    table: Table
    long: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure with its text alternative, and a ``note`` below it.

    On a page, a click on a point is kept in the link under ``link``.
    """

    title: str
    figure: go.Figure
    alt: str
    note: str = ""
    link: str = ""


@dataclass(frozen=True)
class Map:
    """A drawn map and a ``note`` below it; a format without drawings has it in words.

    On a page, a click on a tile is kept in the link under ``link``.
    """

    title: str
    drawing: BandMap
    note: str = ""
    link: str = ""


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
    """Cases, read one at a time and again for every format."""

    caption: str
    read: Callable[[], Iterator[Case]]


@dataclass(frozen=True)
class Chooser:
    """Blocks that depend on an option: a page shows those of one, files those of ``printed``.

    ``key`` is the control's parameter of the link. ``listed`` options open as a list.
    """

    label: str
    key: str
    options: Mapping[str, str]
    read: Callable[[str], Sequence[Block]]
    printed: Sequence[str]
    first: str = ""
    listed: bool = False


@dataclass(frozen=True)
class Columns:
    """Blocks that a wide page shows in columns; files show them one after the other."""

    columns: Sequence[Sequence[Block]]


Printed = Text | Titled | Chart | Map | Cases
"""What every format can render."""
Block = Printed | Chooser | Columns


@dataclass(frozen=True)
class Section:
    """A heading and its blocks.

    ``about`` says what they answer, beside the heading of a folded section. ``link`` is the
    parameter that a click in one of them sets.
    """

    title: str
    blocks: Sequence[Block]
    about: str = ""
    link: str = ""

    @property
    def printed(self) -> list[Printed]:
        """The blocks of a file, which has no controls."""
        return list(_printed(self.blocks))


def _printed(blocks: Sequence[Block]) -> Iterator[Printed]:
    for block in blocks:
        if isinstance(block, Chooser):
            for option in block.printed:
                yield from _printed(block.read(option))
        elif isinstance(block, Columns):
            yield from _printed([*chain(*block.columns)])
        else:
            yield block


@dataclass(frozen=True)
class Data:
    """The tidy rows in the schema ``evaluation.row_schema.schema(own)``, a table at a time.

    ``tables`` holds the figures computed from the rows, by name, JSON-ready. ``own`` are the
    metrics of plugins.
    """

    read: Callable[[], Iterator[pa.Table]]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    own: Sequence[str] = ()


BRACKETS = "Parentheses: 95% intervals."
"""The note of an answer with intervals."""


@dataclass(frozen=True)
class Report:
    """A result to share.

    ``answers`` are pairs of a question and a sentence. ``facts`` are short pairs (name, value),
    ``cautions`` must be read before the numbers. ``brief`` are the tables of a model card and of
    the command line. ``manifest`` suffices to reproduce the rows, and ``replay`` says how. ``note``
    explains the answers.
    """

    title: str
    answers: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    cautions: Sequence[str]
    sections: Sequence[Section]
    brief: Sequence[Titled | Text | Map]
    methods: Sequence[Printed]
    limits: Sequence[str]
    manifest: Mapping[str, Any]
    replay: str
    data: Data
    note: str = ""

    @property
    def question(self) -> str:
        """The first question, which stands for the report."""
        return self.answers[0][0]

    @property
    def answer(self) -> tuple[str, ...]:
        """The sentences, without their questions."""
        return tuple(sentence for _, sentence in self.answers)

    def facts_at(self, when: datetime) -> list[tuple[str, str]]:
        """``facts``, and ``when`` the report was made."""
        return [*self.facts, ("Report made", f"{when:%Y-%m-%d %H:%M} UTC")]
