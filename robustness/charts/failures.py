"""Plotly figures of where models fail; a click on a point opens its selection of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from robustness.charts.look import COLOURS, drawn, whiskers
from robustness.charts.tables import Entry, in_brackets


def slice_rates(entries: Sequence[Entry], labels: Sequence[str], title: str) -> go.Figure:
    """The rate of each slice with its interval, and that of all other images.

    ``entries`` are of ``by_slice``, with the text of their ``selection``.
    """
    shared: dict[str, Any] = {"type": "scatter", "y": list(labels), "mode": "markers"}
    inside = {
        **shared,
        "name": "in the slice",
        "x": [entry["rate"] for entry in entries],
        "text": [in_brackets(entry, "rate") for entry in entries],
        "customdata": [[entry["selection"]] for entry in entries],
        "marker": {"size": 12, "color": COLOURS[4]},
        "error_x": whiskers(entries, "rate"),
        "hovertemplate": "%{y}: %{x:.1%}%{text}<extra>in the slice</extra>",
    }
    others = {
        **shared,
        "name": "other images",
        "x": [entry["rest"] for entry in entries],
        "customdata": [[entry["selection"]] for entry in entries],
        "marker": {"size": 12, "symbol": "diamond-open", "color": COLOURS[0]},
        "hovertemplate": "%{y}: %{x:.1%}<extra>other images</extra>",
    }
    return drawn(
        [others, inside],
        height=150 + 44 * len(labels),
        showlegend=True,
        xaxis={"title": title, "tickformat": ".0%", "range": [-0.03, 1.03]},
        yaxis=_rows(labels),
    )


def _rows(labels: Sequence[str]) -> dict[str, Any]:
    """An axis with the first of ``labels`` on top."""
    return {
        "range": [len(labels) - 0.4, -0.6],
        "categoryorder": "array",
        "categoryarray": list(labels),
    }
