"""Plotly figures from tidy frames; used by pages and reports alike.

Frames have one row per measurement unless stated otherwise. A model has the same colour, marker and
dash in every chart, so that colour is never the only signal.
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
        """The module that makes figures, imported with the first one."""

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
"""Style numbers of models that are not registered here."""

ZERO_LINE = {"zeroline": True, "zerolinewidth": 2, "zerolinecolor": "#8796a5"}
"""The zero line of an axis of differences, visible on light and dark."""


def rows_axis(labels: Sequence[str]) -> dict[str, Any]:
    """A vertical axis with the first of ``labels`` on top."""
    return {
        "range": [len(labels) - 0.4, -0.6],
        "categoryorder": "array",
        "categoryarray": list(labels),
    }


def model_style(name: str) -> tuple[str, str, str]:
    """(colour, marker symbol, dash) of the model called ``name``, the same everywhere.

    No two of 48 registered models have the same marker and dash, nor of 128 the same marker and
    colour. The style of an unregistered model, as in a run from elsewhere, depends on its name.
    """
    if name in models.REGISTRY:
        place = models.REGISTRY.names.index(name)
    else:
        place = _UNREGISTERED_STYLES[zlib.crc32(name.encode()) % len(_UNREGISTERED_STYLES)]
    lap, marker = divmod(place, len(_MARKERS))
    colour = (place + 3 * lap) % len(COLOURS)  # else a marker would get the same colour again
    return COLOURS[colour], _MARKERS[marker], _DASHES[place % len(_DASHES)]


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
    """A trace of ``model`` in its style: markers, open where not ``filled``, joined by ``lines``.

    ``hover`` is the hover text beside the model's name; ``more`` overrides parts of the trace.
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


_ALIKE = 0.008
_APART = 0.015
"""Markers closer than the first, a share of the height, overlap; they move by the second."""


def dodged(traces: Sequence[Mapping[str, Any]], height: float) -> list[dict[str, Any]]:
    """``traces`` with overlapping markers at the same x moved sideways.

    x and y are numbers, and ``height`` is the span of the y axis. The hover text keeps the true x,
    and no marker passes its neighbours.
    """
    moved = [{**trace, "x": list(trace["x"])} for trace in traces]
    places = sorted({x for trace in traces for x in trace["x"]})
    for number, place in enumerate(places):
        step = _dodging_step(places, number, len(traces))
        for group in _overlapping(_markers_at(traces, place), _ALIKE * height):
            in_order_of_traces = sorted(group, key=lambda marker: marker.trace)
            for turn, marker in enumerate(in_order_of_traces):
                offset = step * (turn - (len(group) - 1) / 2)
                moved[marker.trace]["x"][marker.point] = place + offset
    for trace, original in zip(moved, traces, strict=True):
        if trace["x"] != list(original["x"]):
            trace["text"] = [f"{x:.3g}" for x in original["x"]]
            trace["hovertemplate"] = trace["hovertemplate"].replace("%{x:.3g}", "%{text}")
    return moved


class _Marker(NamedTuple):
    """The ``point`` of a ``trace``, both by number, and its height."""

    y: float
    trace: int
    point: int


def _dodging_step(places: Sequence[float], number: int, traces: int) -> float:
    """How far markers at a place move apart: never as far as those of the places beside it."""
    width = places[-1] - places[0] or 1.0
    gaps = []
    if number > 0:
        gaps.append(places[number] - places[number - 1])
    if number + 1 < len(places):
        gaps.append(places[number + 1] - places[number])
    return min(_APART * width, 0.8 * min(gaps, default=1.0) / traces)


def _markers_at(traces: Sequence[Mapping[str, Any]], place: float) -> list[_Marker]:
    markers = []
    for number, trace in enumerate(traces):
        for point, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True)):
            if x == place and y is not None:
                markers.append(_Marker(y, number, point))
    return markers


def _overlapping(markers: Sequence[_Marker], distance: float) -> list[list[_Marker]]:
    """``markers`` in groups, in which each is within ``distance`` of the next one."""
    groups: list[list[_Marker]] = []
    for marker in sorted(markers):
        if groups and marker.y - groups[-1][-1].y <= distance:
            groups[-1].append(marker)
        else:
            groups.append([marker])
    return groups


def whiskers(entries: Sequence[Mapping[Any, Any]], name: str) -> dict[str, Any]:
    """The ``error_x`` of markers at the figures ``name``; none for entries without an interval."""

    def lengths(start: str, end: str) -> list[float]:
        return [
            0.0 if None in (entry[start], entry[end]) else entry[end] - entry[start]
            for entry in entries
        ]

    return {
        "type": "data",
        "symmetric": False,
        "array": lengths(name, f"{name}_high"),
        "arrayminus": lengths(f"{name}_low", name),
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
    """A figure in the common layout, ``height`` in pixels.

    Built in one call: Plotly validates a figure at each later change, which took ten times as
    long. Tags in texts are escaped.
    """
    shared = {"automargin": True, "fixedrange": True}
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


_WORDS = ("name", "x", "y", "text", "customdata", "categoryarray", "ticktext", "title")
"""Parts of traces and axes that may contain untrusted names."""

_BREAK = "<br>"
_EXTRA = re.compile(r"(.*)<extra>(.+)</extra>", re.DOTALL)
_TAG = re.compile(rf"<(?!{_BREAK[1:]})")
_ENTITY = re.compile(r"&(?=#?\w+;)")


def _harmless(part: Mapping[str, Any]) -> dict[str, Any]:
    """``part`` of a figure with all tags escaped but line breaks, and invisible characters shown.

    ``customdata`` that is not in the hover text is what a click reports, and stays.
    """
    harmless = dict(part)
    hover = part.get("hovertemplate") or ""
    match = _EXTRA.fullmatch(hover)
    if match:  # beside its box, the name would lie over other lines
        text, name = match.groups()
        harmless["hovertemplate"] = f"{name}{_BREAK}{text}<extra></extra>"
    for key in _WORDS:
        is_reported = key == "customdata" and "customdata" not in hover
        if key in harmless and not is_reported:
            harmless[key] = _escaped(harmless[key])
    return harmless


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return _TAG.sub("&lt;", _ENTITY.sub("&amp;", unhidden(value)))
    if isinstance(value, list | tuple):
        return [_escaped(part) for part in value]
    return value


def describe(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    """A text alternative of a chart: every model with its values."""
    descriptions = []
    for _, row in frame.iterrows():
        values = [
            f"{column.replace('_', ' ')} {row[column]:.2f}"
            for column in columns
            if pd.notna(row[column])
        ]
        descriptions.append(f"{models.label(row['model'])}: {', '.join(values)}")
    return "; ".join(descriptions)
