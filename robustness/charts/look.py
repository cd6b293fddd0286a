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
from numpy.typing import NDArray

from robustness import models

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


BAD_TO_GOOD = ((0.0, "#b35806"), (0.35, "#f1b06a"), (0.55, "#f4f4f1"), (1.0, "#2166ac"))
"""Colour scale of heatmaps, low to high; told apart by the colour-blind."""


def model_style(name: str) -> tuple[str, str, str]:
    """(colour, marker symbol, dash) of the model called ``name``, the same everywhere."""
    place = models.REGISTRY.names.index(name) if name in models.REGISTRY else 0
    place %= len(COLOURS)
    return COLOURS[place], _MARKERS[place], _DASHES[place]


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
        f"{models.label(row['model'])}: "
        + ", ".join(f"{column.replace('_', ' ')} {row[column]:.2f}" for column in columns)
        for _, row in frame.iterrows()
    )


def heatmap(
    values: NDArray[np.float64],
    words: list[list[str]],
    *,
    columns: list[str],
    rows: list[str],
    hover: str,
    targets: Mapping[str, Any] | None = None,
) -> go.Figure:
    """Cells of ``values`` from 0 (bad) to 1 (good) that say ``words``.

    ``targets`` is a trace of markers over the cells: pointer and clicks are answered by the
    nearest of them, in place of the cells.
    """
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": values,
        "x": columns,
        "y": rows,
        "text": words,
        "texttemplate": "%{text}",
        "colorscale": BAD_TO_GOOD,
        "zmin": 0,
        "zmax": 1,
        "xgap": 3,
        "ygap": 3,
        "showscale": False,  # each cell says its number
        "hovertemplate": hover + "<extra></extra>",
    }
    layout: dict[str, Any] = {}
    if targets is not None:
        trace |= {"hoverinfo": "skip", "hovertemplate": None}
        layout = {"hoverdistance": -1, "showlegend": False}  # the nearest, however wide the cell
    return drawn(
        [trace, targets] if targets is not None else [trace],
        height=110 + 34 * len(rows),
        xaxis={"side": "top"},
        yaxis={"autorange": "reversed"},
        **layout,
    )
