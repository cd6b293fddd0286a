"""Plotly figures of where models fail, and of how images differ from a reference.

A click on a point of a failure opens its selection of images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustness.base.text import share
from robustness.charts.ranking_and_condition_tables import Entry, flat, in_brackets
from robustness.charts.style import COLOURS, ZERO_LINE, drawn, go, model_trace, rows_axis, whiskers


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

    ``entries`` are of ``runs.failures_and_class_changes``.
    """
    return drawn(
        [_bar("changed", COLOURS[0], list(zip(labels, entries, strict=True)))],
        height=130 + 34 * len(labels),
        showlegend=False,
        xaxis=_images(entries),
        yaxis=rows_axis(labels),
    )


def _images(entries: Sequence[Entry]) -> dict[str, Any]:
    """An axis of numbers of images, which are whole."""
    most = max(entry["n_images"] for entry in entries)
    return {"title": "Images", "rangemode": "tozero"} | ({"dtick": 1} if most < 8 else {})


def _bar(name: str, colour: str, rows: Sequence[tuple[str, Entry]]) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": [label for label, _ in rows],
        "x": [entry["n_images"] for _, entry in rows],
        "customdata": [[entry["selection"]] for _, entry in rows],
        "text": [f"{entry['n_images']:,}" for _, entry in rows],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": colour},
        "hovertemplate": f"%{{y}}<br>Images: %{{x}}<extra>{name}</extra>",
    }


def risk_coverage(
    entries: Sequence[Entry], title: str, thresholds: Sequence[Entry] = ()
) -> go.Figure:
    """The share of errors among accepted predictions over the share that is accepted.

    Large markers are at the safe ``thresholds``, with the interval of the error.
    """
    curves = [
        model_trace(
            entry["model"],
            entry["coverage"],
            entry["risk"],
            hover="%{x:.0%} accepted: %{y:.1%} errors",
            size=5,
        )
        for entry in entries
    ]
    points = [
        model_trace(
            entry["model"],
            [entry["accepted"]["suite"]],
            [entry["error"]["suite"]["value"]],
            hover=f"accepted from {entry['threshold']:g}: %{{x:.0%}}, %{{y:.1%}} errors",
            lines=False,
            size=15,
            showlegend=False,
            error_y=whiskers([flat({}, "error", entry["error"]["suite"])], "error"),
        )
        for entry in thresholds
    ]
    return drawn(
        [*curves, *points],
        height=360,
        xaxis={"title": "Accepted", "tickformat": ".0%", "range": [-0.03, 1.03]},
        yaxis={"title": title, "tickformat": ".0%", "rangemode": "tozero"},
    )


def embedding_map(points: Sequence[Entry], explained: Sequence[float]) -> go.Figure:
    """Originals and perturbed images, joined by lines; ``points`` are those of a map.

    Crosses are failures.
    """
    lines: dict[bool, tuple[list[float | None], list[float | None]]] = {}
    for point in points:
        x, y = lines.setdefault(bool(point["well"]), ([], []))
        x += [point["before"][0], point["after"][0], None]
        y += [point["before"][1], point["after"][1], None]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "x": x,
            "y": y,
            "mode": "lines",
            "line": {"width": 1, "color": "#8796a5" if well else COLOURS[4]},
            "opacity": 0.45,
            "hoverinfo": "skip",
            "showlegend": False,
        }
        for well, (x, y) in lines.items()
    ]
    labelled = any(point["well_before"] is not None for point in points)
    words = ("correct", "incorrect") if labelled else ("unchanged", "changed")
    for side, key, well, kind in (
        ("original", "before", "well_before", "-open"),
        ("perturbed", "after", "well", ""),
    ):
        for good, word in zip((True, False), words, strict=True):
            chosen = [point for point in points if (point[well] is not False) is good]
            if not chosen:
                continue
            trace = {
                "type": "scatter",
                "name": f"{side}, {word}",
                "x": [point[key][0] for point in chosen],
                "y": [point[key][1] for point in chosen],
                "text": [point["image"] for point in chosen],
                "customdata": [[point["selection"]] for point in chosen],
                "mode": "markers",
                "marker": {
                    "size": 9,
                    "symbol": f"{'circle' if good else 'x'}{kind}",
                    "color": COLOURS[0] if good else COLOURS[4],
                },
                "hovertemplate": f"%{{text}}<extra>{side}, {word}</extra>",
            }
            traces.append(trace)
    across, up = (f"Component {at} ({share(part, 0)})" for at, part in enumerate(explained, 1))
    return drawn(
        traces,
        height=520,
        dragmode="pan",  # nothing moves; Streamlit takes no clicks while a box can be drawn
        xaxis={"title": across, "showticklabels": False, "zeroline": False},
        yaxis={"title": up, "showticklabels": False, "zeroline": False},
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
        for side, label, symbol, size in (
            ("production", "Your images", "circle", 9),
            ("simulation", "Simulation", "circle-open", 15),  # a ring around it where they agree
        )
    ]
    return drawn(
        traces,
        height=130 + 30 * len(names),
        xaxis={"title": "Deviations from the reference"} | ZERO_LINE,
        yaxis=rows_axis(names),
    )
