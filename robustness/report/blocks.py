"""The content of a report, and the questions about a run that give it.

Pages draw blocks; files and the command line render them. Their texts are unescaped: each format
escapes them in its own way. A question has what it needs, its options, its figures and its blocks;
page, report, command line, Python and gate find it in ``run.REGISTRY``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import pyarrow as pa

from robustness import models
from robustness.base.text import all_of, figure_text, join_names, visible
from robustness.report.maps import BandMap
from robustness.report.tables import Column, Entry, Mark, Table, with_interval
from robustness.runs import Run
from robustness.statistics import Figures, study
from robustness.statistics.choice import NAMES

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
            for column in block.columns:
                yield from _printed(column)
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


def model(name: str) -> str:
    """The readable name of a model, on one line."""
    return visible(models.label(name))


MODEL: Column = ("Model", lambda entry: model(entry["model"]))
"""The first column of a table of models."""


def class_title(name: str, index: int) -> str:
    """What the model called ``name`` calls its class ``index``, on one line."""
    return visible(models.class_name(name, index))


def models_of(entries: Sequence[Mapping[str, Any]]) -> str:
    """The labels of the models of ``entries``."""
    return join_names([model(entry["model"]) for entry in entries])


def sentence(*clauses: str, names: Iterable[str] = ()) -> str:
    """One sentence of ``clauses``, the empty ones left out.

    It begins with a capital letter, unless it begins with one of the models ``names``.
    """
    text = "; ".join(clause for clause in clauses if clause)
    labels = "|".join(re.escape(model(name)) for name in dict.fromkeys(names))
    begins_with_model = labels and re.match(rf"(?:{labels})(?!\w)", text)
    if begins_with_model:
        return f"{text}."
    return f"{text[0].upper()}{text[1:]}."


def code_parts(text: str) -> list[tuple[str, bool]]:
    """The parts of ``text``, each with whether it is code, which stands between backticks."""
    parts = text.split("`")
    return [(part, number % 2 == 1) for number, part in enumerate(parts)]


def visible_part(text: str) -> str:
    """``text`` made ``visible``, with the space at either end that parts it from its neighbours."""
    before = " " if text[:1].isspace() else ""
    after = " " if text[-1:].isspace() else ""
    return f"{before}{visible(text)}{after}"


def folded(value: Any, width: int = 90, indent: int = 0) -> str:
    """``value`` as JSON in ASCII, whatever fits into ``width`` on one line."""
    line = json.dumps(value, allow_nan=False)
    if len(line) + indent <= width or not isinstance(value, Mapping | list | tuple):
        return line
    inner = " " * (indent + 1)
    outer = " " * indent
    if isinstance(value, Mapping):
        parts = [
            f"{inner}{json.dumps(key)}: {folded(part, width, indent + 1)}"
            for key, part in value.items()
        ]
        return "{\n" + ",\n".join(parts) + f"\n{outer}}}"
    parts = [f"{inner}{folded(part, width, indent + 1)}" for part in value]
    return "[\n" + ",\n".join(parts) + f"\n{outer}]"


def order(
    ranking: Sequence[Entry], by: str, significant: Set[tuple[str, str]], unknown: str, digits: int
) -> str:
    """The clause on the highest and the lowest of ``ranking``, by the rate ``by``.

    ``unknown`` says why there is no order; ``significant`` has (better, worse) of every significant
    difference. Rates have so many ``digits`` after the point.
    """
    known = [entry for entry in ranking if entry[by] is not None]
    if not known:
        return "no attack had a correct prediction to break"
    quantity = NAMES[by]
    best, worst = study.ends(known, by)
    highest = _shared_rate(best, by, f".{digits}%")
    if len(known) == 1:
        return f"{models_of(best)}: {quantity} {highest}"
    if not worst:
        return f"{all_of(len(known), 'model')} have the same {quantity}, {highest}"
    lowest = _shared_rate(worst, by, f".{digits}%")
    verb = "has" if len(best) == 1 else "have"
    ends = (
        f"{models_of(best)} {verb} the highest {quantity}, {highest}; "
        f"{models_of(worst)} the lowest, {lowest}"
    )
    if unknown:
        return f"{ends}; {unknown}"
    if not significant:
        return f"{ends}; no difference is significant"
    others = [entry for entry in known if entry not in best]
    close = []
    for entry in others:
        if any((leader["model"], entry["model"]) not in significant for leader in best):
            close.append(entry)
    if close:
        return f"{ends}; the highest is not significantly above {models_of(close)}"
    subject = "the difference is" if len(others) == 1 else "the lead over each other model is"
    return f"{ends}; {subject} significant"


def _shared_rate(entries: Sequence[Entry], by: str, form: str) -> str:
    """The equal rate of ``entries``, with its interval if they share that, too."""
    rates = {with_interval(entry, by, form) for entry in entries}
    return rates.pop() if len(rates) == 1 else figure_text(entries[0], by, form)


def _has_labels(of: RunFigures) -> bool:
    return any(entry["clean_accuracy"] is not None for entry in of.statistics.summary)


F = TypeVar("F")

Tables = Mapping[str, Sequence[Entry]]
"""Figures of a question by name, JSON-ready."""


class RunFigures:
    """A run and what several questions read of it, computed once each."""

    def __init__(
        self,
        run: Run,
        statistics: Figures | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.run = run
        self.options = options
        """By name; the others have their defaults."""
        self._answers: dict[str, Any] = {}
        if statistics is not None:
            self.statistics = statistics

    @cached_property
    def statistics(self) -> Figures:
        return self.run.figures()

    def answer(self, question: Question[F]) -> F:
        """The figures of ``question``."""
        if question.name not in self._answers:
            self._answers[question.name] = question.figures(self)
        figures: F = self._answers[question.name]
        return figures

    def with_answer(self, question: Question[F], figures: F) -> RunFigures:
        """The same, but the figures of ``question`` are ``figures``."""
        other = RunFigures(self.run, self.statistics, self.options)
        other._answers[question.name] = figures
        return other


class Need(NamedTuple):
    """What a question needs of a run."""

    name: str
    met: Callable[[RunFigures], bool]


LABELS = Need("labels", _has_labels)
TWO_MODELS = Need("two models", lambda of: len(of.run.manifest.spec.models) > 1)


ATTACKS = Need("attacks", lambda of: bool(of.statistics.robust_accuracy))


@dataclass(frozen=True)
class Option:
    """What changes the figures of a question: a number, a switch or weights, by its default.

    ``name`` is the keyword in Python, the flag, and the parameter of the link unless that is
    ``key``. ``metavar`` and ``meaning`` explain the flag, ``label`` and ``help`` the input, which a
    page draws if the run has what it ``needs``. A number is ``scale`` times as large there, up to
    ``most``; ``blank`` stands for the default. ``names`` are those that may have a weight.
    """

    name: str
    label: str
    meaning: str
    default: float | bool | Mapping[str, float] | None = None
    metavar: str = "N"
    scale: float = 1.0
    most: float | None = None
    blank: str = "none"
    help: str | None = None
    key: str = ""
    needs: Need | None = None
    names: Callable[[RunFigures], Sequence[str]] = lambda _: ()


def _statistics(of: RunFigures) -> Any:
    return of.statistics


COMPARE = "compare"
FAILURES = "failures"
FIX = "fix"
IMAGES = "images"

VIEWS: Mapping[str, str] = {
    COMPARE: "Compare",
    FAILURES: "Where it fails",
    FIX: "Fix",
    IMAGES: "Images",
}
"""The views in which a page groups the questions, and their titles."""


@dataclass(frozen=True)
class Question(Generic[F]):
    """One question about a run.

    ``title`` heads its section, and ``about`` says beside it what the section answers. ``blocks``
    tell its ``figures``. There is no section without any blocks, or for a run without what it
    ``needs``; ``figures``, ``answers``, ``brief`` and ``tables`` are computed for every run, and
    must work for such a one, too. A page shows it in ``view``, if that is not "". ``link`` is the
    parameter of the link that a click in the section sets.

    A report opens with ``answers``: pairs of a question in words and a sentence. ``brief`` are the
    blocks that a model card and the command line have, ``tables`` the figures in JSON. ``command``
    is the command that prints the section and has the ``options`` as flags.
    """

    name: str
    title: str
    blocks: Callable[[F], Sequence[Block]]
    about: str = ""
    figures: Callable[[RunFigures], F] = _statistics
    view: str = FAILURES
    needs: Sequence[Need] = ()
    options: Sequence[Option] = ()
    link: str = ""
    answers: Callable[[F], Sequence[tuple[str, str]]] = lambda _: ()
    brief: Callable[[F], Sequence[Titled | Text | Map]] = lambda _: ()
    tables: Callable[[F], Tables] = lambda _: {}
    command: str = ""

    def fits(self, of: RunFigures) -> bool:
        """Whether the run of ``of`` has what it needs."""
        return all(need.met(of) for need in self.needs)

    def section(self, of: RunFigures) -> Section | None:
        """Its section of the run's report; None where there is nothing to tell."""
        blocks = self.blocks(of.answer(self)) if self.fits(of) else ()
        return Section(self.title, blocks, self.about, self.link) if blocks else None
