"""What a single view answers, in three sentences that claim no more than it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustness.charts.verdict import tally
from robustness.evaluation.condition import Condition
from robustness.evaluation.measurement import Measurement
from robustness.report.answers.scorecard import unsure
from robustness.report.wording import class_title, model, sentence, share


def answer(rows: Sequence[Measurement], condition: Condition) -> tuple[str, str, str]:
    """Three sentences on what every model made of one image under one condition."""
    return (
        sentence(f"{condition.described}: {tally(rows)}"),
        sentence(_furthest(rows, [row for row in rows if not row.consistent])),
        sentence(
            f"this is one image under one condition with {_seen(rows[0])}, so it shows what can "
            "happen and not how often",
            unsure(rows),
        ),
    )


def _furthest(rows: Sequence[Measurement], changed: Sequence[Measurement]) -> str:
    row = min(changed or rows, key=lambda r: r.retained_probability - r.clean_probability)
    before = class_title(row.model, row.clean_top1)
    fall = f"from {share(row.clean_probability)} to {share(row.retained_probability)}"
    if not changed:
        return f"the confidence in the original class moved most in {model(row.model)}, {fall}"
    after = class_title(row.model, row.top1)
    return (
        f"{model(row.model)} now predicts {after} ({share(row.probability)}) instead of {before}, "
        f"whose probability went {fall}"
    )


def _seen(row: Measurement) -> str:
    ssim, psnr = row.scores["ssim"], row.scores["psnr"]
    if not np.isfinite(psnr):
        return "no visible change (SSIM 1)"
    return f"SSIM {ssim:.3f} and PSNR {psnr:.1f} dB"
