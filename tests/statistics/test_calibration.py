"""Calibration errors hold what they say; known temperatures come back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from statsmodels.stats.proportion import proportion_confint

from benchmarks.support.claim_simulation import confident_answers
from benchmarks.support.populations import CALIBRATIONS, beyond_errors
from benchmarks.support.synthetic_rows import rows, severities
from robustness.statistics import FEWEST, Figures
from robustness.statistics.calibration import calibration_error, condition_errors, fit_temperature


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_calibration_error_is_the_gap_of_the_bins() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.51, 0.51])
    correct = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    expected = (4 * abs(0.75 - 0.95) + 2 * abs(1 - 0.51)) / 6
    assert calibration_error(confidence, correct)[0] == pytest.approx(expected)
    on_the_edge = calibration_error(np.array([1 / 15, 1.0]), np.array([0.0, 1.0]))[0]
    assert on_the_edge == pytest.approx(1 / 30)


def test_chance_alone_gives_a_calibrated_model_the_error_that_is_stated() -> None:
    rng = random(8)
    confidence = rng.uniform(0.2, 1.0, 300)
    found = [
        calibration_error(confidence, (rng.random(300) < confidence).astype(float))
        for _ in range(200)
    ]
    errors, by_chance = np.mean(found, axis=0)
    assert errors == pytest.approx(by_chance, rel=0.05)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("kind", "pictures"), [("calibrated", 30), ("much too sure", 100)])
def test_a_calibration_error_is_held_as_often_as_it_says(
    kind: str, pictures: int, together: bool
) -> None:
    rng = random(pictures)
    answers = CALIBRATIONS[kind](4, rng)
    too_high, too_low, width = beyond_errors(answers, pictures, 400, rng, together=together)
    assert max(too_high, too_low) <= 0.03 + 0.017  # two standard errors of so many repeats
    assert width < 0.4, "an interval that holds everything says nothing"


def test_a_model_whose_confidence_is_right_is_not_given_an_error() -> None:
    """Many conditions average the noise of each, but not what the noise adds to an error."""
    rng = random(12)
    drawn = (confident_answers(500, 40, rng, alike=True) for _ in range(30))
    lows = [condition_errors(*answers).mean.low[0] for answers in drawn]
    assert np.mean(np.array(lows) > 0) <= 0.03
    too_sure = (confident_answers(500, 40, rng, alike=True, off=0.1) for _ in range(10))
    lows = [condition_errors(*answers).mean.low[0] for answers in too_sure]
    assert min(lows) > 0, "a bound that is always 0 says nothing"


def test_an_estimated_error_is_that_of_the_answers_that_are_there() -> None:
    rng = random(3)
    confidence = rng.uniform(0.3, 1, (50, 3))
    correct = (rng.random((50, 3)) < confidence**3).astype(float)
    correct[rng.random((50, 3)) < 0.2] = np.nan
    (pooled,) = condition_errors(confidence, correct, [slice(None)]).mean.value
    (mean,) = condition_errors(confidence, correct).mean.value
    assert pooled == pytest.approx(calibration_error(confidence.ravel(), correct.ravel())[0])
    each = [calibration_error(*pair)[0] for pair in zip(confidence.T, correct.T, strict=True)]
    assert mean == pytest.approx(np.mean(each))
    few = condition_errors(confidence[:4], correct[:4]).mean
    assert np.isfinite(few.value).all()
    assert np.isnan([few.low, few.high]).all()
    nothing = condition_errors(confidence, np.full_like(correct, np.nan)).mean
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_the_bins_of_a_reliability_diagram_add_up_to_the_error() -> None:
    frame = rows(
        np.ones((60, 5)),
        conditions=severities("fog"),
        labels=np.zeros(60, int),
        clean_correct=random(6).random(60) < 0.8,
        correct=np.ones((60, 5)),
    ).assign(clean_probability=np.repeat(random().random(60), 5))
    entries = [e for e in Figures(frame).reliability if e["kind"] == "clean"]
    assert sum(e["n"] for e in entries) == 60
    error = sum(e["n"] * abs(e["accuracy"] - e["confidence"]) for e in entries) / 60
    assert error == pytest.approx(Figures(frame).by_perturbation[0]["clean_ece"])
    assert all(e["low"] < e["confidence"] <= e["high"] for e in entries)
    for entry in entries:
        low, high = proportion_confint(entry["accuracy"] * entry["n"], entry["n"], method="beta")
        found = entry["accuracy_low"], entry["accuracy_high"]
        assert found == ((None, None) if entry["n"] < FEWEST else pytest.approx((low, high)))
    assert {entry["n"] < FEWEST for entry in entries} == {True, False}


def test_too_sure_in_one_condition_and_too_unsure_in_another_is_not_calibrated() -> None:
    right = np.repeat([[True, False]], 50, axis=0)  # sure by 0.5 of what is, and of what is not
    frame = rows(
        np.ones((50, 2)),
        conditions=severities("fog")[:2],
        labels=np.zeros(50, int),
        clean_correct=np.ones(50),
        correct=right,
    ).assign(probability=0.5)
    (entry,) = Figures(frame).summary
    assert entry["perturbed_ece"] == pytest.approx(0)
    assert entry["condition_ece"] == pytest.approx(0.5)
    each = Figures(frame).by_perturbation
    by_chance = [e["perturbed_ece_by_chance"] for e in each]
    assert entry["condition_ece_by_chance"] == pytest.approx(np.mean(by_chance))
    for condition in each:
        bounds = (condition["perturbed_ece_low"], condition["perturbed_ece_high"])
        assert bounds[0] <= condition["perturbed_ece"] <= bounds[1]
        assert entry["perturbed_ece"] < bounds[0]


# --- temperature ----------------------------------------------------------------------------------


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
