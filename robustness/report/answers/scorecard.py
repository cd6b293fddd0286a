"""What a Scorecard answers, in three sentences that claim no more than it shows.

A model counts as ahead of another only where their intervals over the pictures, as
``scorecard.summarise`` gives them, do not overlap; with too few pictures for any, nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from robustness.base.text import counted
from robustness.charts.tables import Entry
from robustness.evaluation.condition import series
from robustness.evaluation.measurement import Measurement
from robustness.report.wording import listed, model, overlap, rate, sentence, share
from robustness.statistics import scorecard


def answer(
    summary: Sequence[Entry], rows: Sequence[Measurement], pictures: int
) -> tuple[str, str, str]:
    """Three sentences on ``scorecard.summarise`` and the measurements that it is of."""
    return (
        sentence(*(_who(ranking) for ranking in scorecard.rankings(summary))),
        sentence(_harm(rows)),
        sentence(
            f"this rests on {counted(pictures, 'picture')}, {_basis(summary)}",
            unsure(rows),
        ),
    )


def _basis(summary: Sequence[Entry]) -> str:
    if scorecard.has_intervals(summary):
        return "each counted once in the intervals, however many perturbations it is under"
    return "too few for an interval, so it tells nothing of others"


def _who(ranking: Sequence[Entry]) -> str:
    best, worst = ranking[0], ranking[-1]
    if len(ranking) == 1:
        return f"{model(best['model'])} kept its answer in {rate(best, digits=0)} of the cases"
    if best["consistency"] == worst["consistency"]:
        return (
            f"all {len(ranking)} models kept the same share of their answers, "
            f"{rate(best, digits=0)}, so none is more robust than another here"
        )
    end = f"{model(worst['model'])} kept {rate(worst, digits=0)}"
    if not scorecard.has_intervals(ranking):
        return (
            f"{model(best['model'])} kept the largest share of its answers, "
            f"{rate(best, digits=0)}, which establishes no order; {end}"
        )
    rivals = [model(entry["model"]) for entry in ranking[1:] if overlap(best, entry)]
    if not rivals:
        return (
            f"{model(best['model'])} kept its answer most often, in {rate(best, digits=0)} of the "
            f"cases, and its interval lies above every other; {end}"
        )
    return (
        f"{model(best['model'])} kept the largest share of its answers, {rate(best, digits=0)}, "
        f"but its interval overlaps that of {listed(rivals)}, so the order is not established; "
        f"{end}"
    )


def _harm(rows: Sequence[Measurement]) -> str:
    kept: dict[str, list[bool]] = {}
    for row in rows:
        kept.setdefault(series(row.condition), []).append(row.consistent)
    shares = {name: sum(stayed) / len(stayed) for name, stayed in kept.items()}
    low, high = min(shares.values()), max(shares.values())
    if len(shares) == 1:
        return f"only {next(iter(shares))} was tried, which says nothing of other perturbations"
    if low == high:
        return (
            f"under each of the {len(shares)} perturbations the same share of answers stayed, "
            f"{share(low, 0)}"
        )
    worst = [name for name, value in shares.items() if value == low]
    best = [name for name, value in shares.items() if value == high]
    each = " each" if len(worst) > 1 else ""
    return (
        f"the fewest answers stayed under {listed(worst)} "
        f"({sum(kept[worst[0]])} of {len(kept[worst[0]])}{each}), "
        f"the most under {listed(best)}, which holds for these pictures at these strengths"
    )


def unsure(rows: Sequence[Measurement]) -> str:
    """How many answers to clean pictures were hardly given at all; nothing where there are none."""
    cases = scorecard.unsure(rows)
    if not cases:
        return ""
    return (
        f"{counted(len(cases), 'answer')} to a clean picture had less than "
        f"{share(scorecard.UNSURE, 0)}, and keeping such a one means little"
    )
