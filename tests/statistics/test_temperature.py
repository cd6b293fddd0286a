"""The temperature that fits: known ones come back, and another minimiser finds the same."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from robustness.statistics.calibration import fit_temperature


def drawn(temperature: float, count: int = 4000) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Logits, and true classes as likely as they say at the ``temperature``."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 4, (count, 10))
    chances = softmax(logits / temperature, axis=1)
    truth = (rng.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return logits, np.minimum(truth, 9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 4.0])
def test_a_known_temperature_comes_back(temperature: float) -> None:
    logits, truth = drawn(temperature)
    found = fit_temperature(softmax(logits, axis=1).astype(np.float32), truth)
    assert found == pytest.approx(temperature, rel=0.06)

    def loss(values: NDArray[np.float64]) -> float:
        return float(-log_softmax(logits / values[0], axis=1)[np.arange(len(truth)), truth].mean())

    assert found == pytest.approx(minimize(loss, [1.0], method="Nelder-Mead").x[0], rel=5e-3)


def test_a_temperature_stays_in_the_range_of_the_remedy() -> None:
    sure = np.tile(np.array([[0.6, 0.4]], np.float32), (50, 1))
    assert fit_temperature(sure, np.zeros(50, np.intp)) == 0.05
    assert fit_temperature(sure, np.ones(50, np.intp)) == 20
    zero = np.tile(np.array([[1, 0]], np.float32), (50, 1))  # the logarithm of 0 is none
    assert np.isfinite(fit_temperature(zero, np.arange(50) % 2))
