"""The sentences and figures that several pages share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import streamlit as st

from robustness.charts.verdict import percent, verdict
from robustness.evaluation.condition import Condition
from robustness.report.results.measured import cautions
from robustness.statistics.scorecard import UNSURE
from robustness.ui.kit.html import html
from robustness.ui.kit.results import warn_of_the_unsure, who_keeps
from tests.support.made_up_saved_runs import measurement

A, B, C = "SqueezeNet", "EfficientNetLite0", "EfficientNetLite1"
A_LABEL, B_LABEL, C_LABEL = "SqueezeNet 1.1", "EfficientNet-Lite0", "EfficientNet-Lite1"


def kept(model: str, share: float, low: float | None = None) -> dict[str, Any]:
    high = None if low is None else 1.0
    return {
        "model": model,
        "consistency": share,
        "consistency_low": low,
        "consistency_high": high,
    }


def test_whoever_keeps_as_many_answers_is_named_as_well() -> None:
    assert who_keeps([kept(A, 0.9)]) == f"{A_LABEL} keeps its answer in 90% of cases."
    apart = who_keeps([kept(A, 0.9, 0.8), kept(B, 0.7), kept(C, 0.6)])
    assert apart == (
        f"{A_LABEL} keeps its answer most often, in 90% (80% to 100%) of cases, "
        f"{C_LABEL} least often, in 60%."
    )
    first = who_keeps([kept(A, 1.0), kept(B, 1.0), kept(C, 0.6)])
    assert first.startswith(f"{A_LABEL} and {B_LABEL} keep their answers most often, in 100% of")
    last = who_keeps([kept(A, 1.0), kept(B, 0.6), kept(C, 0.6)])
    assert last.endswith(f"{B_LABEL} and {C_LABEL} least often, in 60%.")
    alike = who_keeps([kept(A, 0.3), kept(B, 0.1 + 0.2), kept(C, 0.3)])
    assert alike == "All 3 models keep their answers equally often, in 30% of cases."


def test_robust_accuracy_is_listed_and_crowns_nobody() -> None:
    entries = [
        {"model": name, "ranked_by": "robust_accuracy"}
        | {"robust_accuracy": rate, "robust_accuracy_low": low, "robust_accuracy_high": 0.5}
        for name, rate, low in ((A, 0.3, 0.2), (B, 0.2, 0.1))
    ]
    told = who_keeps(entries)
    assert told == f"Robust accuracy: {A_LABEL} 30% (20% to 50%) and {B_LABEL} 20% (10% to 50%)."


def test_an_interval_is_told_of_several_where_it_is_that_of_each() -> None:
    same = who_keeps([kept(A, 1.0, 0.9), kept(B, 1.0, 0.9), kept(C, 0.6)])
    assert "in 100% (90% to 100%) of cases" in same
    assert "in 100% of cases" in who_keeps([kept(A, 1.0, 0.9), kept(B, 1.0, 0.8), kept(C, 0.6)])


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


def test_an_unsure_answer_stands_below_the_limit_wherever_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fog = Condition.of({"fog": 0.6})
    row = replace(measurement("a.png", "1", A, fog, True), clean_probability=0.296)
    warned: list[str] = []
    monkeypatch.setattr(st, "warning", lambda text, **_: warned.append(text.replace("\\", "")))
    warn_of_the_unsure([row], "consistency means")
    assert warned[0].endswith(f"there: {A_LABEL} (29.6%).")
    (caution,) = cautions([row])
    assert "(29.6% on a.png)" in caution
    seen = replace(row, probability=0.002)
    assert "&lt;1% megalith" in html("verdicts", lines=[(A_LABEL, seen, verdict(seen), "megalith")])
    lines = [(A_LABEL, seen, verdict(seen), "megalith")]
    assert "megalith &lt;1%" in html("answers", title="Fog", lines=lines)
