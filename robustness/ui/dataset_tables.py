"""The tables of a run over many images: ranking, pairs, all figures, what could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from robustness import charts
from robustness import statistics as figures
from robustness.charts_scorecard import perturbation_label
from robustness.ui import results

Entry = Mapping[str, Any]


def percent(value: float | None, digits: int = 0) -> str:
    """A share as text; nothing where there is none."""
    return "" if value is None else f"{value:.{digits}%}"


def interval(entry: Entry, name: str, digits: int = 0) -> str:
    """The interval of the share ``name`` as text; "no interval" where there is none."""
    low, high = entry[f"{name}_low"], entry[f"{name}_high"]
    if low is None:
        return "no interval"
    return f"{low:.{digits}%} to {high:.{digits}%}"


def ranking(entries: Sequence[Entry]) -> str:
    """The ranking as HTML: established places, consistency, similarity, and accuracy if known."""
    labelled = any(entry["clean_accuracy"] is not None for entry in entries)
    head = ["Place", "Model", "Consistency", "95 % interval", "Cosine", "Euclidean"]
    if labelled:
        head[4:4] = ["Accuracy clean", "perturbed"]
    rows = []
    for entry in entries:
        low, high = entry["place_low"], entry["place_high"]
        row = [
            str(low) if low == high else f"{low} to {high}",
            charts.model_label(entry["model"]),
            percent(entry["consistency"], 1),
            interval(entry, "consistency", 1),
            f"{entry['cosine']:.3f}",
            f"{entry['euclidean']:.3f}",
        ]
        if labelled:
            row[4:4] = [percent(entry[f"{kind}_accuracy"], 1) for kind in ("clean", "perturbed")]
        rows.append(row)
    return results.html_table(head, rows)


def pairs(entries: Sequence[Entry]) -> str:
    """Every pair of models as HTML: the difference, the test, and what more images would do."""
    head = ("Better", "Worse", "Difference", "95 % interval", "p, corrected", "Verdict")
    rows = [
        (
            charts.model_label(entry["better"]),
            charts.model_label(entry["worse"]),
            _points(entry["difference"]),
            "none"
            if entry["difference_low"] is None
            else f"{_points(entry['difference_low'])} to {_points(entry['difference_high'])}",
            p_text(entry["p_holm"]),
            figures.advice(entry),
        )
        for entry in entries
    ]
    return results.html_table(head, rows)


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def p_text(p: float) -> str:
    """A p-value as text, not more exact than it is of use."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def tests(entries: Sequence[Entry]) -> pd.DataFrame:
    """McNemar's tests per condition, for ``st.dataframe``."""
    return pd.DataFrame(
        {
            "Perturbation": perturbation_label(entry["perturbation"]),
            "Strength": entry["strength"],
            "Model A": charts.model_label(entry["model_a"]),
            "Model B": charts.model_label(entry["model_b"]),
            "Images": entry["n_images"],
            "Only A": entry["only_a"],
            "Only B": entry["only_b"],
            "p, corrected": p_text(entry["p_holm"]),
            "Established": entry["established"],
        }
        for entry in entries
    )


_FIGURES = {
    "consistency": "Consistency",
    "flip_rate": "Flip rate",
    "confidence_change": "Confidence change",
    "top5_overlap": "Top-5 overlap",
    "cosine": "Cosine",
    "euclidean": "Euclidean",
    "ssim": "SSIM",
    "clean_accuracy": "Clean accuracy",
    "perturbed_accuracy": "Perturbed accuracy",
    "clean_accuracy_top5": "Clean top-5",
    "perturbed_accuracy_top5": "Perturbed top-5",
    "drop": "Accuracy lost",
    "relative_drop": "Relative loss",
}


def conditions(entries: Sequence[Entry]) -> pd.DataFrame:
    """All figures per model and condition with their intervals, for ``st.dataframe``."""
    known = [name for name in _FIGURES if any(entry[name] is not None for entry in entries)]
    labelled = "clean_accuracy" in known
    return pd.DataFrame(
        {
            "Model": charts.model_label(entry["model"]),
            "Perturbation": perturbation_label(entry["perturbation"]),
            "Strength": entry["strength"],
            "Severity": entry["severity"],
            "Images": entry["n_images"],
            **{_FIGURES[name]: _with_interval(entry, name) for name in known},
            **(
                {
                    "ECE clean": decimal(entry["clean_ece"]),
                    "ECE perturbed": decimal(entry["perturbed_ece"]),
                    "ECE by chance": decimal(entry["perturbed_ece_by_chance"]),
                }
                if labelled
                else {}
            ),
        }
        for entry in entries
    )


def _with_interval(entry: Entry, name: str) -> str:
    value, low, high = (entry[key] for key in (name, f"{name}_low", f"{name}_high"))
    if value is None:
        return ""
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def decimal(value: float | None) -> str:
    """A figure as text; nothing where there is none."""
    return "" if value is None else f"{value:.3f}"


def unreadable(images: Sequence[tuple[str, str]]) -> None:
    """The images that could not be read, with their reasons."""
    if not images:
        return
    count = len(images)
    with st.expander(
        f"{count:,} image{'s' * (count != 1)} could not be read", icon=":material/broken_image:"
    ):
        st.dataframe(pd.DataFrame(images, columns=["Image", "Reason"]), hide_index=True)
