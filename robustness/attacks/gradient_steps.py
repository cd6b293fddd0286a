"""Attacks that climb the gradient in steps of a set size: FGSM, PGD, MI-FGSM."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from robustness.attacks.attack_record import State, Task, moves
from robustness.attacks.norms import column
from robustness.perturbations import Images

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
