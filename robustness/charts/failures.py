"""Plotly figures of where models fail; a click on a point opens its selection of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from robustness.charts.look import COLOURS, drawn, model_trace, whiskers
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


def change_counts(entries: Sequence[Entry], labels: Sequence[str]) -> go.Figure:
    """How many images made each change; changes within a group are lighter.

    ``entries`` are of ``runs.changes.by_condition``.
    """
    traces = []
    for colour, name, wanted in (
        (COLOURS[4], "another group", (False,)),
        (COLOURS[5], "same group", (True,)),
        (COLOURS[0], "changed", (None,)),
    ):
        chosen = [at for at, entry in enumerate(entries) if entry["same_group"] in wanted]
        if chosen:
            traces.append(_bar(name, colour, [(labels[at], entries[at]) for at in chosen]))
    return drawn(
        traces,
        height=130 + 34 * len(labels),
        showlegend=len(traces) > 1,
        barmode="overlay",
        xaxis={"title": "Images", "rangemode": "tozero", "tickformat": "d"},
        yaxis=_rows(labels),
    )


def _bar(name: str, colour: str, told: Sequence[tuple[str, Entry]]) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": [label for label, _ in told],
        "x": [entry["n_images"] for _, entry in told],
        "customdata": [[entry["selection"]] for _, entry in told],
        "marker": {"color": colour},
        "hovertemplate": f"%{{y}}: %{{x}} images<extra>{name}</extra>",
    }


def failing_alone(told: Sequence[tuple[str, Entry]]) -> go.Figure:
    """How many images one model of a pair fails on and the other does not."""
    labels = [label for label, _ in told]
    return drawn(
        [_bar("fails alone", COLOURS[4], told)],
        height=130 + 44 * len(labels),
        showlegend=False,
        xaxis={"title": "Images", "rangemode": "tozero", "tickformat": "d"},
        yaxis=_rows(labels),
    )


def risk_coverage(entries: Sequence[Entry], title: str) -> go.Figure:
    """The share of errors among the answered images over the share of images answered."""
    return drawn(
        [
            model_trace(
                entry["model"],
                entry["coverage"],
                entry["risk"],
                hover="%{x:.0%} answered: %{y:.1%} errors",
                size=5,
            )
            for entry in entries
        ],
        height=360,
        xaxis={"title": "Coverage", "tickformat": ".0%", "range": [-0.03, 1.03]},
        yaxis={"title": title, "tickformat": ".0%", "rangemode": "tozero"},
    )
