"""Sentences on one image: a Live view, and an attack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustness.attacks import NORMS, Outcome
from robustness.base.text import counted
from robustness.charts.verdict import tally
from robustness.evaluation.condition import Condition
from robustness.evaluation.correctness import is_correct
from robustness.evaluation.measurement import Measurement
from robustness.metrics.intervals import wilson
from robustness.report.answers.ranked import low_confidence
from robustness.report.wording import class_title, model, sentence, share

# --- a Live view: the measurements of every model under one condition -----------------------------


def counts(rows: Sequence[Measurement], condition: Condition) -> str:
    """How many models are correct or changed."""
    return sentence(f"{condition.described}: {tally(rows)}")


def furthest(rows: Sequence[Measurement], condition: Condition) -> str:
    """The model whose confidence in the original class fell most."""
    changed = [row for row in rows if not row.consistent]
    row = min(changed or rows, key=lambda r: r.retained_probability - r.clean_probability)
    before = class_title(row.model, row.clean_top1)
    fall = f"{before} {share(row.clean_probability)} → {share(row.retained_probability)}"
    now = f", now {class_title(row.model, row.top1)} {share(row.probability)}" if changed else ""
    return sentence(f"{model(row.model)}: {fall}{now}", names=[row.model])


def basis(rows: Sequence[Measurement], condition: Condition) -> str:
    """How visible the change is, and predictions with low confidence."""
    ssim, psnr = rows[0].scores["ssim"], rows[0].scores["psnr"]
    seen = f"SSIM {ssim:.3f}, PSNR {psnr:.1f} dB" if np.isfinite(psnr) else "no visible change"
    return sentence(f"one image under one condition ({seen})", low_confidence(rows))


# --- an attack: its outcome, and the predictions of all models for the attacked image -------------


def described(outcome: Outcome) -> str:
    """The attack with its norm and size: "PGD (L∞, epsilon 8/255)"."""
    spec = outcome.spec
    return f"{outcome.label} ({NORMS[spec.norm].label}, epsilon {spec.size_text})"


def title(outcome: Outcome, index: int) -> str:
    """The class ``index`` of the attacked model."""
    return class_title(outcome.model, index)


def attacked(outcome: Outcome, rows: Sequence[Measurement]) -> str:
    """What the attack changes in the attacked model."""
    before = f"{title(outcome, outcome.clean_top1)} {share(outcome.clean_probability)}"
    after = f"{title(outcome, outcome.top1)} {share(outcome.probability)}"
    target = outcome.spec.target
    aim = "" if target is None else f" towards {title(outcome, target)}"
    verb = "succeeds" if outcome.success else "fails"
    mine = next((row for row in rows if row.model == outcome.model), None)
    wrong = mine is not None and is_correct(mine.label, mine.clean_top1) is False
    now = "correct" if mine is not None and mine.top1 == mine.label else "still incorrect"
    return sentence(
        f"{described(outcome)}{aim} {verb} on {model(outcome.model)}: {before} → {after}",
        f"incorrect on the original, now {now}" if wrong else "",
    )


def noise(outcome: Outcome, rows: Sequence[Measurement]) -> str:
    """How often random changes of the same size do the same."""
    control = outcome.control
    if not outcome.l2:
        return sentence("the attack left the image unchanged, so noise is no comparison")
    draws = f"{control.successes} of {counted(control.draws, 'random change')} of the same size"
    if outcome.beats_noise:
        most = share(wilson(0, control.draws).high, 0)
        return sentence(f"{draws} succeed (95% interval up to {most})")
    news = outcome.success and control.successes
    return sentence(f"{draws} succeed", "the attack is no better than noise" if news else "")


def others(outcome: Outcome, rows: Sequence[Measurement]) -> str:
    """What the other models make of the attacked image."""
    rest = [row for row in rows if row.model != outcome.model]
    if not rest:
        told = "no other model was asked"
    elif len(rest) == 1:
        told = f"{model(rest[0].model)}: {tally(rest)}"
    else:
        told = f"the others: {tally(rest)}"
    doubt = "this is one image, and a stronger attack may succeed where this fails"
    return sentence(told, doubt, names=[row.model for row in rest])
