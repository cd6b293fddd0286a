"""How far models lie above what their accuracy on the originals predicts (Taori et al. 2020)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FEWEST_MODELS = 3
"""Models from which a line is fitted: two always lie on one."""

Expected = Callable[[float], float]


def expected(entries: Sequence[Mapping[str, Any]]) -> Expected | None:
    """The score ``robust`` that ``accuracy`` predicts, both as shares; None for too few models.

    A least-squares line through the logits of the ``entries`` of a choice, without those behind a
    remedy, as in "Measuring Robustness to Natural Distribution Shifts in Image Classification"
    (NeurIPS 2020).
    """
    points = [(e["accuracy"], e["robust"]) for e in entries if not e.get("remedy")]
    inside = [(x, y) for x, y in points if None not in (x, y) and 0 < x < 1 and 0 < y < 1]
    if len(inside) < FEWEST_MODELS or len({x for x, _ in inside}) < 2:
        return None
    x, y = np.transpose([[_logit(value) for value in pair] for pair in inside])
    slope, start = np.polyfit(x, y, 1)
    return lambda share: float(1 / (1 + np.exp(-(start + slope * _logit(share)))))


def above_expected(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By model, how far it is above what its accuracy predicts; {} where nothing is fitted."""
    line = expected(entries)
    if line is None:
        return {}
    measured = [e for e in entries if None not in (e["accuracy"], e["robust"])]
    return {
        e["model"]: e["robust"] - line(e["accuracy"]) for e in measured if 0 < e["accuracy"] < 1
    }


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


@cache
def published_errors() -> tuple[Mapping[str, Any], ...]:
    """Published: ``model``, ``clean_error`` and ``mce`` in percent, and ``source``."""
    with (Path(__file__).parent / "published_robustness.csv").open(encoding="utf-8") as file:
        return tuple(
            {**row, "clean_error": float(row["clean_error"]), "mce": float(row["mce"])}
            for row in csv.DictReader(file)
        )
