"""Plotly figures of predictions: similarity, confidence, stages, and both over strength."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from robustness import metrics, models
from robustness.charts.ranking_and_condition_tables import metric_titles
from robustness.charts.style import COLOURS, dodged, drawn, go, model_trace
from robustness.charts.verdict_signs_and_words import OPEN_MARKERS, judged
from robustness.evaluation.labels_and_correctness import good_rows, is_correct
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.evaluation.perturbation_and_attack_conditions import perturbation_label
from robustness.metrics.cosine_and_euclidean_similarity import RESCALED
from robustness.metrics.metric import STRENGTHS
from robustness.perturbations import REGISTRY, Perturbation
from robustness.statistics.robustness_ranking_and_verdicts import STABLE_FEATURES

_PATTERNS = [
    {"shape": shape, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.7)", "size": 6}
    for shape in ("", "/")
]

_FOR_WORDS = 0.6
"""Space for the text at the end of a bar, in lengths of a full bar."""


def similarity_bars(frame: pd.DataFrame) -> go.Figure:
    """Rescaled similarity of the embeddings, unscaled in parentheses: a pair of bars per model.

    ``frame`` has the columns ``model``, ``cosine``, ``euclidean`` and those ``RESCALED``.
    """
    low = float(frame[list(RESCALED.values())].min().min())
    left = low - _FOR_WORDS if low < 0 else 0.0
    return drawn(
        [
            {
                "type": "bar",
                "name": f"{metrics.REGISTRY[name].label}, rescaled",
                "y": [models.label(model) for model in frame["model"]],
                "x": frame[rescaled].tolist(),
                "orientation": "h",
                "text": [
                    f"{value:.2f} ({raw:.2f})"
                    for value, raw in zip(frame[rescaled], frame[name], strict=True)
                ],
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {"color": colour, "pattern": pattern},
                "hovertemplate": "%{y}: %{x:.3f}<extra>%{fullData.name}</extra>",
            }
            for (name, rescaled), colour, pattern in zip(
                RESCALED.items(), COLOURS, _PATTERNS, strict=False
            )
        ],
        height=110 + 56 * len(frame),
        xaxis={"tickvals": [0, 0.25, 0.5, 0.75, 1], "range": [left, 1 + _FOR_WORDS]},
        yaxis={"autorange": "reversed"},
    )


def stage_lines(frame: pd.DataFrame, metric: str = "cosine") -> go.Figure:
    """Rescaled similarity at each stage of each network, from shallow to deep.

    ``frame`` has one row per model and stage: ``model``, ``stage``, ``depth`` (0 at the first
    stage, 1 at the last), the metric's column for the hover text, and its ``RESCALED`` column.
    """
    height = RESCALED[metric]
    traces = [
        model_trace(
            str(model),
            rows["depth"],
            rows[height],
            customdata=rows[["stage", metric]].to_numpy().tolist(),
            hover="%{customdata[0]}: %{y:.3f} (raw %{customdata[1]:.3f})",
        )
        for model, rows in frame.groupby("model", sort=False)
    ]
    lowest = min(0.0, float(frame[height].min()) if len(frame) else 0.0)
    return drawn(
        dodged(traces, 1.09 - lowest),
        height=340,
        xaxis={
            "tickvals": [0, 0.5, 1],
            "ticktext": ["first", "middle", "last"],
            "range": [-0.08, 1.08],
        },
        yaxis={
            "range": [lowest - 0.05, 1.04],
            "title": f"{metrics.REGISTRY[metric].label}, rescaled",
        },
    )


def stage_frame(rows: Sequence[Measurement]) -> pd.DataFrame:
    """One row per measurement and stage: model, stage, depth (0 first, 1 last), similarities."""
    return pd.DataFrame(
        [
            {"model": row.model, "stage": stage, "depth": depth, **scores}
            for row in rows
            for depth, (stage, scores) in zip(
                np.linspace(1, 0, len(row.stages))[::-1],  # a single stage counts as the last
                row.stages.items(),
                strict=True,
            )
        ]
    )


CONFIDENCE = "retained_probability"


def strength_titles() -> dict[str, str]:
    """Columns for ``over_strength``, with their axis titles; similarities are rescaled."""
    titles = metric_titles(STRENGTHS)
    own = {name: title for name, title in titles.items() if name not in RESCALED}
    return {CONFIDENCE: "Confidence in the original class", **own}


def over_strength(points: pd.DataFrame, quantity: str) -> go.Figure:
    """``quantity`` of each model over the strength; markers are open as in ``OPEN_MARKERS``.

    ``points`` has one row per measurement (``Measurement.as_row``) of one perturbation. The hover
    text has the physical value and the severity.
    """
    record = REGISTRY[str(points["perturbation"].iat[0])]
    points = points.assign(good=good_rows(points))
    form = ".1%" if quantity == CONFIDENCE else ".3f"
    traces = [
        model_trace(
            str(model),
            rows["strength"],
            rows[quantity],
            filled=rows["good"],
            customdata=[value_and_severity(record, strength) for strength in rows["strength"]],
            hover=f"%{{x:.3g}} (%{{customdata}}): %{{y:{form}}}",
        )
        for model, rows in points.groupby("model", sort=False)
    ]
    values = points[quantity]
    lowest, highest = min(0.0, values.min()), max(1.0, values.max())
    margin = 0.04 * (highest - lowest)
    return drawn(
        dodged(traces, highest - lowest),
        height=400,
        xaxis={"title": "Strength", "range": [-0.03, 1.03]},
        yaxis={
            "title": strength_titles()[quantity],
            "tickformat": ".0%" if quantity == CONFIDENCE else "",
            "range": [lowest - margin, highest + 1.5 * margin],
        },
    )


def value_and_severity(record: Perturbation, strength: float) -> str:
    """The physical value and the nearest severity, such as "3 px, about severity 3"."""
    severity = record.severity_at(strength)
    about = "" if severity and record.severity_strengths[severity - 1] == strength else "about "
    level = f", {about}severity {severity}" if severity else ""
    return f"{record.value_text(strength)}{level}"


MOVEMENT = f"One marker per measurement. {OPEN_MARKERS}"
"""How to read ``movement``."""


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
