"""The sentences and figures that several pages share."""

from __future__ import annotations

from typing import Any

import pytest

from robustness.charts.prediction_marks import judged, percent
from robustness.statistics.scorecard import UNSURE
from robustness.ui.display.results import _customdata

A, B, C = "SqueezeNet", "EfficientNetLite0", "EfficientNetLite1"


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.0, "0%"),
        (1e-9, "<1%"),
        (0.0049, "<1%"),
        (0.006, "1%"),
        (0.206, "21%"),
        (0.2951, "29.5%"),
        (0.2999, "29.9%"),
        (UNSURE, "30%"),
        (0.304, "30%"),
        (0.9995, "100%"),
    ],
)
def test_no_probability_is_rounded_to_what_belies_its_verdict(
    probability: float, text: str
) -> None:
    assert percent(probability) == text


@pytest.mark.parametrize(
    ("consistent", "correct", "said"),
    [(True, True, True), (False, True, True), (True, None, True), (False, None, False)],
)
def test_low_confidence_is_said_of_what_is_correct_or_unchanged(
    consistent: bool, correct: bool | None, said: bool
) -> None:
    mark = judged(consistent, correct, unsure=True)
    assert ("low confidence" in mark.text, mark.tone == "unsure") == (said, said)


@pytest.mark.parametrize(
    ("points", "meant"),
    [
        ([], None),
        ([["0.4"]], ["0.4"]),
        ([["0.4"], ["0.6"]], ["0.4"]),
        ([["model=A&slice=iso:..200"], ["model=A&slice=iso:200.."]], ["model=A&slice=iso:..200"]),
        ([["model=A&image=3"], ["model=A&image=7"]], ["model=A&image=3,7"]),
        ([["Fog", "A"], ["Fog", "B"]], ["Fog", "A"]),
        ([None, ["0.6"]], ["0.6"]),
        ([0.1], [0.1]),
        ([0.0, 0.1], [0.0]),
    ],
)
def test_several_points_mean_all_their_images_or_else_the_first_point(
    points: list[Any], meant: list[str] | None
) -> None:
    event = {"selection": {"points": [{"customdata": values} for values in points]}}
    assert _customdata(event) == meant
