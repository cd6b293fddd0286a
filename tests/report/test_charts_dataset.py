"""The figures of a run over many images show what its tables say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.synthetic_rows import Told, rows, severities
from robustness import models
from robustness.report import charts
from robustness.statistics import Figures

MODELS = ("SqueezeNet", "EfficientNetLite0")


def run(*conditions: Told, seed: int = 0) -> pd.DataFrame:
    """A labelled run of ``MODELS``, forty images of four classes."""
    rng = np.random.default_rng(seed)
    chosen = conditions or tuple(severities("fog", "snow"))
    clean = rng.random(40) < 0.8
    frames = []
    for model, share in zip(MODELS, (0.4, 0.7), strict=True):
        kept = rng.random((40, len(chosen))) < share
        frames.append(
            rows(
                kept,
                model=model,
                conditions=chosen,
                labels=np.arange(40) % 4,
                clean_correct=clean,
                correct=clean[:, None] & kept,
            )
        )
    return pd.concat(frames, ignore_index=True)


def named(figure: Any, name: str) -> Any:
    (found,) = [trace for trace in figure.data if trace.name == name]
    return found


def test_the_classes_that_lose_most_come_first() -> None:
    entries = Figures(run()).by_class
    figure = charts.class_drops(entries, count=2)
    shown = figure.layout.yaxis.ticktext
    drops = {
        name: np.mean([e["drop"] for e in mine])
        for name, mine in charts.grouped(entries, "class_name").items()
    }
    assert list(shown) == sorted(drops, key=lambda name: -drops[name])[:2]
    assert {trace.name for trace in figure.data} == {models.label(model) for model in MODELS}


def test_the_reliability_diagram_tells_clean_from_perturbed() -> None:
    entries = Figures(run()).reliability
    figure = charts.reliability_diagram(entries)
    clean = named(figure, "SqueezeNet 1.1, original")
    perturbed = named(figure, "SqueezeNet 1.1, perturbed")
    assert clean.marker.symbol != perturbed.marker.symbol
    assert list(clean.x) == [pytest.approx(0.9)]
    assert list(perturbed.customdata) == [400]
