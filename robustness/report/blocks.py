"""The building blocks of a report, and the questions about a run that it answers.

A report is made of blocks, such as texts, tables and charts. Pages draw them, and each file format
renders them. The texts in blocks are not escaped: each format escapes them in its own way.

A question computes figures from a run and turns them into blocks. The registry in
``robustness.report.run`` lists all questions, and the page, the reports, the command line, the
Python interface and the gate take them from there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import pyarrow as pa

from robustness import models
from robustness.base.options import Field, fields_of
from robustness.base.text import all_of, figure_text, join_names, visible
from robustness.report.maps import BandMap
from robustness.report.tables import Column, Entry, Mark, Table, with_interval
from robustness.runs import Analysis, Run
from robustness.statistics import Figures, study
from robustness.statistics.choice import NAMES

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Text:
    """A paragraph.

    ``help`` explains how its figures are computed. A page shows it behind an icon; files leave it
    out.
    """

    text: str
    help: str = ""


@dataclass(frozen=True)
class Titled:
    """A table with its caption.

    A ``long`` table is collapsed at first where the format allows it.
    """

    caption: str
    table: Table
    long: bool = False


@dataclass(frozen=True)
class Chart:
    """A Plotly figure with its text alternative ``alt`` and a ``note`` below it.

    ``link`` is the query parameter in which a page keeps the point that was clicked, "" if clicks
    do nothing.
    """

    title: str
    figure: go.Figure
    alt: str
    note: str = ""
    link: str = ""


@dataclass(frozen=True)
class Map:
    """A map with a ``note`` below it. Formats without drawings show it as a table.

    ``link`` is the query parameter in which a page keeps the tile that was clicked, "" if clicks
    do nothing.
    """

    title: str
    drawing: BandMap
    note: str = ""
    link: str = ""


@dataclass(frozen=True)
class Shot:
    """An image as lossless PNG bytes, with its caption and text alternative."""

    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Case:
    """Images side by side with lines of text, and the verdict on the prediction if there is one."""

    title: str
    shots: Sequence[Shot]
    verdict: Mark | None
    lines: Sequence[str]


@dataclass(frozen=True)
class Cases:
    """Several cases under a caption.

    ``read`` loads the images of one case at a time, so that a report never holds all of them in
    memory. It is called anew for every format.
    """

    caption: str
    read: Callable[[], Iterator[Case]]


@dataclass(frozen=True)
class Chooser:
    """A control that selects one of several ``options``, and the blocks of each option.

    ``options`` maps each option to its title, and ``read`` returns the blocks of an option. A page
    shows the blocks of the selected option, ``first`` to begin with; a file shows those of all
    ``printed`` options one after the other. ``key`` is the query parameter that holds the
    selection. If ``listed``, the control is a drop-down list.
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
    """Blocks that a wide page shows side by side. Files show them one after the other."""

    columns: Sequence[Sequence[Block]]


Printed = Text | Titled | Chart | Map | Cases
"""A block that every format can render."""
Block = Printed | Chooser | Columns
"""A block that a page can draw."""


@dataclass(frozen=True)
class Section:
    """A heading and its blocks.

    ``about`` says what the blocks answer; a page shows it beside the heading of a collapsed
    section. ``link`` is the query parameter that a click in one of the blocks sets.
    """

    title: str
    blocks: Sequence[Block]
    about: str = ""
    link: str = ""

    @property
    def printed(self) -> list[Printed]:
        """The blocks as a file shows them, which has neither controls nor columns."""
        return list(_without_controls(self.blocks))


def _without_controls(blocks: Sequence[Block]) -> Iterator[Printed]:
    for block in blocks:
        if isinstance(block, Chooser):
            for option in block.printed:
                yield from _without_controls(block.read(option))
        elif isinstance(block, Columns):
            for column in block.columns:
                yield from _without_controls(column)
        else:
            yield block


@dataclass(frozen=True)
class Data:
    """The rows behind a report, and the tables computed from them.

    ``read`` yields the rows as Arrow tables in the schema ``measure.rows.schema(own_scores)``; it
    is None for a report without rows, which has no format of rows alone.
    ``tables`` maps names to lists of JSON-ready records. ``own_scores`` are the names of the
    metrics of plugins, each of which is a column of the rows.
    """

    read: Callable[[], Iterator[pa.Table]] | None
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    own_scores: Sequence[str] = ()


BRACKETS = "Parentheses: 95% intervals."
"""The note below answers that contain intervals."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the command line prints of a result.

    - ``answers`` are pairs of a question and a sentence, and ``note`` explains them.
    - ``cautions`` are sentences that must be read before the figures.
    - ``brief`` are the blocks that a model card shows, too.
    """

    answers: Sequence[tuple[str, str]]
    cautions: Sequence[str]
    brief: Sequence[Titled | Text | Map]
    note: str = ""

    @property
    def answer(self) -> tuple[str, ...]:
        """The sentences of ``answers`` without their questions."""
        return tuple(sentence for _, sentence in self.answers)


@dataclass(frozen=True, kw_only=True)
class Report(Summary):
    """A result to share, before it is rendered in one of the formats.

    - ``facts`` are pairs of a name and a value, such as ("Seed", "0").
    - ``methods`` and ``limits`` explain how the figures were made, and what they cannot show.
    - ``manifest`` suffices to reproduce the rows, and ``replay`` says how.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    methods: Sequence[Printed]
    limits: Sequence[str]
    manifest: Mapping[str, Any]
    replay: str
    data: Data

    @property
    def question(self) -> str:
        """The first question of ``answers``."""
        return self.answers[0][0]

    def facts_at(self, when: datetime) -> list[tuple[str, str]]:
        """The facts, followed by the time ``when`` (in UTC) at which the report was made."""
        return [*self.facts, ("Report made", f"{when:%Y-%m-%d %H:%M} UTC")]


def model_label(name: str) -> str:
    """Return the display name of the model called ``name``, on one line."""
    return visible(models.label(name))


MODEL: Column = ("Model", lambda entry: model_label(entry["model"]))
"""A column with the display name of the model of each entry."""


def class_title(model_name: str, index: int) -> str:
    """Return the name of the class ``index`` of a model, on one line."""
    return visible(models.class_name(model_name, index))


def joined_models(entries: Sequence[Entry]) -> str:
    """Return the display names of the models of ``entries`` as a list in a sentence."""
    return join_names([model_label(entry["model"]) for entry in entries])


def sentence(*clauses: str, names: Iterable[str] = ()) -> str:
    """Join the non-empty ``clauses`` with semicolons to one sentence.

    Its first letter becomes a capital, except where the sentence begins with the display name of
    one of the models ``names``, which may have a small initial.
    """
    text = "; ".join(clause for clause in clauses if clause)
    labels = "|".join(re.escape(model_label(name)) for name in dict.fromkeys(names))
    # "net" at the start of "networks" is not the model "net".
    if labels and re.match(rf"(?:{labels})(?!\w)", text):
        return f"{text}."
    return f"{text[0].upper()}{text[1:]}."


def code_parts(text: str) -> list[tuple[str, bool]]:
    """Split ``text`` at its backticks into pairs of a part and whether that part is code."""
    # Text and code alternate, and a text begins outside of code.
    return [(part, number % 2 == 1) for number, part in enumerate(text.split("`"))]


def visible_part(text: str) -> str:
    """Return ``visible(text)`` with a space at either end where ``text`` has white space.

    ``visible`` strips its text, but a part of a sentence must stay apart from its neighbours.
    """
    before = " " if text[:1].isspace() else ""
    after = " " if text[-1:].isspace() else ""
    return f"{before}{visible(text)}{after}"


def folded(value: Any, width: int = 90, indent: int = 0) -> str:
    """Return ``value`` as ASCII JSON, with everything that fits into ``width`` on one line."""
    line = json.dumps(value, allow_nan=False)
    if len(line) + indent <= width:
        return line
    inner_indent = " " * (indent + 1)
    if isinstance(value, Mapping):
        members = []
        for key, member in value.items():
            text = folded(member, width, indent + 1)
            members.append(f"{inner_indent}{json.dumps(key)}: {text}")
        opening = "{"
        closing = "}"
    elif isinstance(value, list | tuple):
        members = [f"{inner_indent}{folded(member, width, indent + 1)}" for member in value]
        opening = "["
        closing = "]"
    else:
        return line
    body = ",\n".join(members)
    return f"{opening}\n{body}\n{' ' * indent}{closing}"


def order_clause(
    ranking: Sequence[Entry],
    rate: str,
    significant: Set[tuple[str, str]],
    *,
    no_order: str = "",
    digits: int,
    score: str = "",
) -> str:
    """Return the clause that names the models with the highest and the lowest ``rate``.

    ``significant`` contains the pair (better, worse) of models for each significant difference.
    ``no_order`` is the reason why differences were not tested, "" if they were. Percentages have
    ``digits`` decimals. ``score`` is the name of the score of a run of scores.
    """
    known = [entry for entry in ranking if entry[rate] is not None]
    if not known:
        return "no attack had a correct prediction to break"
    quantity = NAMES[rate]
    if score:
        quantity = quantity.replace("accuracy", score)
    best, worst = study.ends(known, rate)
    highest = _shared_rate(best, rate, f".{digits}%")
    if len(known) == 1:
        return f"{joined_models(best)}: {quantity} {highest}"
    if not worst:
        return f"{all_of(len(known), 'model')} have the same {quantity}, {highest}"

    lowest = _shared_rate(worst, rate, f".{digits}%")
    verb = "has" if len(best) == 1 else "have"
    ends = (
        f"{joined_models(best)} {verb} the highest {quantity}, {highest}; "
        f"{joined_models(worst)} the lowest, {lowest}"
    )
    if no_order:
        return f"{ends}; {no_order}"
    if not significant:
        return f"{ends}; no difference is significant"

    others = [entry for entry in known if entry not in best]
    not_exceeded = []
    for entry in others:
        if any((leader["model"], entry["model"]) not in significant for leader in best):
            not_exceeded.append(entry)
    if not_exceeded:
        return f"{ends}; the highest is not significantly above {joined_models(not_exceeded)}"
    if len(others) == 1:
        return f"{ends}; the difference is significant"
    return f"{ends}; the lead over each other model is significant"


def _shared_rate(entries: Sequence[Entry], rate: str, form: str) -> str:
    """Return the ``rate`` that all ``entries`` have, with the interval if that is the same, too."""
    texts = {with_interval(entry, rate, form) for entry in entries}
    if len(texts) == 1:
        return texts.pop()
    return figure_text(entries[0], rate, form)


F = TypeVar("F")
"""The figures of a question."""

Tables = Mapping[str, Sequence[Entry]]
"""JSON-ready records by the name of their table."""


class RunFigures:
    """The figures that questions read of a run, each computed when it is first asked for.

    ``options`` are values of the options of questions by their names; options that are missing
    have their defaults.
    """

    def __init__(
        self, analysis: Analysis, options: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.analysis = analysis
        self.options = options
        self._answers: dict[str, Any] = {}

    @property
    def run(self) -> Run:
        return self.analysis.run

    @property
    def statistics(self) -> Figures:
        return self.analysis.figures

    def answer(self, question: Question[F]) -> F:
        """Return the figures of ``question``."""
        if question.name not in self._answers:
            self._answers[question.name] = question.figures(self)
        figures: F = self._answers[question.name]
        return figures

    def with_answer(self, question: Question[F], figures: F) -> RunFigures:
        """Return a copy of these figures in which those of ``question`` are ``figures``."""
        copy = RunFigures(self.analysis, self.options)
        copy._answers[question.name] = figures
        return copy


class Need(NamedTuple):
    """A property that a run must have for a question to make sense."""

    name: str
    met: Callable[[RunFigures], bool]


def _has_labels(figures: RunFigures) -> bool:
    return any(entry["clean_accuracy"] is not None for entry in figures.statistics.summary)


def _has_several_models(figures: RunFigures) -> bool:
    return len(figures.run.manifest.spec.models) > 1


def _has_attacks(figures: RunFigures) -> bool:
    return bool(figures.statistics.robust_accuracy)


def _has_predicted_classes(figures: RunFigures) -> bool:
    return not figures.run.score


def _has_profile(figures: RunFigures) -> bool:
    return bool(figures.run.manifest.spec.profiles)


LABELS = Need("labels", _has_labels)
PREDICTED_CLASSES = Need("predicted classes", _has_predicted_classes)
TWO_MODELS = Need("two models", _has_several_models)
ATTACKS = Need("attacks", _has_attacks)
PROFILE = Need("a profile", _has_profile)


def _statistics(figures: RunFigures) -> Any:
    return figures.statistics


def all_figures(figures: RunFigures) -> RunFigures:
    """Return ``figures`` as they are, for a question that computes nothing before its section."""
    return figures


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
"""The views of the page of a run, with their titles. Each question is shown in one of them."""


@dataclass(frozen=True)
class Question(Generic[F]):
    """One question about a run, from the figures that answer it to the blocks that show them.

    ``figures`` computes the figures. The other functions take these figures:

    - ``blocks`` returns the blocks of its section;
    - ``answers`` returns pairs of a question in words and a sentence, with which a report opens;
    - ``brief`` returns the blocks that a model card and the command line show;
    - ``tables`` returns the figures as JSON-ready records.

    Without ``answers`` and ``brief`` a summary of the run does not compute the figures.

    A section has the heading ``title``, and ``about`` says what it answers. There is no section for
    a run without what the question ``needs``, nor if there are no blocks. All others are called for
    every run, and must work without the needs as well.

    ``view`` is the view of the page that shows the section, "" for none, and ``link`` is the query
    parameter that a click in the section sets. ``command`` is the command that prints the section,
    with the options of the record ``options`` as flags. A page draws their inputs, those with
    ``option_needs`` for runs that meet them; ``names`` are what may have a weight.
    """

    name: str
    title: str
    blocks: Callable[[F], Sequence[Block]]
    about: str = ""
    figures: Callable[[RunFigures], F] = _statistics
    view: str = FAILURES
    needs: Sequence[Need] = ()
    options: type | None = None
    option_needs: Mapping[str, Need] = field(default_factory=dict)
    names: Callable[[RunFigures], Sequence[str]] = lambda _: ()
    link: str = ""
    answers: Callable[[F], Sequence[tuple[str, str]]] | None = None
    brief: Callable[[F], Sequence[Titled | Text | Map]] | None = None
    tables: Callable[[F], Tables] = lambda _: {}
    command: str = ""

    @property
    def fields(self) -> Mapping[str, Field]:
        """The fields of its options by name."""
        return {} if self.options is None else fields_of(self.options)

    def fits(self, figures: RunFigures) -> bool:
        """Return whether the run has everything that the question needs."""
        return all(need.met(figures) for need in self.needs)

    def section(self, figures: RunFigures) -> Section | None:
        """Return the section of the question in a report, None if there is nothing to show."""
        if not self.fits(figures):
            return None
        blocks = self.blocks(figures.answer(self))
        if not blocks:
            return None
        about = self.about
        if figures.run.score:  # its mean stands in place of the accuracy
            about = about.replace("accuracy", figures.run.score)
        return Section(self.title, blocks, about, self.link)
