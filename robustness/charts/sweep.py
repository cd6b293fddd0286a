"""Plotly figure of predictions over strength."""

from __future__ import annotations

import pandas as pd

from robustness.charts.style import dodged, drawn, go, model_trace
from robustness.charts.tables import metric_titles
from robustness.evaluation.correctness import good_rows
from robustness.metrics.features import RESCALED
from robustness.metrics.metric import STRENGTHS
from robustness.perturbations import REGISTRY, Perturbation

CONFIDENCE = "retained_probability"


def quantities() -> dict[str, str]:
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
            customdata=[physical(record, strength) for strength in rows["strength"]],
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
            "title": quantities()[quantity],
            "tickformat": ".0%" if quantity == CONFIDENCE else "",
            "range": [lowest - margin, highest + 1.5 * margin],
        },
    )


def physical(record: Perturbation, strength: float) -> str:
    """The physical value and the nearest severity, such as "3 px, about severity 3"."""
    severity = record.severity_at(strength)
    about = "" if severity and record.severity_strengths[severity - 1] == strength else "about "
    level = f", {about}severity {severity}" if severity else ""
    return f"{record.value_text(strength)}{level}"
