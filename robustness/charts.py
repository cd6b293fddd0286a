"""Plotly figures from tidy frames; used by pages and reports alike.

Frames have one row a measurement unless stated otherwise. Every model keeps its colour, marker and
dash in every chart, so that colour is never the only signal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from robustness import metrics, models
from robustness.types import Measurement

# Okabe & Ito's colour-blind safe palette, without black and yellow, which vanish on one ground.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7B61C4", "#A6761D")
_MARKERS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "pentagon",
    "hexagon",
    "star",
)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
_PATTERNS = ("", "/")

BAD_TO_GOOD = ((0.0, "#b35806"), (0.35, "#f1b06a"), (0.55, "#f4f4f1"), (1.0, "#2166ac"))
"""Colour scale of heatmaps, low to high; told apart by the colour-blind."""


def model_style(name: str) -> tuple[str, str, str]:
    """(colour, marker symbol, dash) of the model called ``name``, the same everywhere."""
    place = models.REGISTRY.names.index(name) if name in models.REGISTRY else 0
    place %= len(COLOURS)
    return COLOURS[place], _MARKERS[place], _DASHES[place]


def model_label(name: str) -> str:
    """The readable name of a model."""
    return models.REGISTRY[name].label if name in models.REGISTRY else name


def similarity_bars(frame: pd.DataFrame) -> go.Figure:
    """Cosine and Euclidean similarity of the embedding, one pair of bars a model.

    ``frame`` has the columns ``model``, ``cosine`` and ``euclidean``.
    """
    names = ("cosine", "euclidean")
    traces = [
        _bars(
            frame,
            name,
            metrics.REGISTRY[name].label,
            (COLOURS[place], _PATTERNS[place]),
            "{:.2f}",
        )
        for place, name in enumerate(names)
    ]
    low = min(0.0, float(frame[list(names)].min().min()))
    return drawn(
        traces,
        height=110 + 56 * len(frame),
        xaxis={"range": [low, 1.12], "tickvals": [0, 0.25, 0.5, 0.75, 1]},
        yaxis={"autorange": "reversed"},
    )


def clean_class_bars(frame: pd.DataFrame) -> go.Figure:
    """Probability of the clean top-1 class before and after, one pair of bars a model.

    ``frame`` has the columns ``model``, ``clean_probability`` and ``retained_probability``.
    """
    series = (
        ("clean_probability", "Original", ("#8796a5", _PATTERNS[0])),
        ("retained_probability", "Perturbed", (COLOURS[4], _PATTERNS[1])),
    )
    return drawn(
        [_bars(frame, column, label, style, "{:.1%}") for column, label, style in series],
        height=110 + 56 * len(frame),
        xaxis={"range": [0, 1.15], "tickformat": ".0%", "tickvals": [0, 0.25, 0.5, 0.75, 1]},
        yaxis={"autorange": "reversed"},
    )


def _bars(
    frame: pd.DataFrame, column: str, label: str, style: tuple[str, str], text: str
) -> dict[str, Any]:
    """One horizontal bar a model, told apart by colour and pattern (``style``)."""
    colour, pattern = style
    return {
        "type": "bar",
        "name": label,
        "y": [model_label(model) for model in frame["model"]],
        "x": frame[column].tolist(),
        "orientation": "h",
        "text": [text.format(value) for value in frame[column]],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {
            "color": colour,
            "pattern": {
                "shape": pattern,
                "fillmode": "overlay",
                "fgcolor": "rgba(255,255,255,0.7)",
                "size": 6,
            },
        },
        "hovertemplate": "%{y}: %{x:.3f}<extra>" + label + "</extra>",
    }


def stage_lines(frame: pd.DataFrame, metric: str = "cosine") -> go.Figure:
    """Similarity at each stage of each network, shallow to deep.

    ``frame`` has one row a model and stage: ``model``, ``stage``, ``depth`` (0 at the first
    stage, 1 at the last) and the metric's column.
    """
    traces = []
    for model, rows in frame.groupby("model", sort=False):
        colour, marker, dash = model_style(str(model))
        traces.append(
            {
                "type": "scatter",
                "name": model_label(str(model)),
                "x": rows["depth"].tolist(),
                "y": rows[metric].tolist(),
                "customdata": rows["stage"].tolist(),
                "mode": "lines+markers",
                "line": {"color": colour, "dash": dash, "width": 2.5},
                "marker": {"symbol": marker, "size": 9},
                "hovertemplate": "%{customdata}: %{y:.3f}<extra>%{fullData.name}</extra>",
            }
        )
    lowest = min(0.0, float(frame[metric].min()) if len(frame) else 0.0)
    return drawn(
        traces,
        height=340,
        xaxis={
            "tickvals": [0, 0.5, 1],
            "ticktext": ["first", "middle", "last"],
            "range": [-0.08, 1.08],
        },
        yaxis={
            "range": [lowest - 0.02, 1.04],
            "title": {"text": metrics.REGISTRY[metric].label},
        },
    )


def stage_frame(rows: Sequence[Measurement]) -> pd.DataFrame:
    """One row a measurement and stage: model, stage, depth (0 first, 1 last), the similarities."""
    return pd.DataFrame(
        [
            {"model": row.model, "stage": stage, "depth": depth, **scores}
            for row in rows
            for depth, (stage, scores) in zip(
                np.linspace(1, 0, len(row.stages))[::-1],  # a single stage is the last
                row.stages.items(),
                strict=True,
            )
        ]
    )


def stage_means(rows: Sequence[Measurement]) -> pd.DataFrame:
    """As ``stage_frame``, one row a model and stage: the mean over its measurements."""
    stages = stage_frame(rows)
    return stages.groupby(["model", "stage", "depth"], sort=False, as_index=False).mean()


def drawn(
    traces: Sequence[Mapping[str, Any]],
    *,
    height: int,
    xaxis: Mapping[str, Any],
    yaxis: Mapping[str, Any],
    **layout: Any,
) -> go.Figure:
    """A figure in the layout that all charts share, ``height`` in pixels.

    Made in one go: Plotly checks a figure anew at each later change of it, which took ten times
    as long.
    """
    shared = {"automargin": True, "fixedrange": True}
    return go.Figure(
        data=list(traces),
        layout={
            "height": height,
            "margin": {"l": 8, "r": 8, "t": 40, "b": 8},
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
            "bargap": 0.3,
            "bargroupgap": 0.06,
            "barmode": "group",
            "hovermode": "closest",
            "dragmode": False,
            "xaxis": {**shared, **xaxis},
            "yaxis": {**shared, **yaxis},
            **layout,
        },
    )


def describe(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    """A text alternative: every model with its values, for those who cannot see the chart."""
    return "; ".join(
        f"{model_label(row['model'])}: "
        + ", ".join(f"{column.replace('_', ' ')} {row[column]:.2f}" for column in columns)
        for _, row in frame.iterrows()
    )
