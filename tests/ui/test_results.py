"""The sentences and figures that several pages share."""

from __future__ import annotations

from typing import Any

from robustness.ui.kit.results import who_keeps

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


def test_an_interval_is_told_of_several_where_it_is_that_of_each() -> None:
    same = who_keeps([kept(A, 1.0, 0.9), kept(B, 1.0, 0.9), kept(C, 0.6)])
    assert "in 100% (90% to 100%) of cases" in same
    assert "in 100% of cases" in who_keeps([kept(A, 1.0, 0.9), kept(B, 1.0, 0.8), kept(C, 0.6)])
