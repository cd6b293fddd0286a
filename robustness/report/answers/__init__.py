"""The questions that each kind of report answers, each with the sentence that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from robustness.report.answers import one_image, ranked, sweep

RUN, SCORECARD, LIVE, ATTACK, SWEEP = "run", "scorecard", "live", "attack", "sweep"


class ReportQuestion(NamedTuple):
    """A question about a ``kind`` of result; ``sentence`` takes what ``told`` is given."""

    text: str
    kind: str
    sentence: Callable[..., str]


QUESTIONS = (
    ReportQuestion("Which model is most robust?", RUN, ranked.of_run),
    ReportQuestion("Which perturbation does most harm?", RUN, ranked.harm_in_run),
    ReportQuestion("What is this based on?", RUN, ranked.basis_of_run),
    ReportQuestion("How consistent are the predictions?", SCORECARD, ranked.of_scorecard),
    ReportQuestion("Which perturbation does most harm?", SCORECARD, ranked.harm_in_scorecard),
    ReportQuestion("What is this based on?", SCORECARD, ranked.basis_of_scorecard),
    ReportQuestion("Does the perturbation change the prediction?", LIVE, one_image.counts),
    ReportQuestion("Which prediction changes most?", LIVE, one_image.furthest),
    ReportQuestion("What is this based on?", LIVE, one_image.basis),
    ReportQuestion("Does the attack change the prediction?", ATTACK, one_image.attacked),
    ReportQuestion("Does noise of the same size do the same?", ATTACK, one_image.noise),
    ReportQuestion("Do other models change, too?", ATTACK, one_image.others),
    ReportQuestion("At which strength does the prediction first change?", SWEEP, sweep.first),
    ReportQuestion("Which prediction lasts longest?", SWEEP, sweep.last),
    ReportQuestion("What is this based on?", SWEEP, sweep.basis),
)


def told(kind: str, *result: object) -> tuple[tuple[str, str], ...]:
    """(question, sentence) for each question about a ``result`` of ``kind``."""
    return tuple((each.text, each.sentence(*result)) for each in QUESTIONS if each.kind == kind)
