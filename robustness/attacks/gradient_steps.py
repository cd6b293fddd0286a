"""Attacks that climb the gradient in steps of one size: FGSM, PGD, MI-FGSM."""

from __future__ import annotations

import numpy as np

from robustness.attacks.attack_record import REGISTRY, Attack, State, Task
from robustness.attacks.norms import column
from robustness.perturbations import Images

PGD_STEP = 2.5
"""All steps together, as a multiple of the allowed size: Madry et al. 2018, section B."""

MOMENTUM = 1.0
"""Share of the gathered direction that is kept each step: Dong et al. 2018, section 4.1."""


def _clean(task: Task) -> Images:
    return task.clean.copy()


def _anywhere(task: Task) -> Images:
    return task.around(task.norm.inside)


def _stepped(task: Task, state: State, direction: Images, reach: float) -> Images:
    """The images moved along ``direction``; all steps together go ``reach`` allowed sizes."""
    length = column(task.sizes * np.float32(reach / task.steps))
    return state.images + length * task.norm.steepest(direction)


def _fgsm(task: Task, state: State) -> Images:
    return _stepped(task, state, state.gradient, 1)


def _pgd(task: Task, state: State) -> Images:
    return _stepped(task, state, state.gradient, PGD_STEP)


def _momentum(task: Task, state: State) -> Images:
    total = np.maximum(np.abs(state.gradient).mean((1, 2, 3), keepdims=True), np.float32(1e-20))
    gathered = MOMENTUM * state.memory.get("gathered", np.float32(0)) + state.gradient / total
    state.memory["gathered"] = gathered
    return _stepped(task, state, gathered, 1)


REGISTRY.add(
    Attack(
        name="pgd",
        label="PGD",
        norms=("linf", "l2"),
        white_box=True,
        targeted=True,
        random=True,
        steps=20,
        most_steps=500,
        start=_anywhere,
        move=_pgd,
        formula="x ← project(x + 2.5 ε / steps · steepest(∇ lead)), from a random start",
        source="Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, "
        "ICLR 2018",
    )
)
REGISTRY.add(
    Attack(
        name="fgsm",
        label="FGSM",
        norms=("linf", "l2"),
        white_box=True,
        targeted=True,
        random=False,
        steps=1,
        most_steps=1,
        start=_clean,
        move=_fgsm,
        formula="x + ε · steepest(∇ lead), one step",
        source="Goodfellow, Shlens & Szegedy, Explaining and Harnessing Adversarial Examples, "
        "ICLR 2015",
    )
)
REGISTRY.add(
    Attack(
        name="mifgsm",
        label="MI-FGSM",
        norms=("linf", "l2"),
        white_box=True,
        targeted=True,
        random=False,
        steps=10,
        most_steps=500,
        start=_clean,
        move=_momentum,
        formula="g ← g + ∇ lead / mean |∇ lead|; x ← project(x + ε / steps · steepest(g))",
        source="Dong et al., Boosting Adversarial Attacks with Momentum, CVPR 2018",
    )
)
