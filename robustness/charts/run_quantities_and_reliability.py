"""Plotly figures of a run over many images, from the tables of ``robustness.statistics``.

``entries`` are flat dictionaries; unknown values are None. Intervals are 95%.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.charts.ranking_and_condition_tables import Entry, in_brackets, metric_titles
from robustness.charts.style import (
    ZERO_LINE,
    drawn,
    go,
    model_style,
    model_trace,
)
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics.metric import RUN

QUANTITIES = {
    "consistency": "Prediction consistency",
    "robust_accuracy": "Robust accuracy",
    "perturbed_accuracy": "Perturbed accuracy",
    "perturbed_accuracy_top5": "Perturbed top-5 accuracy",
}
"""Shares of images with their titles. Accuracies need labels; robust accuracy is for a whole run
only."""


_SHARE = {"range": [-0.03, 1.03], "tickformat": ".0%"}  # an axis from 0 to 1


def quantities() -> dict[str, str]:
    """Figures of a map, with titles."""
    return {**QUANTITIES, **metric_titles(RUN)}


def titles(names: Iterable[str]) -> dict[str, str]:
    """The titles of some ``quantities``."""
    every = quantities()
    return {name: every[name] for name in names}


def forms(quantity: str) -> tuple[str, str]:
    """How a figure is written: (short, exact). Those of metrics are numbers unless they say."""
    share = quantity in QUANTITIES or (quantity in METRICS and METRICS[quantity].form.endswith("%"))
    return (".0%", ".1%") if share else (".2f", ".3f")


def grouped(entries: Iterable[Entry], key: str) -> dict[Any, list[Entry]]:
    """``entries`` by their value of ``key``, in order of appearance."""
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry[key], []).append(entry)
    return groups


def goodness(values: NDArray[np.float64], quantity: str) -> NDArray[np.float64]:
    """``values`` of ``quantity``, from 0 (bad) to 1 (good)."""
    if quantity not in METRICS:
        return values
    metric = METRICS[quantity]
    if metric.higher_is_better and metric.high == 1:
        return values
    lowest, highest = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    shares = (values - lowest) / (highest - lowest or 1)
    return shares if metric.higher_is_better else 1 - shares


def class_drops(entries: Sequence[Entry], count: int = 15) -> go.Figure:
    """The ``count`` classes with the largest mean loss of accuracy over the models.

    ``entries`` are of ``by_class``, of models with the same classes.
    """
    by_label = grouped(entries, "label")

    def mean_loss(label: int) -> float:
        drops = [row["drop"] for row in by_label[label] if row["drop"] is not None]
        return float(np.mean(drops)) if drops else float("nan")

    worst = sorted(by_label, key=mean_loss, reverse=True)[:count]
    names = [by_label[label][0]["class_name"] for label in worst]
    by_model = list(grouped(entries, "model"))
    traces = []
    for turn, model in enumerate(by_model):
        rows = [
            (place + _LANE * (turn - (len(by_model) - 1) / 2) / len(by_model), entry)
            for place, label in enumerate(worst)
            for entry in by_label[label]
            if entry["model"] == model
        ]
        traces.append(
            model_trace(
                model,
                [row["drop"] for _, row in rows],
                [place for place, _ in rows],
                lines=False,
                text=[row["class_name"] for _, row in rows],
                customdata=[
                    [
                        f"model={quote(model)}&class={row['label']}",
                        f"{in_brackets(row, 'drop')}, n = {row['n_images']}",
                    ]
                    for _, row in rows
                ],
                hover="%{text}: %{x:.0%}%{customdata[1]}",
            )
        )
    return drawn(
        traces,
        height=130 + max(26, 12 * len(by_model)) * len(names),
        xaxis={"title": "Accuracy lost", "tickformat": ".0%"} | ZERO_LINE,
        yaxis={
            "range": [len(names) - 0.4, -0.6],
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "zeroline": False,
        },
    )


_LANE = 0.7
"""Share of the height of a class over which its models are spread."""


def reliability_diagram(entries: Sequence[Entry]) -> go.Figure:
    """Share of correct predictions over confidence: original (filled), perturbed (open markers).

    ``entries`` are of ``reliability``. Below the diagonal a model is overconfident.
    """
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "name": "perfectly calibrated",
            "x": [0, 1],
            "y": [0, 1],
            "mode": "lines",
            "line": {"color": "#8796a5", "dash": "dot", "width": 1.5},
            "hoverinfo": "skip",
        }
    ]
    for model, mine in grouped(entries, "model").items():
        colour = model_style(model)[0]
        for kind, rows in grouped(mine, "kind").items():
            clean = kind == "clean"
            trace = model_trace(
                model,
                [row["confidence"] for row in rows],
                [row["accuracy"] for row in rows],
                customdata=[row["n"] for row in rows],
                hover="confidence %{x:.0%}, correct in %{y:.0%} of %{customdata}",
                name=f"{models.label(model)}, {'original' if clean else kind}",
                line={"color": colour, "dash": "solid" if clean else "dot", "width": 2},
                filled=[clean] * len(rows),
            )
            traces.append(trace)
    return drawn(
        traces,
        height=400,
        xaxis={"title": "Confidence", **_SHARE},
        yaxis={"title": "Correct predictions", **_SHARE},
    )
