"""Plotly figures of results: of predictions, of runs over many images, and of matches.

``entries`` are records of the tables of ``robustness.statistics``, in which unknown values are
None. Intervals are 95%. Points of charts of failures have the selection of their images as data, so
that a page can show these images after a click.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import metrics, models
from robustness.base.text import in_sentence
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
from robustness.report.tables import (
    OPEN_MARKERS,
    Entry,
    flat,
    in_brackets,
    judged,
    metric_titles,
    points_lost,
)
from robustness.statistics.choice import expected_robustness
from robustness.statistics.study import STABLE_FEATURES


def ranking(entries: Sequence[Entry], quantity: str, title: str) -> go.Figure:
    """Return the chart of a rate of each model with its interval, in the order of ``entries``.

    ``title`` is that of the axis.
    """
    markers = {
        "type": "scatter",
        "x": [entry[quantity] for entry in entries],
        "y": [models.label(entry["model"]) for entry in entries],
        "mode": "markers",
        "marker": {"size": 12, "color": COLOURS[0]},
        "error_x": whiskers(entries, quantity),
        "hovertemplate": "%{y}: %{x:.0%}<extra></extra>",
    }
    return drawn(
        [markers],
        height=150 + 42 * len(entries),
        xaxis={"range": [-0.03, 1.03], "tickformat": ".0%", "title": title},
        yaxis={"autorange": "reversed"},
    )


class Axis(NamedTuple):
    """The horizontal axis of ``trade_off``. ``form`` is the format of shares, "" for others."""

    title: str
    unit: str
    form: str = ""


AXES: Mapping[str, Axis] = {
    "accuracy": Axis("Accuracy", "on the originals", ".0%"),
    "latency_ms": Axis("Latency", "in ms per image"),
    "megabytes": Axis("Size", "in MB"),
}
"""The axes by the figure of a choice that they show."""


def trade_off(entries: Sequence[Entry], name: str, title: str, axis: Axis) -> go.Figure:
    """Return the chart of the score of each model against its figure ``name``, a key of ``AXES``.

    ``entries`` are those of a choice that have a score, and ``title`` is that of the score;
    ``axis`` is that of the figure. Against accuracy, a dashed line shows the score that the
    accuracy predicts.
    """
    known = [entry for entry in entries if entry[name] is not None]
    known.sort(key=lambda entry: float(entry[name]))
    values = [entry[name] for entry in known]
    traces: list[dict[str, Any]] = []
    if name == "accuracy":
        predict = expected_robustness(known)
        if predict is not None:
            # The line ends below 1, whose logit is infinite.
            accuracies = np.linspace(min(values), min(max(values), 0.999), 30).tolist()
            line = {
                "type": "scatter",
                "name": f"predicted from {in_sentence(axis.title)}",
                "x": accuracies,
                "y": [predict(accuracy) for accuracy in accuracies],
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
    range_of_axis: dict[str, Any] = {"rangemode": "tozero"}
    if axis.form:
        # Shares lie between 0% and 100%. There is some room even if all are equal.
        low = min(values)
        high = max(values)
        room = max(0.02, 0.1 * (high - low))
        range_of_axis = {
            "tickformat": "~%",
            "range": [max(-0.02, low - room), min(1.02, high + room)],
        }
    return drawn(
        traces,
        height=380,
        xaxis={"title": f"{axis.title} {axis.unit}", **range_of_axis},
        yaxis={"title": title, "tickformat": ".0%"},
    )


QUANTITIES = {
    "consistency": "Prediction consistency",
    "robust_accuracy": "Robust accuracy",
    "perturbed_accuracy": "Perturbed accuracy",
    "perturbed_accuracy_top5": "Perturbed top-5 accuracy",
}
"""Shares of images with their titles. Accuracies need labels, and only a whole run has a robust
accuracy."""


_SHARE_AXIS = {"range": [-0.03, 1.03], "tickformat": ".0%"}
"""An axis from 0% to 100%, with room for markers at its ends."""


def quantity_title(quantity: str, score: str = "") -> str:
    """Return the title of a quantity of ``QUANTITIES``.

    In a run of scores accuracies are means of the score that is called ``score``.
    """
    title = QUANTITIES[quantity]
    if score:
        return title.replace("accuracy", score)
    return title


def quantities(score: str = "") -> dict[str, str]:
    """Return the quantities of a map with their titles: shares, and metrics of runs.

    ``score`` is as for ``quantity_title``.
    """
    shares = {quantity: quantity_title(quantity, score) for quantity in QUANTITIES}
    return {**shares, **metric_titles(RUN)}


def titles(names: Iterable[str], score: str = "") -> dict[str, str]:
    """Return the titles of the quantities ``names``; ``score`` is as for ``quantity_title``."""
    all_titles = quantities(score)
    return {name: all_titles[name] for name in names}


def forms(quantity: str) -> tuple[str, str]:
    """Return a short and an exact format for figures of ``quantity``.

    Shares are percentages. So are metrics whose own format is one; the others are numbers.
    """
    is_share = quantity in QUANTITIES
    if quantity in METRICS:
        is_share = METRICS[quantity].form.endswith("%")
    if is_share:
        return ".0%", ".1%"
    return ".2f", ".3f"


def grouped(entries: Iterable[Entry], key: str) -> dict[Any, list[Entry]]:
    """Group ``entries`` by their value of ``key``, in order of appearance."""
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry[key], []).append(entry)
    return groups


def goodness(values: NDArray[np.float64], quantity: str) -> NDArray[np.float64]:
    """Return how good each of ``values`` is, from 0 for bad to 1 for good; NaN stays NaN.

    Shares and metrics whose best value is 1 are returned as they are. Other metrics are scaled from
    the worst to the best of ``values``.
    """
    if quantity not in METRICS:
        return values
    metric = METRICS[quantity]
    if metric.higher_is_better and metric.high == 1:
        return values
    lowest = np.nanmin(values, initial=np.inf)
    highest = np.nanmax(values, initial=-np.inf)
    # Equal values must not divide by 0.
    scaled = (values - lowest) / (highest - lowest or 1)
    return scaled if metric.higher_is_better else 1 - scaled


def class_drops(entries: Sequence[Entry], count: int = 15) -> go.Figure:
    """Return the chart of the classes with the largest mean loss of accuracy over the models.

    ``entries`` are those of ``by_class``, of models with the same classes. ``count`` is the largest
    number of classes.
    """
    by_label = grouped(entries, "label")

    def mean_drop(label: int) -> float:
        drops = [entry["drop"] for entry in by_label[label] if entry["drop"] is not None]
        return float(np.mean(drops)) if drops else float("nan")

    worst = sorted(by_label, key=mean_drop, reverse=True)[:count]
    class_names = [by_label[label][0]["class_name"] for label in worst]
    model_names = list(grouped(entries, "model"))
    traces = []
    for index, name in enumerate(model_names):
        # The models of a class lie below each other, around the line of the class.
        offset = _LANE_HEIGHT * (index - (len(model_names) - 1) / 2) / len(model_names)
        drops = []
        heights = []
        texts = []
        click_and_hover_data = []
        for height, label in enumerate(worst):
            for entry in by_label[label]:
                if entry["model"] != name:
                    continue
                drops.append(100 * entry["drop"])
                heights.append(height + offset)
                texts.append(entry["class_name"])
                selection = f"model={quote(name)}&class={entry['label']}"
                details = f"{in_brackets(entry, 'drop', points_lost)}, n = {entry['n_images']}"
                click_and_hover_data.append([selection, details])
        trace = model_trace(
            name,
            drops,
            heights,
            lines=False,
            text=texts,
            customdata=click_and_hover_data,
            hover="%{text}: %{x:.1f} points%{customdata[1]}",
        )
        traces.append(trace)
    return drawn(
        traces,
        height=130 + max(26, 12 * len(model_names)) * len(class_names),
        xaxis={"title": "Accuracy lost, points"} | ZERO_LINE,
        yaxis={
            "range": [len(class_names) - 0.4, -0.6],
            "tickvals": list(range(len(class_names))),
            "ticktext": class_names,
            "zeroline": False,
        },
    )


_LANE_HEIGHT = 0.7
"""The share of the height of a class over which its models are spread."""


def reliability_diagram(entries: Sequence[Entry]) -> go.Figure:
    """Return the chart of the share of correct predictions over confidence.

    ``entries`` are those of ``reliability``. Markers are filled for originals, and open for
    perturbed images. Below the diagonal a model is overconfident.
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
            if is_original:
                title = "original"
                dash = "solid"
            else:
                title = kind
                dash = "dot"
            trace = model_trace(
                name,
                [entry["confidence"] for entry in bins],
                [entry["accuracy"] for entry in bins],
                customdata=[entry["n"] for entry in bins],
                hover="confidence %{x:.0%}, correct in %{y:.0%} of %{customdata}",
                name=f"{models.label(name)}, {title}",
                line={"color": colour, "dash": dash, "width": 2},
                filled=[is_original] * len(bins),
            )
            traces.append(trace)
    return drawn(
        traces,
        height=400,
        xaxis={"title": "Confidence", **_SHARE_AXIS},
        yaxis={"title": "Correct predictions", **_SHARE_AXIS},
    )


_PATTERNS = [
    {"shape": shape, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.7)", "size": 6}
    for shape in ("", "/")
]
"""The patterns of the two bars of a model, so that colour is not the only difference."""

_TEXT_WIDTH = 0.6
"""The room for the text at the end of a bar, in lengths of a full bar."""


def similarity_bars(frame: pd.DataFrame) -> go.Figure:
    """Return the chart of the rescaled similarities of the embeddings, with bars for each model.

    ``frame`` has the column ``model`` and, for each similarity, its column and the one with the
    rescaled values. Unscaled values are in parentheses.
    """
    lowest = float(frame[list(RESCALED.values())].min().min())
    # Bars of negative values go to the left, where their texts need room.
    left = lowest - _TEXT_WIDTH if lowest < 0 else 0.0
    traces = []
    for index, (name, rescaled_name) in enumerate(RESCALED.items()):
        texts = []
        for rescaled, unscaled in zip(frame[rescaled_name], frame[name], strict=True):
            texts.append(f"{rescaled:.2f} ({unscaled:.2f})")
        bars = {
            "type": "bar",
            "name": f"{metrics.REGISTRY[name].label}, rescaled",
            "y": [models.label(model) for model in frame["model"]],
            "x": frame[rescaled_name].tolist(),
            "orientation": "h",
            "text": texts,
            "textposition": "outside",
            "cliponaxis": False,
            "marker": {"color": COLOURS[index], "pattern": _PATTERNS[index]},
            "hovertemplate": "%{y}: %{x:.3f}<extra>%{fullData.name}</extra>",
        }
        traces.append(bars)
    return drawn(
        traces,
        height=110 + 56 * len(frame),
        xaxis={"tickvals": [0, 0.25, 0.5, 0.75, 1], "range": [left, 1 + _TEXT_WIDTH]},
        yaxis={"autorange": "reversed"},
    )


def stage_lines(frame: pd.DataFrame, metric: str = "cosine") -> go.Figure:
    """Return the chart of a rescaled similarity at each stage of each network.

    ``frame`` has one row for each model and stage, with the columns ``model``, ``stage``, ``depth``
    (0 at the first stage, 1 at the last), that of ``metric``, and its rescaled one.
    """
    rescaled_name = RESCALED[metric]
    traces = []
    for model, rows in frame.groupby("model", sort=False):
        trace = model_trace(
            str(model),
            rows["depth"],
            rows[rescaled_name],
            customdata=rows[["stage", metric]].to_numpy().tolist(),
            hover="%{customdata[0]}: %{y:.3f} (raw %{customdata[1]:.3f})",
        )
        traces.append(trace)
    lowest = 0.0
    if len(frame):
        lowest = min(lowest, float(frame[rescaled_name].min()))
    # The axis goes from 0.05 below the lowest value to 1.04.
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
    """Return a frame with a row for each measurement and stage.

    Its columns are ``model``, ``stage``, ``depth`` (0 at the first stage, 1 at the last), and the
    similarities.
    """
    records = []
    for row in rows:
        # From the last stage backwards, so that a single stage has the depth 1.
        depths = np.linspace(1, 0, len(row.stages))[::-1]
        for depth, (stage, scores) in zip(depths, row.stages.items(), strict=True):
            records.append({"model": row.model, "stage": stage, "depth": depth, **scores})
    return pd.DataFrame(records)


CONFIDENCE = "retained_probability"
"""The column with the confidence in the class of the original."""


def strength_titles() -> dict[str, str]:
    """Return the columns that ``over_strength`` shows, with the titles of their axes.

    Similarities are rescaled.
    """
    titles = {CONFIDENCE: "Confidence in the original class"}
    for name, title in metric_titles(STRENGTHS).items():
        if name not in RESCALED:
            titles[name] = title
    return titles


def over_strength(points: pd.DataFrame, quantity: str) -> go.Figure:
    """Return the chart of a ``quantity`` of each model over the strength of one perturbation.

    ``points`` has one row for each measurement, as ``Measurement.as_row`` returns it. Markers are
    open as ``OPEN_MARKERS`` says. The hover text has the physical value and the severity.
    """
    record = REGISTRY[str(points["perturbation"].iat[0])]
    points = points.assign(good=good_rows(points))
    if quantity == CONFIDENCE:
        hover_form = ".1%"
        tick_form = ".0%"
    else:
        hover_form = ".3f"
        tick_form = ""
    traces = []
    for model, rows in points.groupby("model", sort=False):
        trace = model_trace(
            str(model),
            rows["strength"],
            rows[quantity],
            filled=rows["good"],
            customdata=[value_and_severity(record, strength) for strength in rows["strength"]],
            hover=f"%{{x:.3g}} (%{{customdata}}): %{{y:{hover_form}}}",
        )
        traces.append(trace)
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
            "tickformat": tick_form,
            "range": [lowest - margin, highest + 1.5 * margin],
        },
    )


def value_and_severity(record: Perturbation, strength: float) -> str:
    """Return the physical value and the nearest severity, such as "3 px, about severity 3"."""
    value = record.value_text(strength)
    severity = record.severity_at(strength)
    if not severity:
        return value
    if record.severity_strengths[severity - 1] == strength:
        return f"{value}, severity {severity}"
    return f"{value}, about severity {severity}"


MOVEMENT = f"One marker per measurement. {OPEN_MARKERS}"
"""How to read ``movement``."""


def movement(frame: pd.DataFrame) -> go.Figure:
    """Return the chart of the divergence of the predictions over the shift of the features.

    ``frame`` has one row for each measurement, as ``Measurement.as_row`` returns it. A shift of
    100% is that of an unrelated image, and the dashed line is at half of it. Markers are open as
    ``OPEN_MARKERS`` says.
    """
    predictions = zip(frame["consistent"], frame["label"], frame["top1"], strict=True)
    verdicts = []
    for consistent, label, top1 in predictions:
        verdicts.append(judged(consistent, is_correct(label, top1)).text)
    frame = frame.assign(good=good_rows(frame), verdict=verdicts)
    traces = []
    for name, rows in frame.groupby("model", sort=False):
        hover_texts = []
        for perturbation, verdict in zip(rows["perturbation"], rows["verdict"], strict=True):
            hover_texts.append(f"{perturbation_label(perturbation)}: {verdict}")
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
    """Return an annotation at the upper edge of a chart; ``x`` is a share of the width."""
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
    """Return the chart of the rate of each slice with its interval, and that of all other images.

    ``entries`` are those of slices, with the text of their ``selection``. ``labels`` name them.
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
    """Return the chart of the accuracy to expect of each model, and that on the reference.

    ``entries`` have ``expected_accuracy`` with its interval, and ``reference``, the accuracy on the
    reference images, None if it is unknown.
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
    """Return the chart of the number of images for each change of the predicted class.

    ``entries`` are the changes of ``runs.cases``, at least one.
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
        # Plotly would put ticks at fractions of an image on so short an axis.
        axis["dtick"] = 1
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
    """Return the chart of the share of errors among accepted predictions over the share accepted.

    Each of ``entries`` has the curve of a model as ``coverage`` and ``risk``. Large markers show
    the safe ``thresholds`` with the interval of their error. ``title`` is that of the errors.
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


def statistics_that_differ(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Return the chart of how far statistics of images are from those of the reference images.

    ``rows`` have the fields ``statistic``, ``production`` and ``simulation``: the name, and the
    distances of the user's images and of the simulation, in standard deviations.
    """
    names = [row["statistic"] for row in rows]
    x: list[float | None] = []
    y: list[str] = []
    for row in rows:
        # None ends a line, so that the next one is not joined to it.
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
    # The simulation is a ring around the marker of the images if they agree.
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
