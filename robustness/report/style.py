"""The common style of all Plotly figures, on pages and in reports.

A model has the same colour, marker and dash in every chart, so that colour is never the only
signal.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from robustness import models
from robustness.base.text import unhidden

if TYPE_CHECKING:
    import plotly.graph_objects as go
else:

    class _Plotly:
        """The module ``plotly.graph_objects``, imported when the first figure is made."""

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module("plotly.graph_objects"), name)

    go = _Plotly()


# Okabe & Ito's colour-blind safe palette, without black and yellow: invisible on dark or light.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7B61C4", "#A6761D")

_MARKERS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "pentagon",
    "hexagon",
    "star",
    "cross",
    "x",
    "triangle-left",
    "triangle-right",
    "hourglass",
    "bowtie",
    "star-diamond",
    "hexagram",
)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_UNREGISTERED_STYLES = range(32, 128)
"""Style numbers of models that are not registered here, after those of registered ones."""

ZERO_LINE = {"zeroline": True, "zerolinewidth": 2, "zerolinecolor": "#8796a5"}
"""The zero line of an axis of differences, visible on light and on dark backgrounds."""


def rows_axis(labels: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a vertical axis of categories, with the first of ``labels`` on top."""
    return {
        "range": [len(labels) - 0.4, -0.6],
        "categoryorder": "array",
        "categoryarray": list(labels),
    }


def model_style(name: str) -> tuple[str, str, str]:
    """Return the colour, the marker symbol and the dash of the model called ``name``.

    Of 48 registered models no two have the same marker and dash, and of 128 no two have the same
    marker and colour. The style of a model that is not registered, as in a run from another
    machine, depends on its name.
    """
    if name in models.REGISTRY:
        style_number = models.REGISTRY.names.index(name)
    else:
        # A checksum, since hash() of a text differs from process to process.
        checksum = zlib.crc32(name.encode())
        style_number = _UNREGISTERED_STYLES[checksum % len(_UNREGISTERED_STYLES)]
    lap, marker = divmod(style_number, len(_MARKERS))
    # There are twice as many markers as colours, so without a shift in each lap through the markers
    # a marker would have the same colour again.
    colour = (style_number + 3 * lap) % len(COLOURS)
    return COLOURS[colour], _MARKERS[marker], _DASHES[style_number % len(_DASHES)]


def model_trace(
    model: str,
    x: Iterable[Any],
    y: Iterable[Any],
    *,
    hover: str,
    lines: bool = True,
    filled: Iterable[bool] | None = None,
    size: int = 9,
    **more: Any,
) -> dict[str, Any]:
    """Return a scatter trace of a model in its own style.

    ``lines`` join its markers. Markers are open where ``filled`` is False; without ``filled`` all
    are filled. ``hover`` is the hover template of a point, to which the name of the model is added.
    ``size`` is that of the markers in pixels, and ``more`` overrides parts of the trace.
    """
    colour, symbol, dash = model_style(model)
    marker: dict[str, Any] = {"symbol": symbol, "size": size, "color": colour}
    if filled is not None:
        marker["symbol"] = [symbol if is_filled else f"{symbol}-open" for is_filled in filled]
        marker["line"] = {"width": 1.5, "color": colour}
    trace: dict[str, Any] = {
        "type": "scatter",
        "name": models.label(model),
        "x": list(x),
        "y": list(y),
        "mode": "lines+markers" if lines else "markers",
    }
    if lines:
        trace["line"] = {"color": colour, "dash": dash, "width": 2.5}
    trace["marker"] = marker
    trace["hovertemplate"] = f"{hover}<extra>%{{fullData.name}}</extra>"
    return {**trace, **more}


_OVERLAP_DISTANCE = 0.008
"""Markers at the same x overlap if their y differ by at most this share of the axis."""

_LARGEST_STEP = 0.015
"""The largest distance to which overlapping markers are moved apart, as a share of the x axis."""


def dodged(traces: Sequence[Mapping[str, Any]], height: float) -> list[dict[str, Any]]:
    """Return copies of ``traces`` in which overlapping markers are moved apart sideways.

    Both coordinates are numbers, and ``height`` is the span of the y axis. The hover text keeps the
    true x, and no marker is moved past those at the next x.
    """
    dodged_traces = [{**trace, "x": list(trace["x"])} for trace in traces]
    all_x = sorted({x for trace in traces for x in trace["x"]})
    for index, x in enumerate(all_x):
        step = _dodging_step(all_x, index, len(traces))
        for group in _overlapping(_markers_at(traces, x), _OVERLAP_DISTANCE * height):
            # In the order of the traces, as in the legend, and centred around the true x.
            in_order_of_traces = sorted(group, key=lambda marker: marker.trace)
            for number, marker in enumerate(in_order_of_traces):
                offset = step * (number - (len(group) - 1) / 2)
                dodged_traces[marker.trace]["x"][marker.point] = x + offset
    for trace, original in zip(dodged_traces, traces, strict=True):
        if trace["x"] != list(original["x"]):
            trace["text"] = [f"{x:.3g}" for x in original["x"]]
            trace["hovertemplate"] = trace["hovertemplate"].replace("%{x:.3g}", "%{text}")
    return dodged_traces


class _Marker(NamedTuple):
    """The height of a marker, and the indices of its trace and of its point in the trace."""

    y: float
    trace: int
    point: int


def _dodging_step(all_x: Sequence[float], index: int, trace_count: int) -> float:
    """Return the distance between markers that are moved apart at ``all_x[index]``.

    ``all_x`` are sorted. Even if all traces have a marker there, these take up at most 80% of the
    distance to the nearest x beside it.
    """
    width = all_x[-1] - all_x[0] or 1.0
    gaps = []
    if index > 0:
        gaps.append(all_x[index] - all_x[index - 1])
    if index + 1 < len(all_x):
        gaps.append(all_x[index + 1] - all_x[index])
    return min(_LARGEST_STEP * width, 0.8 * min(gaps, default=1.0) / trace_count)


def _markers_at(traces: Sequence[Mapping[str, Any]], x: float) -> list[_Marker]:
    markers = []
    for trace_index, trace in enumerate(traces):
        points = zip(trace["x"], trace["y"], strict=True)
        for point_index, (point_x, y) in enumerate(points):
            if point_x == x and y is not None:
                markers.append(_Marker(y, trace_index, point_index))
    return markers


def _overlapping(markers: Sequence[_Marker], distance: float) -> list[list[_Marker]]:
    """Group ``markers`` such that each is within ``distance`` of the next one of its group."""
    groups: list[list[_Marker]] = []
    for marker in sorted(markers):
        if groups and marker.y - groups[-1][-1].y <= distance:
            groups[-1].append(marker)
        else:
            groups.append([marker])
    return groups


def whiskers(entries: Sequence[Mapping[Any, Any]], name: str) -> dict[str, Any]:
    """Return the error bars of markers at the figures ``name``, from their low to their high bound.

    The bars of entries without an interval have no length.
    """
    lengths_above = []
    lengths_below = []
    for entry in entries:
        value = entry[name]
        low = entry[f"{name}_low"]
        high = entry[f"{name}_high"]
        lengths_above.append(0.0 if value is None or high is None else high - value)
        lengths_below.append(0.0 if value is None or low is None else value - low)
    return {
        "type": "data",
        "symmetric": False,
        "array": lengths_above,
        "arrayminus": lengths_below,
        "thickness": 2,
        "width": 6,
    }


def drawn(
    traces: Sequence[Mapping[str, Any]],
    *,
    height: int,
    xaxis: Mapping[str, Any],
    yaxis: Mapping[str, Any],
    **layout: Any,
) -> go.Figure:
    """Return a figure of ``traces`` in the common layout, with HTML tags in all texts escaped.

    ``height`` is in pixels, ``xaxis`` and ``yaxis`` are settings of the axes, and ``layout`` has
    further settings.
    """
    shared = {"automargin": True, "fixedrange": True}
    # In one call, since Plotly validates a figure at each later change: ten times as slow.
    return go.Figure(
        data=[_harmless(trace) for trace in traces],
        layout={
            "height": height,
            "margin": {"l": 8, "r": 8, "t": 40, "b": 8},
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
            "bargap": 0.3,
            "bargroupgap": 0.06,
            "barmode": "group",
            "hovermode": "closest",
            "dragmode": False,
            "xaxis": {**shared, **_harmless(xaxis)},
            "yaxis": {**shared, **_harmless(yaxis)},
            **layout,
        },
    )


_TEXT_KEYS = ("name", "x", "y", "text", "customdata", "categoryarray", "ticktext", "title")
"""The keys of traces and axes whose values may contain names from outside."""

_BREAK = "<br>"
_HOVER_WITH_NAME = re.compile(r"(.*)<extra>(.+)</extra>", re.DOTALL)
_TAG_START = re.compile(rf"<(?!{_BREAK[1:]})")
_ENTITY_START = re.compile(r"&(?=#?\w+;)")


def _harmless(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``part``, a trace or an axis, with the HTML in its texts escaped.

    Line breaks stay, and invisible characters are shown.
    """
    harmless = dict(part)
    hover = part.get("hovertemplate") or ""
    match = _HOVER_WITH_NAME.fullmatch(hover)
    if match:
        # Plotly draws the extra part beside the box of the text, where it would cover other lines.
        text, name = match.groups()
        harmless["hovertemplate"] = f"{name}{_BREAK}{text}<extra></extra>"
    for key in _TEXT_KEYS:
        # Data that is not in the hover text is what a click reports, which must not change.
        is_reported = key == "customdata" and "customdata" not in hover
        if key in harmless and not is_reported:
            harmless[key] = _escaped(harmless[key])
    return harmless


def _escaped(value: Any) -> Any:
    """Escape a text, or all texts in a nested list; other values stay as they are."""
    if isinstance(value, str):
        text = _ENTITY_START.sub("&amp;", unhidden(value))
        return _TAG_START.sub("&lt;", text)
    if isinstance(value, list | tuple):
        return [_escaped(member) for member in value]
    return value


def describe(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    """Return a text alternative of a chart: the values of ``columns`` for the model of each row."""
    descriptions = []
    for _, row in frame.iterrows():
        values = []
        for column in columns:
            if pd.notna(row[column]):
                values.append(f"{column.replace('_', ' ')} {row[column]:.2f}")
        descriptions.append(f"{models.label(row['model'])}: {', '.join(values)}")
    return "; ".join(descriptions)
