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
from robustness.report.wording import (
    common_rate,
    listed,
    models_of,
    overlap,
    sentence,
    share,
)
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
    best, worst = scorecard.ends(ranking)
    most = common_rate(best, 0)
    if len(ranking) == 1:
        return f"{models_of(best)} kept its answer in {most} of the cases"
    if not worst:
        return (
            f"all {len(ranking)} models kept the same share of their answers, {most}, so none is "
            "more robust than another here"
        )
    end = f"{models_of(worst)} kept {common_rate(worst, 0)}"
    whose, its = ("its answers", "its interval") if len(best) == 1 else _THEIRS
    largest = f"{models_of(best)} kept the largest share of {whose}, {most}"
    if not scorecard.has_intervals(ranking):
        return f"{largest}, which establishes no order; {end}"
    others = [entry for entry in ranking if entry not in best]
    rivals = [entry for entry in others if any(overlap(leader, entry) for leader in best)]
    if rivals:
        verb = "overlaps" if len(best) == 1 else "overlap"
        return (
            f"{largest}, but {its} {verb} that of {models_of(rivals)}, so the order is not "
            f"established; {end}"
        )
    if len(best) > 1:
        return f"{largest}, and {its} lie above every other; {end}"
    return (
        f"{models_of(best)} kept its answer most often, in {most} of the cases, and its interval "
        f"lies above every other; {end}"
    )


_THEIRS = "their answers", "their intervals"


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
