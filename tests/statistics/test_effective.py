"""How far a model lies above what its accuracy predicts, and the published models beside it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress

from robustness.statistics.model_choice import above_expected

ACCURACY, ROBUST = np.array([0.6, 0.7, 0.8, 0.9]), np.array([0.3, 0.45, 0.5, 0.8])


def entries(count: int) -> list[dict[str, object]]:
    pairs = list(zip(ACCURACY, ROBUST, strict=True))[:count]
    return [{"model": str(at), "accuracy": x, "robust": y} for at, (x, y) in enumerate(pairs)]


def test_it_is_the_residual_of_a_line_through_logits() -> None:
    fit = linregress(logit(ACCURACY), logit(ROBUST))
    left = ROBUST - expit(fit.intercept + fit.slope * logit(ACCURACY))
    found = above_expected(entries(4))
    assert [found[str(at)] for at in range(4)] == pytest.approx(left)


def test_two_models_and_unknown_accuracies_predict_nothing() -> None:
    assert above_expected(entries(2)) == {}
    unknown = [{**entry, "accuracy": None} for entry in entries(4)]
    assert above_expected(unknown) == {}
