"""How sure a prediction is, in words and figures."""

from __future__ import annotations

import pytest

from robustness.report.tables import judged, percent
from robustness.statistics.study import UNSURE


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
