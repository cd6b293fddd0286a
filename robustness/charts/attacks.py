"""Plotly figures of the view Attack: transfer, strength of an attack, and its reach."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd

from robustness import models
from robustness.charts.style import COLOURS, drawn, go, heatmap, model_trace
from robustness.charts.verdict import judged
from robustness.evaluation.correctness import is_correct
from robustness.evaluation.sweep import ATTACK, NATURAL
from robustness.pictures.eight_bits import LEVELS


def transfer(frame: pd.DataFrame) -> go.Figure:
    """Heatmap of models: attacked in the rows, tested in the columns.

    ``frame`` has a row per ``transfer.Transfer``. A cell shows the sign of the tested model's
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


def reach(frame: pd.DataFrame) -> go.Figure:
    """Size (x, L2, logarithmic) and SSIM (y) of each change where the prediction first changes.

    ``frame`` has a row per ``reach.Reach``. Markers are open where the prediction never changes.
    """
    styles = {
        NATURAL: ("natural perturbations", COLOURS[0], "circle", 11),
        ATTACK: ("attacks", COLOURS[4], "diamond", 14),
    }
    traces = []
    for kind, (label, colour, symbol, size) in styles.items():
        rows = frame[(frame["kind"] == kind) & (frame["l2"] > 0)]
        rows = rows.sort_values(["breaks", "l2"], ascending=[False, True], kind="stable")
        traces.append(
            {
                "type": "scatter",
                "name": label,
                "x": rows["l2"].tolist(),
                "y": rows["ssim"].tolist(),
                "mode": "markers+text",
                "text": rows["label"].head(1).tolist() + [""] * (len(rows) - 1),
                "textposition": "bottom right" if kind == ATTACK else "top center",
                "marker": {
                    "size": size,
                    "color": colour,
                    "symbol": [symbol if broke else f"{symbol}-open" for broke in rows["breaks"]],
                    "line": {"width": 1.5, "color": colour},
                },
                "customdata": [
                    f"{name}, {setting}{'' if broke else ', never changes it'}"
                    for name, setting, broke in zip(
                        rows["label"], rows["setting"], rows["breaks"], strict=True
                    )
                ],
                "hovertemplate": "%{customdata}<br>L2 %{x:.2g}, SSIM %{y:.3f}<extra></extra>",
            }
        )
    sizes = frame.loc[frame["l2"] > 0, "l2"]
    low, high = np.log10(sizes.min()), np.log10(sizes.max())
    decades = range(math.floor(low), math.ceil(high) + 1)
    lowest = min(0.0, float(frame["ssim"].min()))
    return drawn(
        traces,
        height=440,
        xaxis={
            "type": "log",
            "range": [low - 0.3, high + 0.3],
            "tickvals": [10.0**power for power in decades],
            "title": "Change of the image (L2 distance)",
        },
        yaxis={"range": [lowest - 0.05, 1.08], "title": "SSIM (1 is identical)"},
    )
