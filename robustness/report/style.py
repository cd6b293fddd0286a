"""Plotly figures from tidy frames; used by pages and reports alike.

Frames have one row per measurement unless stated otherwise. A model has the same colour, marker and
dash in every chart, so that colour is never the only signal.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

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
        marker |= {
            "symbol": [symbol if stays else f"{symbol}-open" for stays in filled],
            "line": {"width": 1.5, "color": colour},
        }
    return {
        "type": "scatter",
        "name": models.label(model),
        "x": list(x),
        "y": list(y),
        "mode": "lines+markers" if lines else "markers",
        **({"line": {"color": colour, "dash": dash, "width": 2.5}} if lines else {}),
        "marker": marker,
        "hovertemplate": f"{hover}<extra>%{{fullData.name}}</extra>",
        **more,
    }


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
    for at, place in enumerate(places):
        around = [abs(place - places[n]) for n in (at - 1, at + 1) if 0 <= n < len(places)]
        width = places[-1] - places[0] or 1.0
        step = min(_APART * width, 0.8 * min(around, default=1.0) / len(traces))
        here = [
            (y, number, point)
            for number, trace in enumerate(traces)
            for point, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True))
            if x == place and y is not None
        ]
        groups: list[list[tuple[float, int, int]]] = []
        for marker in sorted(here):  # neighbours within a group lie near each other
            if groups and marker[0] - groups[-1][-1][0] <= _ALIKE * height:
                groups[-1].append(marker)
            else:
                groups.append([marker])
        for group in groups:
            for turn, (_, number, point) in enumerate(sorted(group, key=lambda marker: marker[1])):
                moved[number]["x"][point] = place + step * (turn - (len(group) - 1) / 2)
    for trace, before in zip(moved, traces, strict=True):
        if trace["x"] != list(before["x"]):
            trace["text"] = [f"{x:.3g}" for x in before["x"]]
            trace["hovertemplate"] = trace["hovertemplate"].replace("%{x:.3g}", "%{text}")
    return moved


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
    hover = part.get("hovertemplate") or ""
    has_data = "customdata" in hover
    if match := _EXTRA.fullmatch(hover):  # beside its box, the name would lie over other lines
        part = {**part, "hovertemplate": f"{match[2]}{_BREAK}{match[1]}<extra></extra>"}
    return {
        key: _escaped(value) if key in _WORDS and (has_data or key != "customdata") else value
        for key, value in part.items()
    }


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return _TAG.sub("&lt;", _ENTITY.sub("&amp;", unhidden(value)))
    return [_escaped(text) for text in value] if isinstance(value, list | tuple) else value


def describe(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    """A text alternative of a chart: every model with its values."""
    return "; ".join(
        f"{models.label(row['model'])}: "
        + ", ".join(
            f"{column.replace('_', ' ')} {row[column]:.2f}"
            for column in columns
            if pd.notna(row[column])
        )
        for _, row in frame.iterrows()
    )
