"""The Plotly figure of a match: how production and simulation differ from the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustness.charts.style import COLOURS, ZERO_LINE, drawn, go

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
