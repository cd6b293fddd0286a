"""The questions about a run, in the order of its report."""

from typing import Any

from robustness.base.registry import Registry
from robustness.report.questions import (
    accuracy,
    choice,
    failing_images,
    failure_patterns,
    fixes,
    perturbations,
    ranking,
    safe_threshold,
)
from robustness.report.questions.question_record import Question, RunFigures

__all__ = ["REGISTRY", "Question", "RunFigures"]

REGISTRY: Registry[Question[Any]] = Registry("question about a run")

for _question in (
    *(perturbations.RUN_MAP, choice.CHOICE),
    *(choice.TRADE_OFFS, ranking.RANKING, failure_patterns.AGREEMENT),
    *(perturbations.PERTURBATIONS, perturbations.OVER_STRENGTH, perturbations.UNDER_ATTACK),
    *(failure_patterns.CLASSES, failure_patterns.SLICES, failure_patterns.CHANGED_CLASSES),
    *(fixes.FIXES, accuracy.ACCURACY, safe_threshold.THRESHOLD, accuracy.CORRUPTION_ERRORS),
    *(failing_images.CASES, failing_images.MAP, failing_images.LEFT_OUT),
):
    REGISTRY.add(_question)
