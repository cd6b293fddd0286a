"""What a Scorecard answers, in three sentences that claim no more than it shows.

A model counts as ahead of another only where their intervals over the images, as
``scorecard.summarise`` gives them, do not overlap; with too few images for any, nowhere.
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
            f"this rests on {counted(pictures, 'image')}, {_basis(summary)}",
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
        return f"{models_of(best)} has a consistency of {most}{_correct(ranking)}"
    if not worst:
        return (
            f"all {len(ranking)} models have the same consistency, {most}, so none is more robust "
            f"than another here{_correct(ranking)}"
        )
    end = f"{models_of(worst)} {'has' if len(worst) == 1 else 'have'} {common_rate(worst, 0)}"
    one = len(best) == 1
    largest = f"{models_of(best)} {'has' if one else 'have'} the highest consistency, {most}"
    its = "its interval" if one else "their intervals"
    if not scorecard.has_intervals(ranking):
        doubt = ", which establishes no order"
    elif rivals := [e for e in ranking if e not in best and any(overlap(b, e) for b in best)]:
        verb = "overlaps" if one else "overlap"
        doubt = f", but {its} {verb} that of {models_of(rivals)}, so the order is not established"
    else:
        doubt = f", and {its} {'lies' if one else 'lie'} above every other"
    return f"{largest}{doubt}; {end}{_correct(ranking)}"


def _correct(ranking: Sequence[Entry]) -> str:
    """How many predictions are correct, where the true classes are known."""
    shares = [entry["perturbed_accuracy"] for entry in ranking]
    if None in shares:
        return ""
    low, high = share(min(shares), 0), share(max(shares), 0)
    return f"; {low if low == high else f'{low} to {high}'} of the predictions are correct"


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
            f"under each of the {len(shares)} perturbations {share(low, 0)} of the predictions are "
            "unchanged"
        )
    worst = [name for name, value in shares.items() if value == low]
    best = [name for name, value in shares.items() if value == high]
    each = " each" if len(worst) > 1 else ""
    return (
        f"the fewest predictions are unchanged under {listed(worst)} "
        f"({sum(kept[worst[0]])} of {len(kept[worst[0]])}{each}), "
        f"the most under {listed(best)}, which holds for these images at these strengths"
    )


def unsure(rows: Sequence[Measurement]) -> str:
    """How many answers to clean images were hardly given at all; nothing where there are none."""
    cases = scorecard.unsure(rows)
    if not cases:
        return ""
    return (
        f"{counted(len(cases), 'answer')} to a clean image had less than "
        f"{share(scorecard.UNSURE, 0)}, and keeping such a one means little"
    )
