"""What a Scorecard and a single view answer, in three sentences that claim no more than they show.

Their intervals are Wilson's over perturbed pictures, as ``evaluate.summarise`` gives them; a model
counts as ahead of another only where the two do not overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robustness import models
from robustness.base.text import visible
from robustness.evaluation.condition import Condition, perturbation_label
from robustness.evaluation.measurement import Measurement
from robustness.report.wording import counted, listed, model, overlap, rate, sentence, share
from robustness.statistics import scorecard

Entry = Mapping[str, Any]


def of_scorecard(
    summary: Sequence[Entry], rows: Sequence[Measurement], pictures: int
) -> tuple[str, str, str]:
    """Three sentences on ``evaluate.summarise`` and the measurements that it is of."""
    return (
        sentence(*(_who(ranking) for ranking in scorecard.rankings(summary))),
        sentence(_harm(rows)),
        sentence(
            f"this rests on {counted(pictures, 'picture')}, and the intervals count the "
            f"{counted(summary[0]['n'], 'perturbed picture')} as if they were independent",
            _unsure(rows),
        ),
    )


def _who(ranking: Sequence[Entry]) -> str:
    best, worst = ranking[0], ranking[-1]
    if len(ranking) == 1:
        return f"{model(best['model'])} kept its answer in {rate(best, digits=0)} of the cases"
    if best["consistency"] == worst["consistency"]:
        return (
            f"all {len(ranking)} models kept the same share of their answers, "
            f"{rate(best, digits=0)}, so none is more robust than another here"
        )
    rivals = [model(entry["model"]) for entry in ranking[1:] if overlap(best, entry)]
    end = f"{model(worst['model'])} kept {rate(worst, digits=0)}"
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
    kept: dict[str, int] = {}
    total: dict[str, int] = {}
    for row in rows:
        kept[row.perturbation] = kept.get(row.perturbation, 0) + row.consistent
        total[row.perturbation] = total.get(row.perturbation, 0) + 1
    shares = {name: kept[name] / total[name] for name in total}
    low, high = min(shares.values()), max(shares.values())
    if len(shares) == 1:
        name = next(iter(shares))
        return (
            f"only {perturbation_label(name)} was tried, which says nothing of other perturbations"
        )
    if low == high:
        return (
            f"under each of the {len(shares)} perturbations the same share of answers stayed, "
            f"{share(low, 0)}"
        )
    worst = [perturbation_label(name) for name, value in shares.items() if value == low]
    best = [perturbation_label(name) for name, value in shares.items() if value == high]
    first = next(name for name, value in shares.items() if value == low)
    each = " each" if len(worst) > 1 else ""
    return (
        f"the fewest answers stayed under {listed(worst)} ({kept[first]} of {total[first]}{each}), "
        f"the most under {listed(best)}, which holds for these pictures at these strengths"
    )


def _unsure(rows: Sequence[Measurement]) -> str:
    cases = scorecard.unsure(rows)
    if not cases:
        return ""
    return (
        f"{counted(len(cases), 'answer')} to a clean picture had less than "
        f"{share(scorecard.UNSURE, 0)}, and keeping such a one means little"
    )


def of_live(rows: Sequence[Measurement], condition: Condition) -> tuple[str, str, str]:
    """Three sentences on what every model made of one picture under one condition."""
    kept = [model(row.model) for row in rows if row.consistent]
    changed = [row for row in rows if not row.consistent]
    start = f"under {condition.described} "
    if len(rows) == 1:
        verdict = f"{model(rows[0].model)} {'keeps' if kept else 'changes'} its answer"
    elif not changed:
        verdict = f"all {len(rows)} models keep their answer"
    elif not kept:
        verdict = f"all {len(rows)} models change their answer"
    else:
        verb = "keeps its" if len(kept) == 1 else "keep their"
        verdict = f"{len(kept)} of {len(rows)} models {verb} answer ({listed(kept)})"
    return (
        sentence(start + verdict),
        sentence(_furthest(rows, changed)),
        sentence(
            f"this is one picture under one condition with {_seen(rows[0])}, so it shows what can "
            "happen and not how often",
            _unsure(rows),
        ),
    )


def _furthest(rows: Sequence[Measurement], changed: Sequence[Measurement]) -> str:
    row = min(changed or rows, key=lambda r: r.retained_probability - r.clean_probability)
    before = visible(models.class_name(row.model, row.clean_top1))
    fall = f"from {share(row.clean_probability)} to {share(row.retained_probability)}"
    if not changed:
        return f"the probability of the clean class moved most in {model(row.model)}, {fall}"
    after = visible(models.class_name(row.model, row.top1))
    return (
        f"{model(row.model)} now sees {after} ({share(row.probability)}) in place of {before}, "
        f"whose probability went {fall}"
    )


def _seen(row: Measurement) -> str:
    ssim, psnr = row.scores["ssim"], row.scores["psnr"]
    if not np.isfinite(psnr):
        return "nothing changed in the picture (SSIM 1)"
    return f"SSIM {ssim:.3f} and PSNR {psnr:.1f} dB"
