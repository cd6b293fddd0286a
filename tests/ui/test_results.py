"""The sentences and figures that several pages share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.support.synthetic_runs import measurement
from robustness.charts.verdict import judged, percent, verdict
from robustness.evaluation.condition import Condition
from robustness.report.shared_parts import cautions
from robustness.statistics.scorecard import UNSURE
from robustness.ui.browser.html import html
from robustness.ui.display.results import _customdata, card

A, B, C = "SqueezeNet", "EfficientNetLite0", "EfficientNetLite1"
A_LABEL, B_LABEL, C_LABEL = "SqueezeNet 1.1", "EfficientNet-Lite0", "EfficientNet-Lite1"


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


def test_an_unsure_answer_stands_below_the_limit_wherever_it_is_shown() -> None:
    fog = Condition.of({"fog": 0.6})
    row = replace(measurement("a.png", "1", A, fog, True), clean_probability=0.296)
    assert f"{A_LABEL} (29.6%)" in cautions([row])[0]
    cards = [card(each) for each in (row, replace(row, clean_probability=0.9))]
    assert ["Low confidence" in text for text in cards] == [True, False]
    seen = replace(row, probability=0.002)
    assert "&lt;1% megalith" in html("verdicts", lines=[(A_LABEL, seen, verdict(seen), "megalith")])


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
