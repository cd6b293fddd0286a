"""Plotly figures of the view Breaking points: predictions over strength.

``points`` has one row per measurement (``Measurement.as_row``) of one perturbation. Repeats of a
random perturbation are averaged.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from robustness import models
from robustness.charts.style import dodged, drawn, go, heatmap, model_trace
from robustness.charts.tables import metric_titles
from robustness.charts.verdict import judged
from robustness.evaluation.condition import perturbation_label
from robustness.evaluation.correctness import good_rows, is_correct
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics import STRENGTHS
from robustness.perturbations import REGISTRY

_PREDICTION = {
    "retained_probability": "Confidence in the original class",
    "consistent": "Prediction unchanged",
}

_NEVER = 1.05  # beyond every strength, for order and colour

AXES = {
    "strength": "Strength",
    "parameter": "Physical value",
    "severity": "ImageNet-C severity",
    "ssim": "SSIM (1 is identical)",
}
"""Horizontal axes; severity only for perturbations of ImageNet-C."""


def quantities() -> dict[str, str]:
    """Columns for ``over_strength``, with their axis titles."""
    return {**_PREDICTION, **metric_titles(STRENGTHS)}


def axis_values(points: pd.DataFrame, axis: str) -> pd.Series:
    """The x values of ``points`` on ``axis``; severities are interpolated between the levels."""
    return points["strength"] * 5 if axis == "severity" else points[axis]


def axis_names(perturbation: str, quantity: str = "") -> list[str]:
    """The axes available for a perturbation; not the one that is ``quantity`` itself."""
    record = REGISTRY[perturbation]
    names = [name for name in AXES if name != "severity" or record.severity_strengths]
    names = [name for name in names if name != quantity]
    return names if record.graded else ["strength"]


def over_strength(
    points: pd.DataFrame,
    quantity: str,
    axis: str = "strength",
    remedied: pd.DataFrame | None = None,
    remedy: str = "",
) -> go.Figure:
    """``quantity`` of each model against ``axis``; markers are open as in ``OPEN_MARKERS``.

    The ``customdata`` of each point is its strength. ``remedied`` are the points with ``remedy``,
    drawn as dotted lines.
    """
    perturbation = str(points["perturbation"].iat[0])
    traces = _curves(points, quantity, axis)
    for trace in _curves(remedied, quantity, axis) if remedied is not None else ():
        line = {**trace["line"], "dash": "dot"}
        traces.append({**trace, "name": f"{trace['name']}, {remedy}", "line": line})
    record = REGISTRY[perturbation]
    values = [y for trace in traces for y in trace["y"] if math.isfinite(y)]
    lowest, highest = min([0.0, *values]), max([1.0, *values])
    margin = 0.04 * (highest - lowest)
    title = f"{record.parameter}, {record.unit}" if axis == "parameter" else AXES[axis]
    return drawn(
        dodged(traces, highest - lowest),
        height=400,
        xaxis={"title": title, "autorange": "reversed" if axis == "ssim" else True},
        yaxis={
            "title": quantities()[quantity],
            "tickformat": ".0%" if _is_share(quantity) else "",
            "range": [lowest - margin, highest + 1.5 * margin],
        },
    )


def _is_share(quantity: str) -> bool:
    return quantity in _PREDICTION or (quantity in METRICS and METRICS[quantity].form.endswith("%"))


def _curves(points: pd.DataFrame, quantity: str, axis: str) -> list[dict[str, Any]]:
    """A trace per model."""
    points = points.assign(good=good_rows(points))
    typical = points.groupby(["model", "strength"], sort=False, as_index=False).agg(
        {**dict.fromkeys((*quantities(), "good"), "mean"), "parameter": "first"}
    )
    return [
        model_trace(
            str(model),
            axis_values(rows, axis),
            rows[quantity],
            filled=[share > 0.5 for share in rows["good"]],
            customdata=rows["strength"].tolist(),
            hover=f"%{{x:.3g}}: %{{y:{'.1%' if _is_share(quantity) else '.3f'}}}",
        )
        for model, rows in typical.groupby("model", sort=False)
    ]


def breaking_table(breaks: pd.DataFrame) -> go.Figure:
    """Heatmap perturbation x model of breaking strengths, most fragile perturbation first.

    ``breaks`` has one row per ``sweep.Break``. Orange cells break early, and models that are
    incorrect on the original are orange throughout. Switches have no strength: they come last,
    with a verdict.
    """
    cells = {(row["perturbation"], row["model"]): _cell(row) for _, row in breaks.iterrows()}
    value = [cells[key][0] for key in zip(breaks["perturbation"], breaks["model"], strict=True)]
    wide = breaks.assign(value=value).pivot(index="perturbation", columns="model", values="value")
    wide = wide[list(dict.fromkeys(breaks["model"]))]
    fragile = wide.median(axis=1).sort_values(kind="stable").index
    wide = wide.loc[sorted(fragile, key=lambda name: not REGISTRY[name].graded)]
    return heatmap(
        wide.to_numpy(dtype=float),
        [[cells[name, model][1] for model in wide.columns] for name in wide.index],
        columns=[models.label(str(model)) for model in wide.columns],
        rows=[perturbation_label(str(name)) for name in wide.index],
        hover="%{y}, %{x}: %{text}",
    )


def _cell(row: pd.Series) -> tuple[float, str]:
    """The value and the text of a cell."""
    before, after = (is_correct(row["label"], row[name]) for name in ("clean_top1", "top1"))
    if not REGISTRY[row["perturbation"]].graded:
        verdict = judged(bool(row["never"]), before if row["never"] else after)
        return (_NEVER if verdict.good else 0.0), verdict.brief
    if before is False:
        return 0.0, judged(True, before).said
    return (_NEVER, "never") if row["never"] else (row["strength"], f"{row['strength']:.2f}")
