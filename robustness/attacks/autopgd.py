"""APGD: PGD with an adaptive step size, on the cross-entropy or the ratio of logits.

Croce & Hein, ICML 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks"; equation and section numbers are theirs, as are all constants.
"""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np

from robustness.attacks.attack_record import State, Task, moves
from robustness.attacks.gradient_steps import anywhere
from robustness.attacks.norms import column
from robustness.models.in_tensorflow.gradients import BEST_OTHER
from robustness.perturbations import Images

FIRST_STEP = 2
"""First step size, in allowed sizes: section 3."""

MOMENTUM = 0.25
"""Momentum, the share of the last move that is repeated: 1 - alpha of section 3.1."""

RISING = 0.75
"""A step size is kept while more than this share of the moves raise the loss: rho, section 3.2."""

RIVALS = 9
"""Number of target classes of the targeted attack: section 4."""

_apgd = partial(
    moves,
    norms=("linf", "l2"),
    white_box=True,
    targeted=True,
    random=True,
    eager=True,
    steps=100,
    most_steps=1000,
    start=anywhere,
    source="Croce & Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of "
    "Diverse Parameter-free Attacks, ICML 2020",
)
_FORMULA = (
    "x ← project(x + 0.75 (z - x) + 0.25 (x - last x)), z = project(x + η · steepest(∇ {loss})), "
    "η from 2 ε, halved at checkpoints where the loss no longer rises"
)


@_apgd(label="APGD-CE", formula=_FORMULA.format(loss="lead"))
def apgd_ce(task: Task, state: State) -> Images:
    """A step up the gradient of the log-odds, which has the direction of the cross-entropy."""
    return _step(task, state)


@_apgd(
    label="APGD-DLR",
    formula=_FORMULA.format(loss="DLR") + "; DLR = (best other logit - own) / (1st - 3rd)",
    rival=BEST_OTHER,
    scaled=True,
)
def apgd_dlr(task: Task, state: State) -> Images:
    """A step up the gradient of the difference of logits ratio."""
    return _step(task, state)


@_apgd(
    label="APGD-T",
    formula=_FORMULA.format(loss="DLR") + "; for each of nine other classes, DLR = "
    "(its logit - own) / (1st - mean of 3rd and 4th)",
    rival=BEST_OTHER,
    scaled=True,
    rivals=RIVALS,
)
def apgd_t(task: Task, state: State) -> Images:
    """A step up the gradient of the ratio towards each of nine classes."""
    return _step(task, state)


def _step(task: Task, state: State) -> Images:
    """A step up the gradient, plus a quarter of the last move."""
    memory = state.memory
    if not memory:
        memory.update(
            size=FIRST_STEP * task.sizes,
            rises=np.zeros(len(task.sizes), np.int64),
            halved=np.ones(len(task.sizes), bool),
            last=state.images,
            last_gain=state.gain,
            checked=state.gain,
            best=state.images,
            best_gain=state.gain,
            best_gradient=state.gradient,
        )
    images, gradient = _watched(task, state)
    ahead = task.within(images + column(memory["size"]) * task.norm.steepest(gradient))
    again = np.float32(MOMENTUM if state.step else 0)
    moved = images + (1 - again) * (ahead - images) + again * (images - memory["last"])
    memory["last"], memory["last_gain"] = images, state.gain
    return moved


def _watched(task: Task, state: State) -> tuple[Images, Images]:
    """The images to step from, and their gradients.

    At a checkpoint, rows whose loss no longer rises return to their best images with half the step
    size (conditions 1 and 2 of section 3.2).
    """
    memory = state.memory
    memory["rises"] = memory["rises"] + (state.gain > memory["last_gain"])
    better = state.gain > memory["best_gain"]
    for name, value in (("best", state.images), ("best_gradient", state.gradient)):
        memory[name] = np.where(better[:, None, None, None], value, memory[name])
    memory["best_gain"] = np.where(better, state.gain, memory["best_gain"])
    window = _windows(task.steps).get(state.step)
    if window is None:
        return state.images, state.gradient
    stuck = ~memory["halved"] & (memory["checked"] >= memory["best_gain"])
    halved = (memory["rises"] <= RISING * window) | stuck
    memory["size"] = np.where(halved, memory["size"] / 2, memory["size"])
    memory["halved"], memory["checked"] = halved, memory["best_gain"]
    memory["rises"] = np.zeros_like(memory["rises"])
    back = halved[:, None, None, None]
    return (
        np.where(back, memory["best"], state.images),
        np.where(back, memory["best_gradient"], state.gradient),
    )


@lru_cache(maxsize=64)
def _windows(steps: int) -> dict[int, int]:
    """The checkpoints among ``steps``, and the length of the window before each: section 3.2.

    The first is after 22% of all moves; each further window is 3% shorter, down to 6%.
    """
    window, shorter, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    found, at = {}, window
    while at < steps:
        found[at] = window
        window = max(window - shorter, least)
        at += window
    return found
