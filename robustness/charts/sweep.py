"""Plotly figures of the Breaking-point page: what happens as the strength grows.

``points`` has one row a measurement (``Measurement.as_row``) of one perturbation; several repeats
of a random one are drawn as their mean.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from robustness import models
from robustness.charts.look import dodged, drawn, heatmap, model_trace
from robustness.evaluation.condition import perturbation_label
from robustness.perturbations import REGISTRY

QUANTITIES = {
    "retained_probability": "Probability of the clean class",
    "consistent": "Top-1 kept",
    "cosine": "Cosine similarity",
    "cosine_rescaled": "Cosine similarity, rescaled",
    "euclidean": "Euclidean similarity",
    "euclidean_rescaled": "Euclidean similarity, rescaled",
    "ssim": "SSIM",
}
"""Columns that ``over_strength`` can draw, with their axis titles."""

_NEVER = 1.05  # sorts and colours beyond every strength

AXES = {
    "strength": "Strength",
    "parameter": "Physical value",
    "severity": "ImageNet-C severity",
    "ssim": "SSIM (1 is identical)",
}
"""What the x axis can show; severity only where ImageNet-C has the perturbation."""


def axis_values(points: pd.DataFrame, axis: str) -> pd.Series:
    """The x values of ``points`` on ``axis``; severities are interpolated between the levels."""
    return points["strength"] * 5 if axis == "severity" else points[axis]


def axis_names(perturbation: str) -> list[str]:
    """The axes that make sense for a perturbation."""
    record = REGISTRY[perturbation]
    names = [name for name in AXES if name != "severity" or record.severity_strengths]
    return names if record.graded else ["strength"]


def over_strength(points: pd.DataFrame, quantity: str, axis: str = "strength") -> go.Figure:
    """``quantity`` of each model against ``axis``; open markers changed their answer.

    The ``customdata`` of each point is its strength.
    """
    perturbation = str(points["perturbation"].iat[0])
    typical = points.groupby(["model", "strength"], sort=False, as_index=False).agg(
        {**dict.fromkeys(QUANTITIES, "mean"), "parameter": "first"}
    )
    traces = [
        model_trace(
            str(model),
            axis_values(rows, axis),
            rows[quantity],
            kept=[share > 0.5 for share in rows["consistent"]],
            customdata=rows["strength"].tolist(),
            hover="%{x:.3g}: %{y:.3f}",
        )
        for model, rows in typical.groupby("model", sort=False)
    ]
    record = REGISTRY[perturbation]
    lowest = min(0.0, float(typical[quantity].min()))
    title = f"{record.parameter}, {record.unit}" if axis == "parameter" else AXES[axis]
    return drawn(
        dodged(traces, 1.06 - lowest),
        height=400,
        xaxis={"title": title, "autorange": "reversed" if axis == "ssim" else True},
        yaxis={"title": QUANTITIES[quantity], "range": [lowest - 0.04, 1.06]},
    )


def breaking_table(breaks: pd.DataFrame) -> go.Figure:
    """Heatmap perturbation x model of breaking strengths, most fragile perturbation first.

    ``breaks`` has one row a ``sweep.Break``. An orange cell breaks early; "never" is in words.
    Switches, which have no strength to break at, come last: orange where the answer changes.
    """
    graded = breaks["perturbation"].map(lambda name: REGISTRY[name].graded)
    value = breaks["strength"].astype(float).where(graded, 0.0).where(~breaks["never"], _NEVER)
    wide = breaks.assign(value=value).pivot(index="perturbation", columns="model", values="value")
    wide = wide[list(dict.fromkeys(breaks["model"]))]
    fragile = wide.median(axis=1).sort_values(kind="stable").index
    wide = wide.loc[sorted(fragile, key=lambda name: not REGISTRY[name].graded)]
    values = wide.to_numpy(dtype=float)
    return heatmap(
        values,
        [
            [_cell(cell, REGISTRY[name].graded) for cell in row]
            for name, row in zip(wide.index, values, strict=True)
        ],
        columns=[models.label(str(model)) for model in wide.columns],
        rows=[perturbation_label(str(name)) for name in wide.index],
        hover="%{y}, %{x}: %{text}",
    )


def _cell(value: float, graded: bool) -> str:
    if not graded:
        return "kept" if value > 1 else "changes"
    return "never" if value > 1 else f"{value:.2f}"
