"""A choice in words, the most important first: for pages, reports and the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustness import models
from robustness.base.text import counted
from robustness.evaluation.condition import perturbation_label
from robustness.statistics.paired import SMALLEST
from robustness.statistics.ranking import planned

BEST, TIED, WORSE, RULED_OUT, NOT_COMPARED = "best", "tied", "worse", "ruled out", "not compared"


NAMES = {
    "consistency": "consistency",
    "perturbed_accuracy": "accuracy",
    "robust_accuracy": "robust accuracy",
}


def sentences(
    told: Sequence[Mapping[str, Any]], quantity: str, images: int, more: int | None, margin: float
) -> Iterator[str]:
    """The answer in words, the most important first."""
    best = [entry for entry in told if entry["status"] in (BEST, TIED)]
    ruled_out = sum(entry["status"] == RULED_OUT for entry in told)
    if len(best) == 1 and 0 < ruled_out == len(told) - 1:
        score = f"{NAMES[quantity]} {best[0]['robust']:.1%}"
        yield f"Only {models.label(best[0]['model'])} meets the criteria: {score}."
    elif best:
        yield from _first(best, quantity, images, more, margin)
    else:
        yield "No model meets the criteria."
    worse = [
        f"{models.label(entry['model'])} is worse by "
        f"{100 * (best[0]['robust'] - entry['robust']):.0f} points"
        for entry in told
        if entry["status"] == WORSE
    ]
    if worse:
        yield f"{_listed(worse)}."
    yield from _weakest_told(best)
    for entry in told:
        if entry["status"] in (RULED_OUT, NOT_COMPARED):
            yield f"{models.label(entry['model'])} is {entry['status']}: {entry['reason']}."


def _first(
    best: Sequence[Mapping[str, Any]], quantity: str, images: int, more: int | None, margin: float
) -> Iterator[str]:
    names = [models.label(entry["model"]) for entry in best]
    on = counted(images, "image")
    if len(best) == 1:
        sure = (
            ""
            if best[0]["certainty"] is None
            else (f", first in {100 * best[0]['certainty']:.0f} of 100 resamples of {on}")
        )
        yield f"{names[0]} is best: {NAMES[quantity]} {best[0]['robust']:.1%}{sure}."
        return
    further = "" if more is None else f" ({planned(more, margin or SMALLEST)})"
    low, high = (f"{each(entry['robust'] for entry in best):.1%}" for each in (min, max))
    span = low if low == high else f"{low} to {high}"
    yield f"Tie: {_listed(names)} cannot be told apart on {on}{further}; {NAMES[quantity]} {span}."
    if margin and any(entry["place_low"] > 1 for entry in best):
        yield f"Differences below {100 * margin:g} points count as ties."


def _weakest_told(best: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    weak = {entry["model"]: entry["weakest"] for entry in best if entry["weakest"] is not None}
    if not weak:
        return
    if len(set(weak.values())) == 1:
        subject = "All are" if len(weak) > 1 else "It is"
        yield f"{subject} weakest under {perturbation_label(next(iter(weak.values()))).lower()}."
        return
    each = [
        f"{models.label(name)} under {perturbation_label(under).lower()}"
        for name, under in weak.items()
    ]
    yield f"Weakest: {_listed(each)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
