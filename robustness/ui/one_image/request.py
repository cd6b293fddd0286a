"""What the views with sliders show: an image under a condition, and the models' predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.text import counted
from robustness.charts.verdict import Mark, correct_models, tally, verdict
from robustness.evaluation.condition import NOTHING, Condition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.framings import version_for
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import Request, spec_of
from robustness.pictures.picture import Picture
from robustness.report.questions.threshold import AcceptedFrom
from robustness.ui.browser import components
from robustness.ui.browser.html import Html, html
from robustness.ui.computation import cache
from robustness.ui.display import results

Answer = Measurement | RobustnessError


class Acceptance(NamedTuple):
    """The verdict on a prediction, rejected or not, and what the safe threshold says, in words."""

    mark: Mark
    text: str = ""


class RemedyLine(NamedTuple):
    """The prediction of a model behind a remedy; without one, ``text`` says why."""

    label: str
    row: cache.Remedied | None
    mark: Mark | None
    text: str


class RemedyEffect(NamedTuple):
    """What a remedy changes: its label, and a line per model, or one of all together."""

    label: str = ""
    lines: Sequence[RemedyLine] = ()

    @property
    def marks(self) -> list[Mark]:
        """The verdicts on its predictions."""
        return [line.mark for line in self.lines if line.mark is not None]

    @property
    def rank(self) -> tuple[float, float]:
        """The share of good predictions, then their confidence: the best is first."""
        good = [
            line.row.probability for line in self.lines if line.row and line.mark and line.mark.good
        ]
        return -len(good) / max(1, len(self.marks)), -sum(good)

    @property
    def by_model(self) -> dict[str, RemedyLine]:
        return {line.label: line for line in self.lines}


class LiveRequest(NamedTuple):
    """An image under a condition, and the models that predict it."""

    picture: Picture
    condition: Condition
    models: tuple[str, ...]
    seed: int
    truth: str | None = None
    """The true class of the image, where it is known."""
    remedy: str = ""
    """The id of the remedy whose effect is shown, too."""
    cards: bool = True
    """Whether a card per model has its top-5 classes."""
    thresholds: Mapping[str, AcceptedFrom] = MappingProxyType({})
    """The safe thresholds in use, by model."""

    @property
    def of_whom(self) -> tuple[str, ...]:
        """The image, its true class and the models."""
        digests = (version.digest for version in self.picture.versions)
        return (*digests, str(self.truth), *self.models)

    @property
    def id(self) -> str:
        """Identify all that is shown."""
        return " ".join([*self.of_whom, self.condition.id, str(self.seed)])

    @property
    def spec(self) -> Request:
        return spec_of(self.picture, self.models, [self.condition], self.seed)

    @property
    def several_models(self) -> bool:
        """Whether several models can predict one image together."""
        return len(self.models) > 1 and not self.picture.others

    @property
    def what(self) -> str:
        """The condition in words."""
        return NOTHING if self.condition.idle else self.condition.label

    def change(self) -> cache.Altered:
        """The image under the condition."""
        return cache.change(self.picture, self.condition, self.seed)

    def acceptances(self, rows: Mapping[str, Measurement]) -> dict[str, Acceptance]:
        """The verdict on each of ``rows`` by the safe thresholds in use, by model."""
        acceptances = {}
        for name, row in rows.items():
            mark, threshold = verdict(row), self.thresholds.get(name)
            if threshold is None:
                acceptances[name] = Acceptance(mark)
                continue
            framing = version_for(self.picture, name).framing
            at = f"safe threshold {threshold.text}"
            if change := threshold.stale(models.digest(models.REGISTRY[name]), framing):
                text = f"Its {at} is out of date: it was made for {change}"
                acceptances[name] = Acceptance(mark, text)
                continue
            if untested := threshold.untested(self.condition):
                at += f", which was not tested under {untested}"
            if threshold.accepts(row.top5_probabilities):
                acceptances[name] = Acceptance(mark, f"Accepted by its {at}")
            else:
                acceptances[name] = Acceptance(mark.rejected, f"Would be rejected by its {at}")
        return acceptances

    def answers(
        self, altered: cache.Altered, who: str | None = None
    ) -> Iterator[tuple[str, Answer]]:
        """Start all forward passes, in the turns of ``who``; yield each result as it arrives.

        Each row gets the true class as its label.
        """
        coming = cache.answers(self.spec, self.picture, self.models, altered, who)
        return ((name, labelled(answer, self.truth)) for name, answer in coming)


_NO_REMEDY = RemedyEffect()


def answer_cards(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    note: str = "",
    remedied: RemedyEffect = _NO_REMEDY,
) -> components.Answers:
    """The headline, the verdicts and a card per model; ``answers`` holds the results so far."""
    rows = {name: row for name, row in answers.items() if isinstance(row, Measurement)}
    accepted = request.acceptances(rows)
    return components.Answers(
        headline=_headline(request, list(rows.values()), accepted, remedied),
        verdicts=_verdicts(request, rows, accepted, remedied),
        cards=[
            _card(name, answers.get(name), accepted, remedied)
            for name in request.models
            if request.cards
        ],
        note=note,
    )


def _card(
    name: str, row: Answer | None, accepted: Mapping[str, Acceptance], remedied: RemedyEffect
) -> Html:
    if isinstance(row, Measurement):
        mark, text = accepted[name]
        return results.card(row, remedied=_remedied_text(name, remedied), mark=mark, accepted=text)
    text = "Waiting …" if row is None else str(row)
    return html("card_without", label=models.label(name), text=text, failed=row is not None)


def _remedied_text(name: str, remedied: RemedyEffect) -> str:
    """The prediction of a model with the remedy, in words; "" without one of its own."""
    line = remedied.by_model.get(models.label(name))
    if line is None or line.row is None or line.mark is None:
        return ""
    return f"With {remedied.label}: {line.mark.sign} {line.text} {line.row.probability:.1%}"


def with_remedy(rows: Sequence[Measurement], remedied: RemedyEffect) -> str:
    """How many predictions are correct (unchanged) without and with the remedy."""
    marks = remedied.marks
    before = correct_models(rows)
    if not before:
        good = sum(verdict(row).good for row in rows)
        before = f"{good} of {counted(len(rows), 'prediction')} unchanged"
    if len(marks) == 1:
        return f"{before}; with {remedied.label}: {marks[0].text}"
    return f"{before}, {sum(mark.good for mark in marks)} of {len(marks)} with {remedied.label}"


def _headline(
    request: LiveRequest,
    rows: Sequence[Measurement],
    accepted: Mapping[str, Acceptance],
    remedied: RemedyEffect,
) -> Html:
    """The result in one sentence."""
    idle, total = request.condition.idle, len(request.models)
    text = correct_models(rows) if idle else tally(rows)
    if remedied.marks:
        text = with_remedy(rows, remedied)
    if rejected := sum(acceptance.mark.tone == "rejected" for acceptance in accepted.values()):
        text += f"; {rejected} would be rejected" if total > 1 else "; it would be rejected"
    if len(rows) < total or not total:
        text = f"{len(rows)} of {counted(total, 'model')} done"
    if not text:
        return results.headline("Add a perturbation to start.")
    return results.headline(f"{'Original' if idle else request.what}: {text}.")


def _verdicts(
    request: LiveRequest,
    answered: Mapping[str, Measurement],
    accepted: Mapping[str, Acceptance],
    remedied: RemedyEffect,
) -> Html:
    """One line per model: its verdict, its prediction, and that with the remedy."""
    lines = []
    after = remedied.by_model
    for name in request.models:
        row, label = answered.get(name), models.label(name)
        mark, title = row and accepted[name].mark, row and models.class_name(name, row.top1)
        lines.append((label, row, mark, title, after.pop(label, None)))
    return html("verdicts", lines=lines, remedy=remedied.label, together=after.values())
