"""Plotly figures of differences: between models on the same images, and of images from a reference.

Intervals are paired, 95%.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustness import models
from robustness.charts.style import COLOURS, ZERO_LINE, drawn, go, whiskers
from robustness.charts.tables import Entry, in_brackets


def pair_differences(entries: Sequence[Entry]) -> go.Figure:
    """How much better one model of each pair is, with its paired interval.

    ``entries`` are of ``compare``. Filled markers are significant.
    """
    labels = [f"{models.label(e['better'])}<br>over {models.label(e['worse'])}" for e in entries]
    significant = [entry["established"] for entry in entries]
    value, traces = "difference", []
    points = [_in_points(entry, value) for entry in entries]
    for is_significant, name in ((True, "significant"), (False, "not significant")):
        chosen = [at for at in range(len(labels)) if significant[at] is is_significant]
        rows = [points[at] for at in chosen]
        traces.append(
            {
                "type": "scatter",
                "name": name,
                "x": [row[value] for row in rows],
                "y": [labels[at] for at in chosen],
                "customdata": [in_brackets(row, value, "+.1f") for row in rows],
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
        xaxis={"title": "Difference, points", "range": _around_zero(points)} | ZERO_LINE,
        yaxis={
            "range": [len(labels) - 0.4, -0.6],
            "categoryorder": "array",
            "categoryarray": list(labels),
        },
    )


def _in_points(entry: Entry, value: str) -> dict[str, float | None]:
    """The difference ``value`` and its bounds in percentage points."""
    figures = {name: entry[name] for name in (value, f"{value}_low", f"{value}_high")}
    return {name: None if part is None else 100 * part for name, part in figures.items()}


def _around_zero(points: Sequence[Mapping[str, float | None]]) -> list[float]:
    """From the lowest to the highest end of an interval, 0 among them, with room on both sides."""
    ends = [0.0, *(end for entry in points for end in entry.values() if end is not None)]
    room = 0.08 * (max(ends) - min(ends)) or 1.0
    return [min(ends) - room, max(ends) + room]


_SIDES = (
    ("production", "Your images", "circle", 9),
    ("simulation", "Simulation", "circle-open", 15),  # a ring around a marker at the same place
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
        for side, label, symbol, size in _SIDES
    ]
    return drawn(
        traces,
        height=130 + 30 * len(names),
        xaxis={"title": "Deviations from the reference"} | ZERO_LINE,
        yaxis={"range": [len(names) - 0.4, -0.6], "categoryorder": "array", "categoryarray": names},
    )
