"""The scores of models as Plotly figures: ranked, and against accuracy, latency or size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from robustness import models
from robustness.charts.ranking_and_condition_tables import Entry
from robustness.charts.style import COLOURS, drawn, go, model_trace, whiskers
from robustness.statistics.model_choice import expected_robustness


def ranking(entries: Sequence[Entry], quantity: str, title: str) -> go.Figure:
    """A rate of each model with its 95% interval if known, in the order of ``entries``."""
    measured = {
        "type": "scatter",
        "x": [entry[quantity] for entry in entries],
        "y": [models.label(entry["model"]) for entry in entries],
        "mode": "markers",
        "marker": {"size": 12, "color": COLOURS[0]},
        "error_x": whiskers(entries, quantity),
        "hovertemplate": "%{y}: %{x:.0%}<extra></extra>",
    }
    return drawn(
        [measured],
        height=150 + 42 * len(entries),
        xaxis={"range": [-0.03, 1.03], "tickformat": ".0%", "title": title},
        yaxis={"autorange": "reversed"},
    )


class Axis(NamedTuple):
    """A horizontal axis of ``trade_off``: name, unit and format."""

    title: str
    unit: str
    form: str = ""


AXES: Mapping[str, Axis] = {
    "accuracy": Axis("Accuracy", "on the originals", ".0%"),
    "latency_ms": Axis("Latency", "in ms per image"),
    "megabytes": Axis("Size", "in MB"),
}
"""By the column of a choice."""


def trade_off(entries: Sequence[Entry], name: str, title: str) -> go.Figure:
    """A marker per model: ``name`` of ``AXES`` across, the score up with its interval.

    ``entries`` are those of a choice that have a score. Against accuracy, a dashed line shows what
    the accuracy of all of them predicts.
    """
    measured = sorted((e for e in entries if e[name] is not None), key=lambda e: float(e[name]))
    axis = AXES[name]
    line = expected_robustness(measured) if name == "accuracy" else None
    values = [e[name] for e in measured]
    traces: list[dict[str, Any]] = []
    if line is not None:
        shares = np.linspace(min(values), min(max(values), 0.999), 30).tolist()
        predicted = {
            "type": "scatter",
            "name": "predicted from accuracy",
            "x": shares,
            "y": [line(share) for share in shares],
            "mode": "lines",
            "line": {"color": "#8796a5", "width": 1, "dash": "dash"},
            "hoverinfo": "skip",
            "showlegend": True,
        }
        traces.append(predicted)
    traces += [
        model_trace(
            entry["model"],
            [entry[name]],
            [entry["robust"]],
            hover=f"%{{x:{axis.form or '.3g'}}}, %{{y:.1%}}",
            lines=False,
            size=14,
            error_y=whiskers([entry], "robust"),
        )
        for entry in measured
    ]
    limits: dict[str, Any] = {"rangemode": "tozero"}
    if axis.form:  # of shares: between 0% and 100%, with room were they all equal
        low, high = min(values), max(values)
        room = max(0.02, 0.1 * (high - low))
        ends = [max(-0.02, low - room), min(1.02, high + room)]
        limits = {"tickformat": "~%", "range": ends}
    return drawn(
        traces,
        height=380,
        xaxis={"title": f"{axis.title} {axis.unit}", **limits},
        yaxis={"title": title, "tickformat": ".0%"},
    )
