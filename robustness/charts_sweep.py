"""Plotly figures of the Breaking-point page: what happens as the strength grows.

``points`` has one row a measurement (``Measurement.as_row``) of one perturbation; several repeats
of a random one are drawn as their mean.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from robustness.charts import BAD_TO_GOOD, finish, model_label, model_style
from robustness.charts_scorecard import perturbation_label
from robustness.perturbations import REGISTRY

QUANTITIES = {
    "retained_probability": "Probability of the clean class",
    "consistent": "Top-1 kept",
    "cosine": "Cosine similarity",
    "euclidean": "Euclidean similarity",
    "ssim": "SSIM",
}
"""Columns that ``over_strength`` can draw, with their axis titles."""

AXES = {
    "strength": "Strength",
    "parameter": "Physical value",
    "severity": "ImageNet-C severity",
    "ssim": "SSIM (1 is identical)",
}
"""What the x axis can show; severity only where ImageNet-C has the perturbation."""


def axis_values(points: pd.DataFrame, axis: str) -> pd.Series:
    """The x values of ``points`` on ``axis``; severities are interpolated between the levels."""
    if axis == "severity":
        return points["strength"] * 5
    return points[axis]


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
    figure = go.Figure()
    typical = points.groupby(["model", "strength"], sort=False, as_index=False).agg(
        {
            **dict.fromkeys(QUANTITIES, "mean"),
            "parameter": "first",
        }
    )
    for model, rows in typical.groupby("model", sort=False):
        colour, marker, dash = model_style(str(model))
        figure.add_scatter(
            name=model_label(str(model)),
            x=axis_values(rows, axis),
            y=rows[quantity],
            customdata=rows["strength"],
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2.5},
            marker={
                "size": 9,
                "symbol": [
                    marker if kept > 0.5 else f"{marker}-open" for kept in rows["consistent"]
                ],
                "line": {"width": 1.5, "color": colour},
            },
            hovertemplate="%{x:.3g}: %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    record = REGISTRY[perturbation]
    title = f"{record.parameter}, {record.unit}" if axis == "parameter" else AXES[axis]
    figure.update_xaxes(title=title, autorange="reversed" if axis == "ssim" else True)
    figure.update_yaxes(title=QUANTITIES[quantity], range=[-0.04, 1.06])
    return finish(figure, height=400)


def breaking_table(breaks: pd.DataFrame) -> go.Figure:
    """Heatmap perturbation x model of breaking strengths, most fragile perturbation first.

    ``breaks`` has one row a ``sweep.Break``. An orange cell breaks early; "never" is in words.
    """
    wide = breaks.assign(
        value=breaks["strength"].astype(float).fillna(1.0).where(~breaks["never"], 1.05)
    ).pivot(index="perturbation", columns="model", values="value")
    wide = wide[list(dict.fromkeys(breaks["model"]))]
    wide = wide.loc[wide.median(axis=1).sort_values(kind="stable").index]
    figure = go.Figure(
        go.Heatmap(
            z=wide.to_numpy(),
            x=[model_label(str(model)) for model in wide.columns],
            y=[perturbation_label(str(name)) for name in wide.index],
            text=[[_cell(float(value)) for value in row] for row in wide.to_numpy()],
            texttemplate="%{text}",
            colorscale=BAD_TO_GOOD,
            zmin=0,
            zmax=1.05,
            xgap=3,
            ygap=3,
            showscale=False,  # each cell says its number
            hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(side="top")
    return finish(figure, height=110 + 34 * len(wide))


def _cell(value: float) -> str:
    return "never" if value > 1 else f"{value:.2f}"
