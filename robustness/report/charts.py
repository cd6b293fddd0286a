"""Plotly figures of results: of predictions, of runs over many images, and of matches.

``entries`` are flat dictionaries, from the tables of ``robustness.statistics``; unknown values are
None. Intervals are 95%. A click on a point of a failure opens its selection of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import metrics, models
from robustness.base.text import share
from robustness.measure.condition import perturbation_label
from robustness.measure.labels import good_rows, is_correct
from robustness.measure.measurement import Measurement
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics.record import RUN, STRENGTHS
from robustness.metrics.scores import RESCALED
from robustness.perturbations import REGISTRY, Perturbation
from robustness.report.style import (
    COLOURS,
    ZERO_LINE,
    dodged,
    drawn,
    go,
    model_style,
    model_trace,
    rows_axis,
    whiskers,
)
from robustness.report.tables import OPEN_MARKERS, Entry, flat, in_brackets, judged, metric_titles
from robustness.statistics.choice import expected_robustness
from robustness.statistics.study import STABLE_FEATURES


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
    axis = AXES[name]
    known = [entry for entry in entries if entry[name] is not None]
    known.sort(key=lambda entry: float(entry[name]))
    values = [entry[name] for entry in known]
    traces: list[dict[str, Any]] = []
    prediction = expected_robustness(known) if name == "accuracy" else None
    if prediction is not None:
        # The logit of 1 is infinite.
        accuracies = np.linspace(min(values), min(max(values), 0.999), 30).tolist()
        line = {
            "type": "scatter",
            "name": "predicted from accuracy",
            "x": accuracies,
            "y": [prediction(accuracy) for accuracy in accuracies],
            "mode": "lines",
            "line": {"color": "#8796a5", "width": 1, "dash": "dash"},
            "hoverinfo": "skip",
            "showlegend": True,
        }
        traces.append(line)
    for entry in known:
        marker = model_trace(
            entry["model"],
            [entry[name]],
            [entry["robust"]],
            hover=f"%{{x:{axis.form or '.3g'}}}, %{{y:.1%}}",
            lines=False,
            size=14,
            error_y=whiskers([entry], "robust"),
        )
        traces.append(marker)
    limits: dict[str, Any] = {"rangemode": "tozero"}
    if axis.form:  # of shares: between 0% and 100%, with room were they all equal
        low = min(values)
        high = max(values)
        room = max(0.02, 0.1 * (high - low))
        limits = {"tickformat": "~%", "range": [max(-0.02, low - room), min(1.02, high + room)]}
    return drawn(
        traces,
        height=380,
        xaxis={"title": f"{axis.title} {axis.unit}", **limits},
        yaxis={"title": title, "tickformat": ".0%"},
    )


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
    all_titles = quantities()
    return {name: all_titles[name] for name in names}


def forms(quantity: str) -> tuple[str, str]:
    """How a figure is written: (short, exact). Those of metrics are numbers unless they say."""
    is_share = quantity in QUANTITIES
    if quantity in METRICS:
        is_share = METRICS[quantity].form.endswith("%")
    return (".0%", ".1%") if is_share else (".2f", ".3f")


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
    lowest = np.nanmin(values, initial=np.inf)
    highest = np.nanmax(values, initial=-np.inf)
    shares = (values - lowest) / (highest - lowest or 1)
    return shares if metric.higher_is_better else 1 - shares


def class_drops(entries: Sequence[Entry], count: int = 15) -> go.Figure:
    """The ``count`` classes with the largest mean loss of accuracy over the models.

    ``entries`` are of ``by_class``, of models with the same classes.
    """
    by_label = grouped(entries, "label")

    def mean_loss(label: int) -> float:
        drops = [entry["drop"] for entry in by_label[label] if entry["drop"] is not None]
        return float(np.mean(drops)) if drops else float("nan")

    worst = sorted(by_label, key=mean_loss, reverse=True)[:count]
    class_names = [by_label[label][0]["class_name"] for label in worst]
    model_names = list(grouped(entries, "model"))
    traces = []
    for number, name in enumerate(model_names):
        # The models of a class lie below each other, around the line of the class.
        offset = _LANE * (number - (len(model_names) - 1) / 2) / len(model_names)
        shown = []
        heights = []
        for height, label in enumerate(worst):
            for entry in by_label[label]:
                if entry["model"] == name:
                    shown.append(entry)
                    heights.append(height + offset)
        trace = model_trace(
            name,
            [entry["drop"] for entry in shown],
            heights,
            lines=False,
            text=[entry["class_name"] for entry in shown],
            customdata=[
                [
                    f"model={quote(name)}&class={entry['label']}",
                    f"{in_brackets(entry, 'drop')}, n = {entry['n_images']}",
                ]
                for entry in shown
            ],
            hover="%{text}: %{x:.0%}%{customdata[1]}",
        )
        traces.append(trace)
    return drawn(
        traces,
        height=130 + max(26, 12 * len(model_names)) * len(class_names),
        xaxis={"title": "Accuracy lost", "tickformat": ".0%"} | ZERO_LINE,
        yaxis={
            "range": [len(class_names) - 0.4, -0.6],
            "tickvals": list(range(len(class_names))),
            "ticktext": class_names,
            "zeroline": False,
        },
    )


_LANE = 0.7
"""Share of the height of a class over which its models are spread."""


def reliability_diagram(entries: Sequence[Entry]) -> go.Figure:
    """Share of correct predictions over confidence: original (filled), perturbed (open markers).

    ``entries`` are of ``reliability``. Below the diagonal a model is overconfident.
    """
    diagonal = {
        "type": "scatter",
        "name": "perfectly calibrated",
        "x": [0, 1],
        "y": [0, 1],
        "mode": "lines",
        "line": {"color": "#8796a5", "dash": "dot", "width": 1.5},
        "hoverinfo": "skip",
    }
    traces: list[dict[str, Any]] = [diagonal]
    for name, entries_of_model in grouped(entries, "model").items():
        colour = model_style(name)[0]
        for kind, bins in grouped(entries_of_model, "kind").items():
            is_original = kind == "clean"
            title = "original" if is_original else kind
            trace = model_trace(
                name,
                [each["confidence"] for each in bins],
                [each["accuracy"] for each in bins],
                customdata=[each["n"] for each in bins],
                hover="confidence %{x:.0%}, correct in %{y:.0%} of %{customdata}",
                name=f"{models.label(name)}, {title}",
                line={"color": colour, "dash": "solid" if is_original else "dot", "width": 2},
                filled=[is_original] * len(bins),
            )
            traces.append(trace)
    return drawn(
        traces,
        height=400,
        xaxis={"title": "Confidence", **_SHARE},
        yaxis={"title": "Correct predictions", **_SHARE},
    )


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
    lowest = float(frame[list(RESCALED.values())].min().min())
    left = lowest - _FOR_WORDS if lowest < 0 else 0.0
    traces = []
    for number, (name, rescaled) in enumerate(RESCALED.items()):
        texts = [
            f"{value:.2f} ({raw:.2f})"
            for value, raw in zip(frame[rescaled], frame[name], strict=True)
        ]
        bars = {
            "type": "bar",
            "name": f"{metrics.REGISTRY[name].label}, rescaled",
            "y": [models.label(model) for model in frame["model"]],
            "x": frame[rescaled].tolist(),
            "orientation": "h",
            "text": texts,
            "textposition": "outside",
            "cliponaxis": False,
            "marker": {"color": COLOURS[number], "pattern": _PATTERNS[number]},
            "hovertemplate": "%{y}: %{x:.3f}<extra>%{fullData.name}</extra>",
        }
        traces.append(bars)
    return drawn(
        traces,
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
    records = []
    for row in rows:
        # From the last stage backwards, so that a single stage counts as the last.
        depths = np.linspace(1, 0, len(row.stages))[::-1]
        for depth, (stage, scores) in zip(depths, row.stages.items(), strict=True):
            records.append({"model": row.model, "stage": stage, "depth": depth, **scores})
    return pd.DataFrame(records)


CONFIDENCE = "retained_probability"


def strength_titles() -> dict[str, str]:
    """Columns for ``over_strength``, with their axis titles; similarities are rescaled."""
    titles = {CONFIDENCE: "Confidence in the original class"}
    for name, title in metric_titles(STRENGTHS).items():
        if name not in RESCALED:
            titles[name] = title
    return titles


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
    lowest = min(0.0, values.min())
    highest = max(1.0, values.max())
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
    value = record.value_text(strength)
    severity = record.severity_at(strength)
    if not severity:
        return value
    is_exact = record.severity_strengths[severity - 1] == strength
    return f"{value}, severity {severity}" if is_exact else f"{value}, about severity {severity}"


MOVEMENT = f"One marker per measurement. {OPEN_MARKERS}"
"""How to read ``movement``."""


def movement(frame: pd.DataFrame) -> go.Figure:
    """Every measurement by its feature shift (x) and the divergence of the predictions (y).

    A feature shift of 100% is that of an unrelated image; the dashed line is at half of it.
    Markers are open as in ``OPEN_MARKERS``.
    """
    verdicts = [
        judged(consistent, is_correct(label, top1)).text
        for consistent, label, top1 in zip(
            frame["consistent"], frame["label"], frame["top1"], strict=True
        )
    ]
    frame = frame.assign(good=good_rows(frame), verdict=verdicts)
    traces = []
    for name, rows in frame.groupby("model", sort=False):
        hover_texts = [
            f"{perturbation_label(perturbation)}: {verdict}"
            for perturbation, verdict in zip(rows["perturbation"], rows["verdict"], strict=True)
        ]
        trace = model_trace(
            str(name),
            1 - rows["cosine_rescaled"],
            rows["divergence"],
            lines=False,
            filled=rows["good"],
            size=11,
            customdata=hover_texts,
            hover="%{customdata}<br>feature shift %{x:.0%}, divergence %{y:.2f}",
        )
        traces.append(trace)
    border = 1 - STABLE_FEATURES
    border_line = {
        "type": "line",
        "x0": border,
        "x1": border,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"dash": "dash", "width": 1.5, "color": "#8796a5"},
    }
    return drawn(
        traces,
        height=420,
        xaxis={
            "title": "Feature shift (100% = an unrelated image)",
            "rangemode": "tozero",
            "tickformat": ".0%",
        },
        yaxis={"title": "Divergence of the predictions (bits)", "range": [-0.04, 1.1]},
        shapes=[border_line],
        annotations=[
            _corner_text("features stable", x=0.0, anchor="left"),
            _corner_text("features shifted", x=1.0, anchor="right"),
        ],
    )


def _corner_text(text: str, *, x: float, anchor: str) -> dict[str, Any]:
    """An annotation at the upper edge of the chart; ``x`` is a share of the width."""
    return {
        "text": text,
        "x": x,
        "y": 1.0,
        "xref": "paper",
        "yref": "paper",
        "showarrow": False,
        "xanchor": anchor,
    }


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
        "marker": {"size": 12, "symbol": "diamond-open", "color": COLOURS[5]},
        "hovertemplate": "%{y}: %{x:.1%}<extra>other images</extra>",
    }
    return drawn(
        [others, inside],
        height=150 + 44 * len(labels),
        showlegend=True,
        xaxis={"title": title, "tickformat": ".0%", "range": [-0.03, 1.03]},
        yaxis=rows_axis(labels),
    )


def expected_accuracies(entries: Sequence[Entry], labels: Sequence[str]) -> go.Figure:
    """The accuracy to expect of each model with its interval, and that on the reference.

    ``entries`` have ``expected_accuracy`` with its interval, and ``reference``, None if unknown.
    """
    shared: dict[str, Any] = {"type": "scatter", "y": list(labels), "mode": "markers"}
    on_reference = {
        **shared,
        "name": "on the reference",
        "x": [entry["reference"] for entry in entries],
        "marker": {"size": 13, "symbol": "diamond-open", "color": COLOURS[5], "line": {"width": 2}},
        "hovertemplate": "%{y}: %{x:.0%}<extra>on the reference</extra>",
    }
    expected = {
        **shared,
        "name": "on your images, 95% interval",
        "x": [entry["expected_accuracy"] for entry in entries],
        "text": [in_brackets(entry, "expected_accuracy", ".0%") for entry in entries],
        "marker": {"size": 13, "color": COLOURS[0]},
        "error_x": whiskers(entries, "expected_accuracy"),
        "hovertemplate": "%{y}: %{x:.0%}%{text}<extra>on your images</extra>",
    }
    has_reference = any(entry["reference"] is not None for entry in entries)
    return drawn(
        [expected, on_reference] if has_reference else [expected],
        height=130 + 44 * len(labels),
        showlegend=True,
        xaxis={"tickformat": ".0%", "range": [-0.03, 1.03]},
        yaxis=rows_axis(labels),
    )


def change_counts(entries: Sequence[Entry], labels: Sequence[str]) -> go.Figure:
    """How many images made each change.

    ``entries`` are of ``runs.cases``.
    """
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": "changed",
        "y": list(labels),
        "x": [entry["n_images"] for entry in entries],
        "customdata": [[entry["selection"]] for entry in entries],
        "text": [f"{entry['n_images']:,}" for entry in entries],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": COLOURS[0]},
        "hovertemplate": "%{y}<br>Images: %{x}<extra>changed</extra>",
    }
    axis: dict[str, Any] = {"title": "Images", "rangemode": "tozero"}
    if max(entry["n_images"] for entry in entries) < 8:
        axis["dtick"] = 1  # else a short axis has fractions of images
    return drawn(
        [bars],
        height=130 + 34 * len(labels),
        showlegend=False,
        xaxis=axis,
        yaxis=rows_axis(labels),
    )


def risk_coverage(
    entries: Sequence[Entry], title: str, thresholds: Sequence[Entry] = ()
) -> go.Figure:
    """The share of errors among accepted predictions over the share that is accepted.

    Large markers are at the safe ``thresholds``, with the interval of the error.
    """
    traces = []
    for entry in entries:
        curve = model_trace(
            entry["model"],
            entry["coverage"],
            entry["risk"],
            hover="%{x:.0%} accepted: %{y:.1%} errors",
            size=5,
        )
        traces.append(curve)
    for entry in thresholds:
        error = flat({}, "error", entry["error"]["suite"])
        marker = model_trace(
            entry["model"],
            [entry["accepted"]["suite"]],
            [error["error"]],
            hover=f"accepted from {entry['threshold']:g}: %{{x:.0%}}, %{{y:.1%}} errors",
            lines=False,
            size=15,
            showlegend=False,
            error_y=whiskers([error], "error"),
        )
        traces.append(marker)
    return drawn(
        traces,
        height=360,
        xaxis={"title": "Accepted", "tickformat": ".0%", "range": [-0.03, 1.03]},
        yaxis={"title": title, "tickformat": ".0%", "rangemode": "tozero"},
    )


def embedding_map(points: Sequence[Entry], explained: Sequence[float]) -> go.Figure:
    """Originals and perturbed images, joined by lines; ``points`` are those of a map.

    ``explained`` are the shares of the variance along both axes. Crosses are failures.
    """
    traces = _joining_lines(points)
    labelled = any(point["well_before"] is not None for point in points)
    good, bad = ("correct", "incorrect") if labelled else ("unchanged", "changed")
    for side in _SIDES:
        for is_good, outcome in ((True, good), (False, bad)):
            # Without a label nothing is known of an original, which then counts as good.
            shown = [point for point in points if (point[side.outcome] is not False) is is_good]
            if shown:
                traces.append(_map_markers(shown, side, f"{side.name}, {outcome}", good=is_good))
    across, up = (
        f"Component {number} ({share(part, 0)})" for number, part in enumerate(explained, 1)
    )
    return drawn(
        traces,
        height=520,
        dragmode="pan",  # nothing moves; Streamlit takes no clicks while a box can be drawn
        xaxis={"title": across, "showticklabels": False, "zeroline": False},
        yaxis={"title": up, "showticklabels": False, "zeroline": False},
    )


class _MapSide(NamedTuple):
    """One end of the lines of ``embedding_map``: the fields of a point that it shows."""

    name: str
    position: str
    outcome: str
    symbol_suffix: str


_SIDES = (
    _MapSide("original", "before", "well_before", "-open"),
    _MapSide("perturbed", "after", "well", ""),
)


def _joining_lines(points: Sequence[Entry]) -> list[dict[str, Any]]:
    """The lines from originals to perturbed images: one trace a colour, with gaps in between."""
    traces = []
    by_outcome: dict[bool, list[Entry]] = {}
    for point in points:
        by_outcome.setdefault(bool(point["well"]), []).append(point)
    for is_good, points_of_colour in by_outcome.items():
        x: list[float | None] = []
        y: list[float | None] = []
        for point in points_of_colour:
            x += [point["before"][0], point["after"][0], None]
            y += [point["before"][1], point["after"][1], None]
        trace = {
            "type": "scatter",
            "x": x,
            "y": y,
            "mode": "lines",
            "line": {"width": 1, "color": "#8796a5" if is_good else COLOURS[4]},
            "opacity": 0.45,
            "hoverinfo": "skip",
            "showlegend": False,
        }
        traces.append(trace)
    return traces


def _map_markers(
    points: Sequence[Entry], side: _MapSide, title: str, *, good: bool
) -> dict[str, Any]:
    symbol = "circle" if good else "x"
    return {
        "type": "scatter",
        "name": title,
        "x": [point[side.position][0] for point in points],
        "y": [point[side.position][1] for point in points],
        "text": [point["image"] for point in points],
        "customdata": [[point["selection"]] for point in points],
        "mode": "markers",
        "marker": {
            "size": 9,
            "symbol": f"{symbol}{side.symbol_suffix}",
            "color": COLOURS[0] if good else COLOURS[4],
        },
        "hovertemplate": f"%{{text}}<extra>{title}</extra>",
    }


def statistics_that_differ(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Means of statistics of both sides, minus the reference's.

    ``rows`` have ``statistic``, ``production`` and ``simulation``, in deviations of images.
    """
    names = [row["statistic"] for row in rows]
    x: list[float | None] = []
    y: list[str] = []
    for row in rows:
        x += [row["production"], row["simulation"], None]
        y += [row["statistic"]] * 3
    lines = {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "lines",
        "line": {"color": "#8796a5", "width": 2},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    # Where they agree, the simulation is a ring around the marker of the images.
    traces = [
        lines,
        _statistic_markers(rows, "production", "Your images", symbol="circle", size=9),
        _statistic_markers(rows, "simulation", "Simulation", symbol="circle-open", size=15),
    ]
    return drawn(
        traces,
        height=130 + 30 * len(names),
        xaxis={"title": "Deviations from the reference"} | ZERO_LINE,
        yaxis=rows_axis(names),
    )


def _statistic_markers(
    rows: Sequence[Mapping[str, Any]], side: str, title: str, *, symbol: str, size: int
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": title,
        "x": [row[side] for row in rows],
        "y": [row["statistic"] for row in rows],
        "mode": "markers",
        "marker": {
            "symbol": symbol,
            "size": size,
            "color": COLOURS[0],
            "line": {"width": 2, "color": COLOURS[0]},
        },
        "hovertemplate": "%{y}: %{x:+.2f}<extra>" + title + "</extra>",
    }
