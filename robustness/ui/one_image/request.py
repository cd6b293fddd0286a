"""What Live shows: an image under a condition, and the models' predictions."""

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
from robustness.evaluation.framings import framing
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import Request, spec_of
from robustness.perturbations import REGISTRY
from robustness.pictures.picture import Picture
from robustness.report.questions.threshold import AcceptedFrom
from robustness.ui.browser import components
from robustness.ui.browser.html import Html, html
from robustness.ui.computation import cache
from robustness.ui.display import results
from robustness.ui.session.boundary import sentence

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
    failed: Mapping[str, str] = MappingProxyType({})
    """The sentences of the chosen models that cannot run, by name."""
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
    def of_bands(self) -> str:
        """Identify the bands but for the perturbations."""
        return " ".join([*self.of_whom, str(self.seed), self.remedy])

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
            own = framing(*self.picture.overrides, name)
            at = f"safe threshold {threshold.text}"
            if change := threshold.stale(models.digest(models.REGISTRY[name]), own):
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
    """The headline, a row and a card per model; ``answers`` holds the results so far."""
    rows = {name: row for name, row in answers.items() if isinstance(row, Measurement)}
    accepted = request.acceptances(rows)
    return components.Answers(
        headline=_headline(request, answers, accepted, remedied),
        rows=_rows(request, answers, accepted, remedied),
        cards=[_card(name, answers.get(name), accepted) for name in request.models],
        note=note,
    )


def _card(name: str, row: Answer | None, accepted: Mapping[str, Acceptance]) -> Html:
    if isinstance(row, Measurement):
        return results.card(row, alone=False, accepted=accepted[name].text)
    text = "Waiting …" if row is None else str(row)
    return html("card_without", label=models.label(name), text=text, failed=row is not None)


def _with_remedy(rows: Sequence[Measurement], remedied: RemedyEffect) -> str:
    """How many predictions are correct (unchanged) without and with the remedy."""
    marks, before = remedied.marks, tally(rows).partition(";")[0]
    if len(marks) == 1:
        return f"{before}; with {remedied.label}: {marks[0].text}"
    return f"{before}, {sum(mark.good for mark in marks)} of {len(marks)} with {remedied.label}"


def _headline(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    accepted: Mapping[str, Acceptance],
    remedied: RemedyEffect,
) -> Html:
    """The result in one sentence of at most twelve words, most of the time."""
    idle, total = request.condition.idle, len(request.models)
    rows = [row for row in answers.values() if isinstance(row, Measurement)]
    if len(answers) < total or not rows:
        text = f"{len(rows)} of {counted(total, 'model')} done"
    elif remedied.marks:
        text = _with_remedy(rows, remedied)
    else:
        text = correct_models(rows) if idle else tally(rows)
    if rejected := sum(acceptance.mark.tone == "rejected" for acceptance in accepted.values()):
        text += f"; {rejected} would be rejected" if total > 1 else "; it would be rejected"
    if not text:
        return results.headline("No perturbation yet.")
    steps = [REGISTRY[name].label for name, _ in request.condition.steps]
    what = "Original" if idle else steps[0] + f" and {len(steps) - 1} more" * (len(steps) > 1)
    return results.headline(f"{what}: {text}.")


def _rows(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    accepted: Mapping[str, Acceptance],
    remedied: RemedyEffect,
) -> Html:
    """One row per model: its verdict, its prediction, and that with the remedy."""
    lines = []
    after = remedied.by_model
    for name in (*request.models, *request.failed):
        answer, label = answers.get(name), models.label(name)
        row = answer if isinstance(answer, Measurement) else None
        mark, title = row and accepted[name].mark, row and models.class_name(name, row.top1)
        failure = sentence(answer) if isinstance(answer, RobustnessError) else ""
        error = request.failed.get(name) or failure
        lines.append((name, label, row, mark, title, after.pop(label, None), error))
    return html("rows", lines=lines, remedy=remedied.label, together=after.values())
