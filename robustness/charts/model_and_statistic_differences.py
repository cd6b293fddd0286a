"""Plotly figures of differences: between models on the same images, and of images from a reference.

Intervals are paired, 95%.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustness import models
from robustness.base.text import points
from robustness.charts.ranking_and_condition_tables import Entry, in_brackets
from robustness.charts.style import COLOURS, ZERO_LINE, drawn, go, rows_axis, whiskers


def pair_differences(entries: Sequence[Entry]) -> go.Figure:
    """How much better one model of each pair is, with its paired interval.

    ``entries`` are of ``compare``. Filled markers are significant.
    """
    labels = [f"{models.label(e['better'])}<br>over {models.label(e['worse'])}" for e in entries]
    significant = [entry["established"] for entry in entries]
    value, traces = "difference", []
    bounds = (value, f"{value}_low", f"{value}_high")
    scaled = [
        {name: None if entry[name] is None else 100 * entry[name] for name in bounds}
        for entry in entries
    ]
    ends = [0.0, *(end for row in scaled for end in row.values() if end is not None)]
    room = 0.08 * (max(ends) - min(ends)) or 1.0
    axis = {"title": "Difference, points", "range": [min(ends) - room, max(ends) + room]}
    for is_significant, name in ((True, "significant"), (False, "not significant")):
        chosen = [at for at in range(len(labels)) if significant[at] is is_significant]
        rows = [scaled[at] for at in chosen]
        traces.append(
            {
                "type": "scatter",
                "name": name,
                "x": [row[value] for row in rows],
                "y": [labels[at] for at in chosen],
                "customdata": [in_brackets(entries[at], value, points) for at in chosen],
                "mode": "markers",
                "marker": {
                    "symbol": "circle" if is_significant else "circle-open",
                    "size": 11,
                    "color": COLOURS[0],
                    "line": {"width": 2, "color": COLOURS[0]},
                },
                "error_x": whiskers(rows, value),
                "hovertemplate": "%{y}: %{x:+.1f} points%{customdata}<extra>" + name + "</extra>",
            }
        )
    return drawn(
        [trace for trace in traces if trace["x"]],
        height=150 + 44 * len(labels),
        showlegend=True,
        xaxis=axis | ZERO_LINE,
        yaxis=rows_axis(labels),
    )


def statistics_that_differ(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Means of statistics of both sides, minus the reference's.

    ``rows`` have ``statistic``, ``production`` and ``simulation``, in deviations of images.
    """
    names = [row["statistic"] for row in rows]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "x": [value for row in rows for value in (row["production"], row["simulation"], None)],
            "y": [name for name in names for _ in range(3)],
            "mode": "lines",
            "line": {"color": "#8796a5", "width": 2},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]
    traces += [
        {
            "type": "scatter",
            "name": label,
            "x": [row[side] for row in rows],
            "y": names,
            "mode": "markers",
            "marker": {
                "symbol": symbol,
                "size": size,
                "color": COLOURS[0],
                "line": {"width": 2, "color": COLOURS[0]},
            },
            "hovertemplate": "%{y}: %{x:+.2f}<extra>" + label + "</extra>",
        }
        for side, label, symbol, size in (
            ("production", "Your images", "circle", 9),
            ("simulation", "Simulation", "circle-open", 15),  # a ring around it where they agree
        )
    ]
    return drawn(
        traces,
        height=130 + 30 * len(names),
        xaxis={"title": "Deviations from the reference"} | ZERO_LINE,
        yaxis=rows_axis(names),
    )
