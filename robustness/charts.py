"""Plotly figures from tidy frames; used by pages and reports alike.

Frames have one row a measurement unless stated otherwise. Every model keeps its colour, marker and
dash in every chart, so that colour is never the only signal.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from robustness import metrics, models

# Okabe & Ito's colour-blind safe palette, without black and yellow, which vanish on one ground.
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
)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")
_PATTERNS = ("", "/")

BAD_TO_GOOD = ((0.0, "#b35806"), (0.35, "#f1b06a"), (0.55, "#f4f4f1"), (1.0, "#2166ac"))
"""Colour scale of heatmaps, low to high; told apart by the colour-blind."""


def model_style(name: str) -> tuple[str, str, str]:
    """(colour, marker symbol, dash) of the model called ``name``, the same everywhere."""
    place = models.REGISTRY.names.index(name) if name in models.REGISTRY else 0
    place %= len(COLOURS)
    return COLOURS[place], _MARKERS[place], _DASHES[place]


def model_label(name: str) -> str:
    """The readable name of a model."""
    return models.REGISTRY[name].label if name in models.REGISTRY else name


def similarity_bars(frame: pd.DataFrame) -> go.Figure:
    """Cosine and Euclidean similarity of the embedding, one pair of bars a model.

    ``frame`` has the columns ``model``, ``cosine`` and ``euclidean``.
    """
    figure = go.Figure()
    for place, name in enumerate(("cosine", "euclidean")):
        metric = metrics.REGISTRY[name]
        figure.add_bar(
            name=metric.label,
            y=[model_label(model) for model in frame["model"]],
            x=frame[name],
            orientation="h",
            text=[f"{value:.2f}" for value in frame[name]],
            textposition="outside",
            cliponaxis=False,
            marker={
                "color": COLOURS[place],
                "pattern": _pattern(place),
            },
            hovertemplate="%{y}: %{x:.3f}<extra>" + metric.label + "</extra>",
        )
    low = min(0.0, float(frame[["cosine", "euclidean"]].min().min()))
    figure.update_xaxes(range=[low, 1.12], tickvals=[0, 0.25, 0.5, 0.75, 1], title=None)
    figure.update_yaxes(autorange="reversed", title=None)
    return finish(figure, rows=2 * len(frame), bargap=0.3)


def clean_class_bars(frame: pd.DataFrame) -> go.Figure:
    """Probability of the clean top-1 class before and after, one pair of bars a model.

    ``frame`` has the columns ``model``, ``clean_probability`` and ``retained_probability``.
    """
    figure = go.Figure()
    series = (("Original", "clean_probability"), ("Perturbed", "retained_probability"))
    for place, (label, column) in enumerate(series):
        figure.add_bar(
            name=label,
            y=[model_label(model) for model in frame["model"]],
            x=frame[column],
            orientation="h",
            text=[f"{value:.1%}" for value in frame[column]],
            textposition="outside",
            cliponaxis=False,
            marker={
                "color": ("#8796a5", COLOURS[4])[place],
                "pattern": _pattern(place),
            },
            hovertemplate="%{y}: %{x:.2%}<extra>" + label + "</extra>",
        )
    figure.update_xaxes(range=[0, 1.15], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(autorange="reversed")
    return finish(figure, rows=2 * len(frame), bargap=0.3)


def stage_lines(frame: pd.DataFrame, metric: str = "cosine") -> go.Figure:
    """Similarity at each stage of each network, shallow to deep.

    ``frame`` has one row a model and stage: ``model``, ``stage``, ``depth`` (0 at the first
    stage, 1 at the last) and the metric's column.
    """
    figure = go.Figure()
    for model, rows in frame.groupby("model", sort=False):
        colour, marker, dash = model_style(str(model))
        figure.add_scatter(
            name=model_label(str(model)),
            x=rows["depth"],
            y=rows[metric],
            customdata=rows["stage"],
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2.5},
            marker={"symbol": marker, "size": 9},
            hovertemplate="%{customdata}: %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    lowest = float(frame[metric].min()) if len(frame) else 0.0
    figure.update_xaxes(
        tickvals=[0, 0.5, 1], ticktext=["first", "middle", "last"], range=[-0.08, 1.08]
    )
    figure.update_yaxes(range=[min(0.0, lowest) - 0.02, 1.04], title=metrics.REGISTRY[metric].label)
    return finish(figure, height=340)


def _pattern(place: int) -> dict[str, object]:
    return {
        "shape": _PATTERNS[place],
        "fillmode": "overlay",
        "fgcolor": "rgba(255,255,255,0.7)",
        "size": 6,
    }


def finish(
    figure: go.Figure, *, rows: int = 0, height: int | None = None, bargap: float = 0.2
) -> go.Figure:
    """The layout that all charts share; ``rows`` bars, or ``height`` pixels, set the height."""
    figure.update_layout(
        height=height or 110 + 28 * rows,
        margin={"l": 8, "r": 8, "t": 40, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "title": None},
        bargap=bargap,
        bargroupgap=0.06,
        barmode="group",
        hovermode="closest",
        dragmode=False,
    )
    figure.update_xaxes(automargin=True, fixedrange=True)
    figure.update_yaxes(automargin=True, fixedrange=True)
    return figure


def describe(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    """A text alternative: every model with its values, for those who cannot see the chart."""
    return "; ".join(
        f"{model_label(row['model'])}: "
        + ", ".join(f"{column.replace('_', ' ')} {row[column]:.2f}" for column in columns)
        for _, row in frame.iterrows()
    )
