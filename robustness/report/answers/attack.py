"""What an attack on one image answers, in three sentences that claim no more than it shows."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.attacks import NORMS, Outcome
from robustness.base.text import counted
from robustness.charts.verdict import tally
from robustness.evaluation.correctness import is_correct
from robustness.evaluation.measurement import Measurement
from robustness.metrics.intervals import wilson
from robustness.report.wording import class_title, model, sentence, share


def answer(outcome: Outcome, rows: Sequence[Measurement]) -> tuple[str, str, str]:
    """Three sentences on ``outcome``; ``rows`` are the answers of all models to its image."""
    return (
        sentence(_what(outcome), _before(outcome, rows)),
        sentence(_noise(outcome)),
        sentence(
            _others([row for row in rows if row.model != outcome.model]),
            "this is one image, and a stronger attack may do more: a success shows what is "
            "enough, a failure does not show that the model holds",
        ),
    )


def described(outcome: Outcome) -> str:
    """The attack with its norm and size: "PGD (L∞, epsilon 8/255)"."""
    spec = outcome.spec
    return f"{outcome.label} ({NORMS[spec.norm].label}, epsilon {spec.size_text})"


def _what(outcome: Outcome) -> str:
    who = model(outcome.model)
    before, after = (
        f"{title(outcome, index)} ({share(probability)})"
        for index, probability in (
            (outcome.clean_top1, outcome.clean_probability),
            (outcome.top1, outcome.probability),
        )
    )
    if outcome.success:
        return f"{described(outcome)} makes {who} see {after} instead of {before}"
    target = outcome.spec.target
    if target is not None:
        aim = title(outcome, target)
        return (
            f"{described(outcome)} does not make {who} see {aim}: it sees {after}, before {before}"
        )
    return f"{described(outcome)} does not change the prediction of {who}, {before}, now {after}"


def _before(outcome: Outcome, rows: Sequence[Measurement]) -> str:
    """That the model attacked was incorrect before, where the true class says so."""
    mine = next((row for row in rows if row.model == outcome.model), None)
    if mine is None or is_correct(mine.label, mine.clean_top1) is not False:
        return ""
    now = "correct now" if mine.top1 == mine.label else "incorrect now"
    return f"it was incorrect on the original and is {now}"


def title(outcome: Outcome, index: int) -> str:
    """The class ``index`` of the model attacked."""
    return class_title(outcome.model, index)


def _noise(outcome: Outcome) -> str:
    control = outcome.control
    if not outcome.l2:
        return "the attack left the image as it was, so there is no change to hold against noise"
    draws = f"{counted(control.draws, 'random change')} of the same size"
    if outcome.beats_noise:
        most = wilson(0, control.draws).high
        return (
            f"none of {draws} did that, which speaks for the attack's direction, not its size; "
            f"so few draws leave up to {share(most, 0)} to chance"
        )
    if control.success:
        news = "so this attack is no news" if outcome.success else "which this attack did not"
        return f"{control.successes} of {draws} did that, {news}"
    return f"nor did any of {draws}"


def _others(rows: Sequence[Measurement]) -> str:
    if not rows:
        return "no other model was asked about the image"
    if len(rows) == 1:
        return f"{model(rows[0].model)} was not attacked: {tally(rows)}"
    return f"the other models: {tally(rows)}"
