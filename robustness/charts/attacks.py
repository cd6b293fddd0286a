"""Plotly figures of the view Attack: transfer, and confidence over epsilon."""

from __future__ import annotations

from fractions import Fraction

import pandas as pd

from robustness import models
from robustness.charts.style import drawn, go, heatmap, model_trace
from robustness.charts.verdict import judged
from robustness.evaluation.correctness import is_correct
from robustness.pictures.eight_bits import LEVELS


def transfer(frame: pd.DataFrame) -> go.Figure:
    """Heatmap of models: attacked in the rows, tested in the columns.

    ``frame`` has a row per ``Transfer``. A cell shows the sign of the tested model's
    prediction and its confidence in its original class.
    """
    pairs = frame.set_index(["source", "model"])
    left = pairs["retained_probability"].astype(float).unstack(sort=False)
    words = pairs.apply(_sign, axis=1).unstack(sort=False) + left.map(" {:.0%}".format)
    return heatmap(
        left.to_numpy(),
        words.to_numpy().tolist(),
        columns=[models.label(str(judge)) for judge in left.columns],
        rows=[f"on {models.label(str(source))}" for source in left.index],
        hover="attack %{y}, tested on %{x}: %{text} for its original class",
    )


def _sign(row: pd.Series) -> str:
    correct = is_correct(row["label"], row["top1"])
    return judged(row["top1"] == row["clean_top1"], correct).sign


def epsilon_text(epsilon: float, norm: str) -> str:
    """A tick label of the epsilon axis: a fraction of 255, or the L2 length."""
    if norm == "linf":
        return str(Fraction(epsilon * LEVELS).limit_denominator(64))
    return f"{epsilon:g}"


def over_epsilon(points: pd.DataFrame, norm: str) -> go.Figure:
    """Confidence of each model in its original class as epsilon grows.

    Markers are open where the prediction is incorrect or, without a label, the attack succeeds.
    ``points`` has a row per ``curves.Point``, all of one attack. Ticks are evenly spaced although
    epsilon about doubles at each.
    """
    traces = [
        model_trace(
            str(model),
            [epsilon_text(value, norm) for value in rows["epsilon"]],
            rows["retained_probability"],
            filled=[
                not won if correct is None else correct
                for won, correct in zip(
                    rows["success"], map(is_correct, rows["label"], rows["top1"]), strict=True
                )
            ],
            size=10,
            hover="ε %{x}: %{y:.1%}",
        )
        for model, rows in points.groupby("model", sort=False)
    ]
    unit = " (255ths)" if norm == "linf" else " (L2)"
    return drawn(
        traces,
        height=380,
        xaxis={"type": "category", "title": f"Epsilon{unit}"},
        yaxis={
            "range": [-0.04, 1.06],
            "tickformat": ".0%",
            "title": "Confidence in the original class",
        },
    )
