"""Plotly figures as static images for print, drawn by Matplotlib.

Draws what ``robustness.charts*`` use: scatter lines and markers with error bars and bands,
horizontal bars, heatmaps with a word in each cell, lines and words in the layout.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import plotly.graph_objects as go

from robustness.charts.look import words
from robustness.report.formats import pdf_fonts

WIDTH_INCHES, DPI = 6.85, 200
PIXELS_AN_INCH = 110
"""Of the height that a figure has on the page of a browser."""

_Names = Mapping[str, Mapping[str, int]]
"""Where the words on each axis lie: Plotly takes words as coordinates, Matplotlib numbers."""

_INK, _LINE = "#1b2733", "#d9e1e7"
_MARKERS: Mapping[str, Any] = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "pentagon": "p",
    "hexagon": "h",
    "star": "*",
    "cross": "P",
    "x": "X",
    "triangle-left": "<",
    "triangle-right": ">",
    "hourglass": ((-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)),
    "bowtie": ((-1, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)),
    "star-diamond": (4, 1, 0),
    "hexagram": (6, 1, 0),
}
"""Matplotlib's names of Plotly's symbols, corners, or (points, a star, turned by)."""

_DASHES: Mapping[str, Any] = {
    "solid": "-",
    "dash": (0, (5, 2.5)),
    "dot": (0, (1.2, 1.8)),
    "dashdot": (0, (5, 2, 1.2, 2)),
    "longdash": (0, (8, 2.5)),
    "longdashdot": (0, (8, 2, 1.2, 2)),
}


def to_png(figure: go.Figure) -> bytes:
    """The figure as a PNG of ``WIDTH_INCHES`` at ``DPI``; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    told = json.loads(figure.to_json())
    traces, layout = told["data"], told["layout"]
    canvas = Figure(
        figsize=(WIDTH_INCHES, layout["height"] / PIXELS_AN_INCH), dpi=DPI, layout="constrained"
    )
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    names = _names(traces, layout)
    for trace in traces:
        _DRAWN[trace["type"]](axes, trace, names)
    _extras(axes, layout)
    cells = any(trace["type"] == "heatmap" for trace in traces)
    _axes(axes, layout, _names([], {}) if cells else names, grid=not cells)
    _legend(canvas, axes)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _names(traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> _Names:
    found = {}
    for axis in ("x", "y"):
        told = layout.get(f"{axis}axis", {}).get("categoryarray") or []
        there = [w for trace in traces for w in trace.get(axis, []) if isinstance(w, str)]
        found[axis] = {word: at for at, word in enumerate(dict.fromkeys([*told, *there]))}
    return found


def _places(trace: Mapping[str, Any], axis: str, names: _Names) -> list[float]:
    """The coordinates of ``trace`` on ``axis``; NaN for None."""
    return [
        float(names[axis][v]) if isinstance(v, str) else float("nan") if v is None else float(v)
        for v in trace[axis]
    ]


def _scatter(axes: Any, trace: Mapping[str, Any], names: _Names) -> None:
    if trace.get("marker", {}).get("opacity") == 0:  # only there to be clicked
        return
    x, y = _places(trace, "x", names), _places(trace, "y", names)
    line, marker = trace.get("line", {}), trace.get("marker", {})
    colour = line.get("color") or marker.get("color") or _INK
    if trace.get("fill") == "toself":
        axes.fill(x, y, color=_rgba(trace["fillcolor"]), linewidth=0)
        return
    label = words(trace["name"]) if trace.get("showlegend") is not False else None
    dash = _DASHES[line.get("dash", "solid")] if "lines" in trace["mode"] else "none"
    axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.5, zorder=2)
    _whiskers(axes, trace, x, y, colour)
    _points(axes, trace, x, y, colour)
    handle = {"color": colour, "label": label, "markersize": 5.5, **_look(marker, 0, colour)}
    axes.plot([], [], linestyle=dash, linewidth=1.5, **handle)


def _points(
    axes: Any, trace: Mapping[str, Any], x: Sequence[float], y: Sequence[float], colour: str
) -> None:
    if "markers" not in trace["mode"]:
        return
    for at, (left, up) in enumerate(zip(x, y, strict=True)):
        look = _look(trace["marker"], at, colour)
        axes.plot([left], [up], color=colour, markersize=5.5, linestyle="none", zorder=3, **look)


def _look(marker: Mapping[str, Any], at: int, colour: str) -> dict[str, Any]:
    """Symbol and filling of the marker ``at``; hollow ones are white within."""
    symbols = marker.get("symbol", "circle" if marker else None)
    if symbols is None:
        return {"marker": "none"}
    symbol = symbols[min(at, len(symbols) - 1)] if isinstance(symbols, list) else symbols
    hollow = symbol.endswith("-open")
    return {
        "marker": _MARKERS[symbol.removesuffix("-open")],
        "markerfacecolor": "white" if hollow else colour,
        "markeredgewidth": 1.2,
    }


def _whiskers(
    axes: Any, trace: Mapping[str, Any], x: Sequence[float], y: Sequence[float], colour: str
) -> None:
    for axis in ("x", "y"):
        if error := trace.get(f"error_{axis}"):
            sides = [np.nan_to_num(np.array(error[e], float)) for e in ("arrayminus", "array")]
            look = {"ecolor": colour, "elinewidth": 1.4, "capsize": 3, "zorder": 2}
            axes.errorbar(x, y, **{f"{axis}err": sides}, fmt="none", **look)


def _bar(axes: Any, trace: Mapping[str, Any], names: _Names) -> None:
    drawn = sum(bool(one.get_label()) for one in axes.containers)
    height = 0.36
    y = np.array(_places(trace, "y", names)) + (drawn - 0.5) * height
    hatch = "//" if trace["marker"]["pattern"]["shape"] else None
    style = {"color": trace["marker"]["color"], "edgecolor": "white", "hatch": hatch}
    bars = axes.barh(y, trace["x"], height=height, label=words(trace["name"]), **style)
    axes.bar_label(bars, trace["text"], padding=3, fontsize=7.5, color=_INK)


def _heatmap(axes: Any, trace: Mapping[str, Any], names: _Names) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    values = _numbers(trace["z"])
    scale = LinearSegmentedColormap.from_list(
        "scale", [tuple(stop) for stop in trace["colorscale"]]
    )
    axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=scale, vmin=0, vmax=1, edgecolors="white", linewidth=2
    )
    for row, line in enumerate(trace["text"]):
        for column, word in enumerate(line):
            value = min(max(values[row, column], 0), 1)
            red, green, blue, _ = scale(value)
            bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.55
            axes.text(
                column + 0.5,
                row + 0.5,
                word,
                ha="center",
                va="center",
                fontsize=7.5,
                color=_INK if bright or np.isnan(value) else "white",
                fontfamily=_families(),
            )
    for axis in ("x", "y"):
        ticks = [at + 0.5 for at in range(len(trace[axis]))]
        getattr(axes, f"set_{axis}ticks")(ticks, [words(word) for word in trace[axis]])


def _numbers(told: Mapping[str, str]) -> np.ndarray:
    """Numbers as Plotly writes an array, by its bytes."""
    flat = np.frombuffer(base64.b64decode(told["bdata"]), dtype=told["dtype"])
    return flat.reshape([int(side) for side in told["shape"].split(",")])


_DRAWN: Mapping[str, Callable[[Any, Mapping[str, Any], _Names], None]] = {
    "scatter": _scatter,
    "bar": _bar,
    "heatmap": _heatmap,
}


def _extras(axes: Any, layout: Mapping[str, Any]) -> None:
    for shape in layout.get("shapes", []):
        style = {"color": shape["line"]["color"], "linestyle": _DASHES[shape["line"]["dash"]]}
        axes.axvline(shape["x0"], linewidth=1, **style)
    for note in layout.get("annotations", []):
        place = {"transform": axes.transAxes, "ha": note["xanchor"], "va": "top"}
        axes.text(note["x"], note["y"], note["text"], **place, fontsize=7.5, color=_INK)


def _axes(axes: Any, layout: Mapping[str, Any], names: _Names, *, grid: bool) -> None:
    """Ranges, ticks, titles and grid as ``layout`` asks for them."""
    from matplotlib.ticker import FuncFormatter

    for axis in ("x", "y"):
        told = layout.get(f"{axis}axis", {})
        on = getattr(axes, f"{axis}axis")
        known = names[axis]
        if known:
            getattr(axes, f"set_{axis}ticks")(list(known.values()), list(map(words, known)))
            getattr(axes, f"set_{axis}lim")(-0.6, len(known) - 0.4)
        if "range" in told:
            getattr(axes, f"set_{axis}lim")(*told["range"])
        if told.get("autorange") == "reversed":
            getattr(axes, f"invert_{axis}axis")()
        if "tickvals" in told:
            getattr(axes, f"set_{axis}ticks")(
                told["tickvals"], [words(text) for text in told.get("ticktext", [])] or None
            )
        if "%" in told.get("tickformat", "") and not known:
            on.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
        if told.get("zeroline"):
            axes.axvline(0, color=_INK, linewidth=1, zorder=1)
        title = told.get("title", {}).get("text")
        if title:
            getattr(axes, f"set_{axis}label")(title, fontsize=8, color=_INK, family=_families())
        if told.get("side") == "top":
            on.tick_top()
    axes.tick_params(labelsize=7.5, colors=_INK, length=0)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontfamily(_families())
    axes.set_axisbelow(True)
    if grid:
        axes.grid(color=_LINE, linewidth=0.7)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legend(canvas: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    style = {"frameon": False, "prop": {"family": _families(), "size": 7.5}, "handlelength": 3}
    canvas.legend(handles, labels, loc="outside upper left", ncols=3, **style)


def _rgba(text: str) -> tuple[float, ...]:
    red, green, blue, alpha = (float(part) for part in text[5:-1].split(","))
    return red / 255, green / 255, blue / 255, alpha


@cache
def _families() -> tuple[str, ...]:
    """The fonts that are asked for a sign, in this order."""
    from matplotlib import font_manager

    font_manager.fontManager.addfont(pdf_fonts.font_file(pdf_fonts.JAPANESE))
    return "DejaVu Sans", "IPAexGothic"
