"""A choice in words, the most important first: for pages, reports and the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustness.base.text import counted
from robustness.evaluation.condition import perturbation_label
from robustness.statistics.paired import SMALLEST
from robustness.statistics.ranking import planned

BEST, TIED, WORSE, RULED_OUT, NOT_COMPARED = "best", "tied", "worse", "ruled out", "not compared"

_MOST = 5
"""Names in a sentence; of more, the others are counted."""

NAMES = {
    "consistency": "consistency",
    "perturbed_accuracy": "accuracy",
    "robust_accuracy": "robust accuracy",
}


def sentences(
    told: Sequence[Mapping[str, Any]],
    gaps: Mapping[str, tuple[str, float]],
    quantity: str,
    images: int,
    more: int | None,
    margin: float,
) -> Iterator[str]:
    """The answer in words, the most important first.

    ``gaps`` has, by model, a better one and the difference between them.
    """
    best = [entry for entry in told if entry["status"] in (BEST, TIED)]
    others = {entry["status"] for entry in told} - {BEST}
    if len(best) == 1 and WORSE not in others:
        score = f"{NAMES[quantity]} {best[0]['robust']:.1%}"
        only = others == {RULED_OUT}
        yield f"{'Only ' * only}{best[0]['label']}{' meets the criteria' * only}: {score}."
    elif best:
        yield from _first(best, quantity, images, more, margin)
    else:
        yield "No model meets the criteria."
    yield from _worse_told([entry for entry in told if entry["status"] == WORSE], told, best, gaps)
    yield from _weakest_told(best)
    out = [entry for entry in told if entry["status"] in (RULED_OUT, NOT_COMPARED)]
    shown = out if len(out) <= _MOST else out[: _MOST - 1]
    for entry in shown:
        yield f"{entry['label']} is {entry['status']}: {entry['reason']}."
    if rest := out[len(shown) :]:
        statuses = " or ".join(dict.fromkeys(entry["status"] for entry in rest))
        yield f"{len(rest)} more are {statuses}."


def _first(
    best: Sequence[Mapping[str, Any]], quantity: str, images: int, more: int | None, margin: float
) -> Iterator[str]:
    names = [entry["label"] for entry in best]
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
        yield f"Differences below {counted(f'{100 * margin:g}', 'point')} count as ties."


def _worse_told(
    worse: Sequence[Mapping[str, Any]],
    told: Sequence[Mapping[str, Any]],
    best: Sequence[Mapping[str, Any]],
    gaps: Mapping[str, tuple[str, float]],
) -> Iterator[str]:
    points = [f"{100 * gaps[entry['model']][1]:.0f}" for entry in worse]
    if len(worse) > _MOST:
        yield f"{len(worse)} others are worse by {points[0]} to {counted(points[-1], 'point')}."
    elif worse:
        than = {entry["model"]: f" than {entry['label']}" for entry in told}
        if len(best) == 1:
            than[best[0]["model"]] = ""
        said = [
            f"{entry['label']} is worse{than[gaps[entry['model']][0]]} by {counted(by, 'point')}"
            for entry, by in zip(worse, points, strict=True)
        ]
        yield f"{_listed(said)}."


def _weakest_told(best: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    weak = [(entry["label"], entry["weakest"]) for entry in best if entry["weakest"] is not None]
    if not weak:
        return
    if len({under for _, under in weak}) == 1:
        subject = "The tied models are" if len(weak) > 1 else f"{weak[0][0]} is"
        yield f"{subject} weakest under {perturbation_label(weak[0][1])}."
        return
    each = [f"{name} under {perturbation_label(under)}" for name, under in weak]
    yield f"Weakest: {_listed(each)}."


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST:
        names = [*names[: _MOST - 1], f"{len(names) - _MOST + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
