"""The questions about a run, in the order of its report."""

from typing import Any

from robustness.base.registry import Registry
from robustness.report.questions import (
    accuracy,
    agreement,
    cases,
    changed_classes,
    choice,
    classes,
    map,
    perturbations,
    race,
    ranking,
    remedies,
    slices,
    threshold,
)
from robustness.report.questions.question import Question, RunFigures

__all__ = ["REGISTRY", "Question", "RunFigures"]

REGISTRY: Registry[Question[Any]] = Registry("question about a run")

for _question in (
    *(choice.CHOICE, choice.TRADE_OFFS, race.RACE, ranking.RANKING),
    *(perturbations.PERTURBATIONS, perturbations.OVER_STRENGTH),
    *(accuracy.ACCURACY, accuracy.CORRUPTION_ERRORS, perturbations.UNDER_ATTACK, remedies.HELP),
    *(classes.CLASSES, slices.SLICES, changed_classes.CHANGED_CLASSES, agreement.AGREEMENT),
    *(threshold.THRESHOLD, map.MAP, cases.CASES, cases.LEFT_OUT),
):
    REGISTRY.add(_question)
