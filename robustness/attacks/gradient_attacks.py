"""Attacks that follow the gradient: FGSM, PGD, MI-FGSM, DeepFool, APGD and FAB."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np

from robustness.attacks.attack_and_settings import State, Task, moves
from robustness.attacks.norms import column
from robustness.models.run.network_and_gradients import BEST_OTHER
from robustness.perturbations import Images

# Attacks that climb the gradient in steps of a set size: FGSM, PGD, MI-FGSM.

MOMENTUM = 1.0
"""Momentum: the share of the direction kept at each step (Dong et al. 2018, section 4.1)."""

_gradient_attack = partial(moves, norms=("linf", "l2"), white_box=True, targeted=True)


def anywhere(task: Task) -> Images:
    """A random start: the originals with a random change within the allowed size."""
    return task.around(task.norm.inside)


def _stepped(task: Task, state: State, direction: Images, share: float) -> Images:
    """The images moved along ``direction`` by ``share`` of the allowed size."""
    length = column(task.sizes * np.float32(share))
    return state.images + length * task.norm.steepest(direction)


@_gradient_attack(
    label="PGD",
    random=True,
    steps=20,
    most_steps=500,
    start=anywhere,
    formula="x ← project(x + ε (1 + cos(π i / steps)) · steepest(∇ lead)), i = 0, 1, ..., from "
    "a random start",
    source="Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018",
)
def pgd(task: Task, state: State) -> Images:
    """A step up the gradient, of decreasing length.

    With the same number of steps it succeeds more often than steps of 2.5 ε / steps (Madry et al.
    2018, section B): docs/attacks.md has the figures.
    """
    return _stepped(task, state, state.gradient, 1 + math.cos(math.pi * state.step / task.steps))


@_gradient_attack(
    label="FGSM",
    steps=1,
    most_steps=1,
    formula="x + ε · steepest(∇ lead), one step",
    source="Goodfellow, Shlens & Szegedy, Explaining and Harnessing Adversarial Examples, "
    "ICLR 2015",
)
def fgsm(task: Task, state: State) -> Images:
    """One step of the full size up the gradient."""
    return _stepped(task, state, state.gradient, 1)


@_gradient_attack(
    label="MI-FGSM",
    steps=10,
    most_steps=500,
    formula="g ← g + ∇ lead / mean |∇ lead|; x ← project(x + ε / steps · steepest(g))",
    source="Dong et al., Boosting Adversarial Attacks with Momentum, CVPR 2018",
)
def mifgsm(task: Task, state: State) -> Images:
    """A step along the accumulated gradient."""
    total = np.maximum(np.abs(state.gradient).mean((1, 2, 3), keepdims=True), np.float32(1e-20))
    gathered = MOMENTUM * state.memory.get("gathered", np.float32(0)) + state.gradient / total
    state.memory["gathered"] = gathered
    return _stepped(task, state, gathered, 1 / task.steps)


# DeepFool: the shortest step over the nearest linearised boundary between classes.

DEEPFOOL_RIVALS = 9
"""Number of the most probable other classes considered: ten in the paper with the first one."""

DEEPFOOL_OVERSHOOT = 0.02
"""Overshoot beyond the boundary, as a share: the paper's eta."""

_BEYOND = 1e-4
"""Added to each distance, so that steps do not stop on the boundary."""


@moves(
    label="DeepFool",
    norms=("l2", "linf"),
    white_box=True,
    targeted=False,
    steps=50,
    most_steps=200,
    formula="to the nearest of nine linearised boundaries, overshot by 2%, until it is "
    "crossed; then projected to ε",
    source="Moosavi-Dezfooli, Fawzi & Frossard, DeepFool, CVPR 2016",
    minimal=True,
)
def deepfool(task: Task, state: State) -> Images | None:
    """The originals with all steps so far and the next one, with overshoot."""
    unbroken = np.flatnonzero(state.scores.argmax(1) == task.classes)
    if not len(unbroken):
        return None
    if "rivals" not in state.memory:
        order = np.argsort(-state.scores, axis=1, kind="stable")
        others = [
            [k for k in row if k != own] for row, own in zip(order, task.classes, strict=True)
        ]
        state.memory["rivals"] = np.array(others, np.int32)[:, :DEEPFOOL_RIVALS]
        state.memory["way"] = np.zeros_like(task.clean)
    for row in unbroken.tolist():
        rivals = state.memory["rivals"][row]
        slope = task.classifier.gradients(
            np.repeat(state.images[row : row + 1], len(rivals), axis=0),
            np.full(len(rivals), task.classes[row], np.int32),
            rivals,
        )
        gains = task.norm.dual(slope.gradient) + np.float32(1e-8)
        distances = np.abs(slope.lead) / gains
        nearest = slice(int(distances.argmin()), int(distances.argmin()) + 1)
        distance = distances[nearest] + np.float32(_BEYOND)
        state.memory["way"][row] += (
            column(distance) * task.norm.steepest(slope.gradient[nearest])
        )[0]
    return np.clip(task.clean + np.float32(1 + DEEPFOOL_OVERSHOOT) * state.memory["way"], 0, 1)


# APGD: PGD with an adaptive step size, on the cross-entropy or the ratio of logits.
#
# Croce & Hein, ICML 2020, "Reliable evaluation of adversarial robustness with an ensemble of
# diverse parameter-free attacks"; equation and section numbers are theirs, as are all constants.

FIRST_STEP = 2
"""First step size, in allowed sizes: section 3."""

APGD_MOMENTUM = 0.25
"""Momentum, the share of the last move that is repeated: 1 - alpha of section 3.1."""

RISING = 0.75
"""A step size is kept while more than this share of the moves raise the loss: rho, section 3.2."""

APGD_RIVALS = 9
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
    return _apgd_step(task, state)


@_apgd(
    label="APGD-DLR",
    formula=_FORMULA.format(loss="DLR") + "; DLR = (best other logit - own) / (1st - 3rd)",
    rival=BEST_OTHER,
    scaled=True,
)
def apgd_dlr(task: Task, state: State) -> Images:
    """A step up the gradient of the difference of logits ratio."""
    return _apgd_step(task, state)


@_apgd(
    label="APGD-T",
    formula=_FORMULA.format(loss="DLR") + "; for each of nine other classes, DLR = "
    "(its logit - own) / (1st - mean of 3rd and 4th)",
    rival=BEST_OTHER,
    scaled=True,
    rivals=APGD_RIVALS,
)
def apgd_t(task: Task, state: State) -> Images:
    """A step up the gradient of the ratio towards each of nine classes."""
    return _apgd_step(task, state)


def _apgd_step(task: Task, state: State) -> Images:
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
    momentum = np.float32(APGD_MOMENTUM if state.step else 0)
    moved = images + (1 - momentum) * (ahead - images) + momentum * (images - memory["last"])
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
    windows, at = {}, window
    while at < steps:
        windows[at] = window
        window = max(window - shorter, least)
        at += window
    return windows


# FAB: moves along the boundary between two classes to its point nearest to the image.
#
# Croce & Hein, ICML 2020, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
# Attack", whose constants these are, in the targeted version of AutoAttack.

MOST_BIAS = 0.1
"""The largest weight of the step from the original to the boundary: alpha_max."""

FAB_OVERSHOOT = 1.05
"""Step length, as a share of the distance to the boundary: eta."""

BACKWARD = 0.9
"""Share of a successful change that is kept before the next step: beta."""


@moves(
    label="FAB-T",
    norms=("linf", "l2"),
    white_box=True,
    targeted=True,
    minimal=True,
    eager=True,
    steps=100,
    most_steps=1000,
    rival=BEST_OTHER,
    rivals=DEEPFOOL_RIVALS,
    formula="for each of nine other classes, x ← (1 - a) (x + 1.05 d) + a (x₀ + 1.05 d'), x₀ the "
    "original, d and "
    "d' the smallest changes of both onto the linearised boundary within [0, 1], a = "
    "min(|d| / (|d| + |d'|), 0.1); after a success 0.9 of the change",
    source="Croce & Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary "
    "Attack, ICML 2020",
)
def fab_t(task: Task, state: State) -> Images:
    """The images projected onto the linearised boundary, with a bias to the originals."""
    images, gain, gradient = state.images.copy(), state.gain.copy(), state.gradient.copy()
    won = np.flatnonzero((state.scores.argmax(1) == task.classes) == task.targeted)
    if len(won):
        images[won] = task.clean[won] + np.float32(BACKWARD) * (images[won] - task.clean[won])
        part = task.rows(won)
        slope = task.classifier.gradients(images[won], part.classes, part.rivals)
        gain[won], gradient[won] = task.sign * slope.lead, task.sign * slope.gradient
    distance = ((task.clean - images) * gradient).sum((1, 2, 3), dtype=np.float64)
    here = task.norm.shortest(images, gradient, -gain)
    clean = task.norm.shortest(task.clean, gradient, -(gain + distance))
    near, far = task.norm.size(here), task.norm.size(clean)
    bias = column(np.minimum(near / np.maximum(near + far, 1e-16), MOST_BIAS))
    over = np.float32(FAB_OVERSHOOT)
    moved = (1 - bias) * (images + over * here) + bias * (task.clean + over * clean)
    return np.clip(moved, 0, 1)
