"""The questions about a run, in the order of its report."""

from typing import Any

from robustness.base.registry import Registry
from robustness.report.questions import (
    accuracy_and_corruption_error,
    choice_and_trade_offs,
    closing,
    failure_counts_and_images,
    fixes,
    perturbation_harm_and_map,
    ranking,
    safe_threshold,
    slices_and_class_changes,
)
from robustness.report.questions.question_and_figures import Question, RunFigures

__all__ = ["REGISTRY", "Question", "RunFigures"]

REGISTRY: Registry[Question[Any]] = Registry("question about a run")

for _question in (
    *(perturbation_harm_and_map.RUN_MAP, choice_and_trade_offs.CHOICE),
    *(choice_and_trade_offs.TRADE_OFFS, ranking.RANKING, slices_and_class_changes.AGREEMENT),
    *(
        closing.CLOSING,
        perturbation_harm_and_map.PERTURBATIONS,
        perturbation_harm_and_map.UNDER_ATTACK,
    ),
    *(
        slices_and_class_changes.CLASSES,
        slices_and_class_changes.SLICES,
        slices_and_class_changes.CHANGED_CLASSES,
    ),
    *(
        fixes.FIXES,
        accuracy_and_corruption_error.ACCURACY,
        safe_threshold.THRESHOLD,
        accuracy_and_corruption_error.CORRUPTION_ERRORS,
    ),
    *(
        failure_counts_and_images.CASES,
        failure_counts_and_images.MAP,
        failure_counts_and_images.LEFT_OUT,
    ),
):
    REGISTRY.add(_question)
