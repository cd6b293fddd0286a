"""Plotly figures of a few answers: similarity, probability of the clean class, stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from robustness import metrics, models
from robustness.charts.look import COLOURS, drawn, model_trace
from robustness.evaluation.measurement import Measurement

_PATTERNS = [
    {"shape": shape, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.7)", "size": 6}
    for shape in ("", "/")
]


def similarity_bars(frame: pd.DataFrame) -> go.Figure:
    """Cosine and Euclidean similarity of the embedding, one pair of bars a model.

    ``frame`` has the columns ``model``, ``cosine`` and ``euclidean``.
    """
    series = {
        name: (metrics.REGISTRY[name].label, colour)
        for name, colour in zip(("cosine", "euclidean"), COLOURS, strict=False)
    }
    low = min(0.0, float(frame[list(series)].min().min()))
    return _bars(frame, series, "{:.2f}", {"range": [low, 1.12]})


def clean_class_bars(frame: pd.DataFrame) -> go.Figure:
    """Probability of the clean top-1 class before and after, one pair of bars a model.

    ``frame`` has the columns ``model``, ``clean_probability`` and ``retained_probability``.
    """
    series = {
        "clean_probability": ("Original", "#8796a5"),
        "retained_probability": ("Perturbed", COLOURS[4]),
    }
    return _bars(frame, series, "{:.1%}", {"range": [0, 1.15], "tickformat": ".0%"})


def _bars(
    frame: pd.DataFrame, series: Mapping[str, tuple[str, str]], text: str, xaxis: Mapping[str, Any]
) -> go.Figure:
    """A pair of bars a model, told apart by pattern and colour; ``series`` are (label, colour)."""
    return drawn(
        [
            _bar(frame, column, label, {"color": colour, "pattern": pattern}, text)
            for (column, (label, colour)), pattern in zip(series.items(), _PATTERNS, strict=True)
        ],
        height=110 + 56 * len(frame),
        xaxis={"tickvals": [0, 0.25, 0.5, 0.75, 1], **xaxis},
        yaxis={"autorange": "reversed"},
    )


def _bar(
    frame: pd.DataFrame, column: str, label: str, marker: Mapping[str, Any], text: str
) -> dict[str, Any]:
    """One horizontal bar a model: ``column``, written as ``text`` says."""
    return {
        "type": "bar",
        "name": label,
        "y": [models.label(model) for model in frame["model"]],
        "x": frame[column].tolist(),
        "orientation": "h",
        "text": [text.format(value) for value in frame[column]],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": marker,
        "hovertemplate": "%{y}: %{x:.3f}<extra>" + label + "</extra>",
    }


def stage_lines(frame: pd.DataFrame, metric: str = "cosine") -> go.Figure:
    """Similarity at each stage of each network, shallow to deep.

    ``frame`` has one row a model and stage: ``model``, ``stage``, ``depth`` (0 at the first
    stage, 1 at the last) and the metric's column.
    """
    traces = [
        model_trace(
            str(model),
            rows["depth"],
            rows[metric],
            customdata=rows["stage"].tolist(),
            hover="%{customdata}: %{y:.3f}",
        )
        for model, rows in frame.groupby("model", sort=False)
    ]
    lowest = min(0.0, float(frame[metric].min()) if len(frame) else 0.0)
    return drawn(
        traces,
        height=340,
        xaxis={
            "tickvals": [0, 0.5, 1],
            "ticktext": ["first", "middle", "last"],
            "range": [-0.08, 1.08],
        },
        yaxis={"range": [lowest - 0.02, 1.04], "title": metrics.REGISTRY[metric].label},
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
