"""Plotly figures of the study: ranking, and features against decision.

Frames have one row per measurement (``Measurement.as_row``) unless stated otherwise.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness import models
from robustness.charts.prediction_marks import OPEN_MARKERS, judged
from robustness.charts.style import COLOURS, drawn, go, model_trace, whiskers
from robustness.evaluation.condition import perturbation_label
from robustness.evaluation.correctness import good_rows, is_correct
from robustness.statistics.scorecard import PUBLISHED, STABLE_FEATURES

MOVEMENT = f"One marker per measurement. {OPEN_MARKERS}"
"""How to read ``movement``."""


def ranking(
    summary: pd.DataFrame, quantity: str = "consistency", title: str = "Prediction consistency"
) -> go.Figure:
    """A rate of each model with its 95% interval if known, in the order of ``summary``.

    ``summary`` has a row per model with ``quantity`` and its bounds, as from
    ``scorecard.summarise``. An open diamond is the consistency that the study published.
    """
    bounded = summary[f"{quantity}_low"].notna().any()
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "name": "measured, with 95% interval" if bounded else "measured",
            "x": summary[quantity].tolist(),
            "y": [models.label(model) for model in summary["model"]],
            "mode": "markers",
            "marker": {"size": 12, "color": COLOURS[0]},
            "error_x": whiskers(summary.to_dict("records"), quantity),
            "hovertemplate": "%{y}: %{x:.0%}<extra></extra>",
        }
    ]
    published = [(models.label(m), PUBLISHED[m]) for m in summary["model"] if m in PUBLISHED]
    if published and quantity == "consistency":
        traces.append(
            {
                "type": "scatter",
                "name": "published by the study",
                "x": [figures.consistency for _, figures in published],
                "y": [label for label, _ in published],
                "mode": "markers",
                "marker": {"size": 12, "symbol": "diamond-open", "color": COLOURS[4]},
                "hovertemplate": "%{y}: %{x:.0%}<extra>published</extra>",
            }
        )
    return drawn(
        traces,
        height=150 + 42 * len(summary),
        xaxis={"range": [-0.03, 1.03], "tickformat": ".0%", "title": title},
        yaxis={"autorange": "reversed"},
    )


def movement(frame: pd.DataFrame) -> go.Figure:
    """Every measurement by its feature shift (x) and the divergence of the predictions (y).

    A feature shift of 100% is that of an unrelated image; the dashed line is at half of it.
    Markers are open as in ``OPEN_MARKERS``.
    """
    correct = map(is_correct, frame["label"], frame["top1"])
    said = [judged(*case).text for case in zip(frame["consistent"], correct, strict=True)]
    frame = frame.assign(good=good_rows(frame), said=said)
    traces = [
        model_trace(
            str(model),
            1 - rows["cosine_rescaled"],
            rows["divergence"],
            lines=False,
            filled=rows["good"],
            size=11,
            customdata=[
                f"{perturbation_label(name)}: {said}"
                for name, said in zip(rows["perturbation"], rows["said"], strict=True)
            ],
            hover="%{customdata}<br>feature shift %{x:.0%}, divergence %{y:.2f}",
        )
        for model, rows in frame.groupby("model", sort=False)
    ]
    border = 1 - STABLE_FEATURES
    return drawn(
        traces,
        height=420,
        xaxis={
            "title": "Feature shift (100% = an unrelated image)",
            "rangemode": "tozero",
            "tickformat": ".0%",
        },
        yaxis={"title": "Divergence of the predictions (bits)", "range": [-0.04, 1.1]},
        shapes=[
            {
                "type": "line",
                "x0": border,
                "x1": border,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"dash": "dash", "width": 1.5, "color": "#8796a5"},
            }
        ],
        annotations=[
            {
                "text": text,
                "x": side,
                "y": 1.0,
                "xref": "paper",
                "yref": "paper",
                "showarrow": False,
                "xanchor": anchor,
            }
            for side, text, anchor in (
                (0.0, "features stable", "left"),
                (1.0, "features shifted", "right"),
            )
        ],
    )
