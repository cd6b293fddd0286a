"""What a single view answers, in three sentences that claim no more than it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustness.evaluation.condition import Condition
from robustness.evaluation.measurement import Measurement
from robustness.report.answers.scorecard import unsure
from robustness.report.wording import class_title, listed, model, sentence, share


def answer(rows: Sequence[Measurement], condition: Condition) -> tuple[str, str, str]:
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
    known = [row.top1 == row.label for row in rows if row.label is not None]
    if len(known) == len(rows):
        verdict += f"; {sum(known)} of {len(rows)} right"
    return (
        sentence(start + verdict),
        sentence(_furthest(rows, changed)),
        sentence(
            f"this is one picture under one condition with {_seen(rows[0])}, so it shows what can "
            "happen and not how often",
            unsure(rows),
        ),
    )


def _furthest(rows: Sequence[Measurement], changed: Sequence[Measurement]) -> str:
    row = min(changed or rows, key=lambda r: r.retained_probability - r.clean_probability)
    before = class_title(row.model, row.clean_top1)
    fall = f"from {share(row.clean_probability)} to {share(row.retained_probability)}"
    if not changed:
        return f"the probability of the clean class moved most in {model(row.model)}, {fall}"
    after = class_title(row.model, row.top1)
    return (
        f"{model(row.model)} now sees {after} ({share(row.probability)}) in place of {before}, "
        f"whose probability went {fall}"
    )


def _seen(row: Measurement) -> str:
    ssim, psnr = row.scores["ssim"], row.scores["psnr"]
    if not np.isfinite(psnr):
        return "nothing changed in the picture (SSIM 1)"
    return f"SSIM {ssim:.3f} and PSNR {psnr:.1f} dB"
