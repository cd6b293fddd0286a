"""Breaking points against a dense sweep, on models whose breaking point is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from robustness import models
from robustness.base.errors import ParameterError
from robustness.images.framing import Picture
from robustness.measure.loop import strangers
from robustness.measure.measurement import Measurement
from robustness.measure.strength import TOLERANCE, Break, sweep
from robustness.models import Outputs
from robustness.perturbations import compose

LEVEL = float(np.float32(77) / np.float32(255))
GREY = np.full((224, 224, 3), LEVEL, np.float32)
STRANGERS = len(strangers(224)[0])
"""The pass that a classifier takes once, for the floor of its similarities."""
NAME = "SqueezeNet"  # whose record the made-up classifiers borrow


class ThresholdModel:
    """Predicts class 0 while ``keeps`` is true for the image's mean and contrast, else class 1."""

    key = ""

    def __init__(self, keeps: Callable[[float, float], bool]) -> None:
        self.record = models.REGISTRY[NAME]
        self.side = 224
        self.keeps = keeps
        self.batches: list[int] = []

    def __call__(self, images: np.ndarray) -> Outputs:
        self.batches.append(len(images))
        kept = np.array([self.keeps(float(i.mean()), float(i.std())) for i in images])
        probabilities = np.full((len(images), 1000), 1e-4, np.float32)
        probabilities[:, 0] = np.where(kept, 0.8, 0.1)
        probabilities[:, 1] = np.where(kept, 0.1, 0.8)
        features = np.ones((len(images), 4), np.float32)
        return Outputs(probabilities, {stage: features for stage, _ in self.record.stages})


def events_of(model: ThresholdModel, names: list[str], **options: Any) -> list[Measurement | Break]:
    load: Any = lambda *_, **__: model  # noqa: E731 - stands in for models.load
    return list(sweep(Picture.of("grey", GREY), names, [NAME], load=load, **options))


def run(
    keeps: Callable[[float, float], bool], name: str, **options: Any
) -> tuple[list[Measurement], list[Break], ThresholdModel]:
    model = ThresholdModel(keeps)
    events = events_of(model, [name], **options)
    points = [event for event in events if isinstance(event, Measurement)]
    return points, [event for event in events if isinstance(event, Break)], model


def first_change(
    keeps: Callable[[float, float], bool], name: str, seed: int = 0, coarse: int = 40
) -> float | None:
    """By a dense sweep: the smallest of 2001 strengths at which the answer changes.

    It goes by ``coarse`` steps to the first change and from the one before it in single steps.
    """

    def changes(step: int) -> bool:
        image = compose(GREY[None], {name: step / 2000}, seed=seed)[0]
        return not keeps(float(image.mean()), float(image.std()))

    near = next((step for step in range(0, 2001, coarse) if changes(step)), None)
    if near is None:
        return None
    between = range(max(0, near - coarse + 1), near + 1)
    return next(step for step in between if changes(step)) / 2000


@pytest.mark.parametrize("limit", [0.31, 0.4321, 0.55, 0.7999])
def test_a_monotone_case_agrees_with_a_dense_sweep(limit: float) -> None:
    def keeps(mean: float, _: float) -> bool:
        return mean < limit

    _, (found,), _ = run(keeps, "brightness")
    expected = first_change(keeps, "brightness")
    assert expected is not None
    assert found.strength == pytest.approx(expected, abs=TOLERANCE)
    assert found.low is not None
    assert found.high == found.strength
    assert found.high is not None
    assert found.low < expected <= found.high + 1 / 2000
    assert found.high - found.low <= TOLERANCE
    assert not found.never
    assert not found.returns
    assert found.parameter == pytest.approx(limit - LEVEL, abs=0.5 * TOLERANCE + 0.5 / 255)


def test_never_is_said_and_costs_no_bisection() -> None:
    points, (found,), model = run(lambda mean, _: True, "brightness")
    assert found.never
    assert found.strength is found.parameter is found.severity is found.ssim is None
    assert all(point.consistent for point in points)
    assert model.batches == [1, 20, STRANGERS]


def test_an_answer_that_comes_back_is_shown() -> None:
    def keeps(mean: float, _: float) -> bool:
        return mean < 0.4 or 0.51 < mean < 0.62

    _, (found,), _ = run(keeps, "brightness")
    assert found.strength == pytest.approx(first_change(keeps, "brightness"), abs=TOLERANCE)
    assert found.returns == (0.45, 0.5, 0.55, 0.6)


class Leading(ThresholdModel):
    """Gives class 0 a lead over class 1, in log probability, that the image's mean decides."""

    def __init__(self, lead: Callable[[float], float]) -> None:
        super().__init__(lambda mean, _: lead(mean) >= 0)
        self.lead = lead

    def __call__(self, images: np.ndarray) -> Outputs:
        found = super().__call__(images)
        leads = np.array([self.lead(float(image.mean())) for image in images])
        found.probabilities[:, 0] = 0.9 / (1 + np.exp(-leads))
        found.probabilities[:, 1] = 0.9 - found.probabilities[:, 0]
        return found


def test_a_change_that_comes_and_goes_between_two_steps_is_seen() -> None:
    """A dip narrower than a step, whose flanks bend the lead at the steps beside it."""

    def lead(mean: float) -> float:
        return 1.0 - 1.3 * float(np.exp(-(((mean - LEVEL - 0.2125) / 0.02) ** 2)))

    model = Leading(lead)
    *points, found = events_of(model, ["brightness"])
    assert all(point.consistent for point in points if isinstance(point, Measurement))
    assert isinstance(found, Break)
    expected = first_change(model.keeps, "brightness", coarse=10)
    assert expected is not None
    assert found.strength == pytest.approx(expected, abs=TOLERANCE)
    assert len(found.returns) > 5
    assert sum(model.batches) - STRANGERS < 60, "a tenth of what a grid as fine takes"


def test_a_random_perturbation_has_the_draw_of_its_seed() -> None:
    def keeps(_: float, deviation: float) -> bool:
        return deviation < 0.11

    _, (found,), model = run(keeps, "gaussian_noise", seed=4)
    assert found.strength == pytest.approx(first_change(keeps, "gaussian_noise", 4), abs=TOLERANCE)
    assert model.batches.count(20) == 1


@pytest.mark.parametrize(("keeps", "never"), [(True, True), (False, False)])
def test_a_switch_breaks_at_one_or_never(keeps: bool, never: bool) -> None:
    clean = float(GREY.mean())
    calls = []

    def decides(mean: float, _: float) -> bool:
        calls.append(mean)
        return keeps or len(calls) == 1

    points, (found,), _ = run(decides, "horizontal_flip")
    assert clean == pytest.approx(LEVEL)
    assert [point.strength for point in points] == [0.0, 1.0]
    assert found.never is never
    assert found.strength == (None if never else 1.0)


@pytest.mark.parametrize("options", [{"steps": 1}, {"steps": 1000}, {"seed": -1}])
def test_bad_numbers_get_a_sentence(options: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match="got"):
        run(lambda *_: True, "brightness", **options)
