"""The predictions of Live: a headline, and a row and a card for each model."""

from __future__ import annotations

from collections.abc import Mapping

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.text import counted
from robustness.charts.verdict_signs_and_words import correct_models, tally
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.perturbations import REGISTRY
from robustness.ui.browser import components
from robustness.ui.browser.escaped_html import Html, html
from robustness.ui.display import image_pairs_and_cards
from robustness.ui.one_image.live_request_and_threshold_verdict import (
    Answer,
    LiveRequest,
    ThresholdVerdict,
)
from robustness.ui.one_image.remedies import RemedyEffect
from robustness.ui.session.error_boundary import sentence

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
        cards=[
            image_pairs_and_cards.card(row, alone=False, accepted=accepted[name].text)
            if isinstance(row := answers.get(name), Measurement)
            else html(
                "card_without",
                label=models.label(name),
                text="Waiting …" if row is None else str(row),
                failed=row is not None,
            )
            for name in request.models
        ],
        note=note,
    )


def _headline(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    accepted: Mapping[str, ThresholdVerdict],
    remedied: RemedyEffect,
) -> Html:
    """The result in one sentence of at most twelve words, most of the time."""
    idle, total = request.condition.idle, len(request.models)
    rows = [row for row in answers.values() if isinstance(row, Measurement)]
    if len(answers) < total or not rows:
        text = f"{len(rows)} of {counted(total, 'model')} done"
    elif marks := remedied.marks:
        text = tally(rows).partition(";")[0]  # correct (unchanged) without the remedy
        good = f"{sum(mark.good for mark in marks)} of {len(marks)} with {remedied.label}"
        alone = f"; with {remedied.label}: {marks[0].text}"
        text += alone if len(marks) == 1 else f", {good}"
    else:
        text = correct_models(rows) if idle else tally(rows)
    if rejected := sum(acceptance.mark.tone == "rejected" for acceptance in accepted.values()):
        text += f"; {rejected} would be rejected" if total > 1 else "; it would be rejected"
    if not text:
        return image_pairs_and_cards.headline("No perturbation yet.")
    steps = [REGISTRY[name].label for name, _ in request.condition.steps]
    if idle:
        what = "Original"
    elif len(steps) == 1:
        what = steps[0]
    else:
        what = f"{steps[0]} and {len(steps) - 1} more"
    return image_pairs_and_cards.headline(f"{what}: {text}.")


def _rows(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    accepted: Mapping[str, ThresholdVerdict],
    remedied: RemedyEffect,
) -> Html:
    """One row per model: its verdict, its prediction, and that with the remedy."""
    lines = []
    after = {line.label: line for line in remedied.lines}
    for name in (*request.models, *request.failed):
        answer, label = answers.get(name), models.label(name)
        row = answer if isinstance(answer, Measurement) else None
        mark, title = row and accepted[name].mark, row and models.class_name(name, row.top1)
        failure = sentence(answer) if isinstance(answer, RobustnessError) else ""
        error = request.failed.get(name) or failure
        lines.append((name, label, row, mark, title, after.pop(label, None), error))
    knows_class = request.truth is not None
    return html(
        "rows",
        lines=lines,
        good="correct" if knows_class else "unchanged",
        bad="incorrect" if knows_class else "changed",
        knows_class=knows_class,
        remedy=remedied.label,
        together=after.values(),
    )
