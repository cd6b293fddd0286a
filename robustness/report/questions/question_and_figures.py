"""A question about a run: what it needs, its options, its figures and its blocks.

Page, report, command line, Python and gate find it in ``questions.REGISTRY``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from robustness.charts.ranking_and_condition_tables import Entry
from robustness.report.blocks import Block, Map, Section, Text, Titled
from robustness.runs import Run
from robustness.statistics import Figures

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


LABELS = Need(
    "labels", lambda of: any(e["clean_accuracy"] is not None for e in of.statistics.summary)
)
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


COMPARE, FAILURES, FIX, IMAGES = "compare", "failures", "fix", "images"

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
