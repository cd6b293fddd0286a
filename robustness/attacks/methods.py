"""Attacks that follow the gradient: FGSM, PGD, MI-FGSM, DeepFool, APGD and FAB.

Square: a random search over squares that uses predictions only.

Andriushchenko et al., ECCV 2020; section and table numbers are theirs.

AutoAttack: several attacks in turn, each on the images not yet broken.

Croce & Hein, ICML 2020; the versions and their settings are those of the authors' package.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np

from robustness.attacks.norms import column
from robustness.attacks.record import REGISTRY, Attack, Member, State, Task, moves
from robustness.models.engine import BEST_OTHER
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
    memory["last"] = images
    memory["last_gain"] = state.gain
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
    memory["halved"] = halved
    memory["checked"] = memory["best_gain"]
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
    windows = {}
    at = window
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
    images = state.images.copy()
    gain = state.gain.copy()
    gradient = state.gradient.copy()
    won = np.flatnonzero((state.scores.argmax(1) == task.classes) == task.targeted)
    if len(won):
        images[won] = task.clean[won] + np.float32(BACKWARD) * (images[won] - task.clean[won])
        part = task.rows(won)
        slope = task.classifier.gradients(images[won], part.classes, part.rivals)
        gain[won] = task.sign * slope.lead
        gradient[won] = task.sign * slope.gradient
    distance = ((task.clean - images) * gradient).sum((1, 2, 3), dtype=np.float64)
    here = task.norm.shortest(images, gradient, -gain)
    clean = task.norm.shortest(task.clean, gradient, -(gain + distance))
    near = task.norm.size(here)
    far = task.norm.size(clean)
    bias = column(np.minimum(near / np.maximum(near + far, 1e-16), MOST_BIAS))
    over = np.float32(FAB_OVERSHOOT)
    moved = (1 - bias) * (images + over * here) + bias * (task.clean + over * clean)
    return np.clip(moved, 0, 1)


FIRST_SHARE = 0.8
"""Share of the image covered by the first squares, as in AutoAttack. The 0.05 of the paper for
ImageNet (table 8) breaks fewer images in hundreds of queries: docs/attacks.md has the figures."""

_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the steps after which it is halved: the schedule of the paper for 10,000 steps."""

_TILES = 5
"""Bumps in a row or column of the first image in L2: section 3.4."""


def _start(task: Task) -> Images:
    """In L-infinity vertical stripes one pixel wide, each of one random colour at the largest
    change; in L2 a grid of bumps of random signs."""

    def stripes(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
        return np.broadcast_to(_signs(stream, shape[1:]), shape)

    def bumps(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
        side = max(1, shape[0] // _TILES)
        change = np.zeros(shape, np.float32)
        for top in range(0, shape[0] - side + 1, side):
            for left in range(0, shape[1] - side + 1, side):
                change[top : top + side, left : left + side] = _bump(stream, side)
        return change / np.linalg.norm(change)

    return task.around(stripes if task.norm.name == "linf" else bumps)


def _signs(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
    return np.where(stream.random(shape) < 0.5, np.float32(-1), np.float32(1))


@moves(
    label="Square (black box)",
    norms=("linf", "l2"),
    white_box=False,
    targeted=True,
    random=True,
    eager=True,
    steps=1000,
    most_steps=10000,
    rival=BEST_OTHER,
    start=_start,
    formula="a square at a random place, of random sign ± ε in L∞, in L2 a bump that takes the "
    "length of another square; kept if the lead of the best other class grows",
    source="Andriushchenko et al., Square Attack, ECCV 2020",
)
def square(task: Task, state: State) -> Images:
    """The best images so far, each with one more square."""
    if not state.memory:
        state.memory.update(best=state.images, gain=state.gain)
    better = state.gain > state.memory["gain"]
    state.memory["gain"] = np.where(better, state.gain, state.memory["gain"])
    state.memory["best"] = np.where(better[:, None, None, None], state.images, state.memory["best"])
    images = state.memory["best"].copy()
    halvings = sum(state.step / task.steps > share for share in _HALVINGS)
    side = max(1, round(task.clean.shape[1] * (FIRST_SHARE / 2**halvings) ** 0.5))
    change = _square if task.norm.name == "linf" else _moved_length
    for image, clean, size, stream in zip(
        images, task.clean, task.sizes, task.streams, strict=True
    ):
        change(image, clean, size, stream, side)
    return np.clip(images, 0, 1, out=images)


def _window(stream: np.random.Generator, whole: int, side: int) -> tuple[slice, slice]:
    top, left = stream.integers(0, whole - side + 1, size=2).tolist()
    return slice(top, top + side), slice(left, left + side)


def _square(
    image: Images, clean: Images, size: np.float32, stream: np.random.Generator, side: int
) -> None:
    """Set a square of ``image`` (S, S, 3) to one colour, at the largest change from ``clean``."""
    place = _window(stream, len(image), side)
    image[place] = clean[place] + size * _signs(stream, (3,))


def _moved_length(
    image: Images, clean: Images, size: np.float32, stream: np.random.Generator, side: int
) -> None:
    """Move the length of one square of the change to another, as a bump: algorithm 3."""
    side = min(max(side, 3) | 1, len(image))
    change = image - clean
    first, second = (_window(stream, len(image), side) for _ in range(2))
    new = _bump(stream, side) + _unit(change[first])
    both = np.zeros(change.shape[:2], bool)
    both[first] = both[second] = True
    lengths = np.square(change[both]).sum(0)
    spare = max(0.0, float(size**2 - np.square(change).sum()))
    change[second] = 0
    change[first] = _unit(new) * np.sqrt(lengths + np.float32(spare / 3))
    image[...] = clean + change * (size / np.linalg.norm(change))


def _unit(change: Images) -> Images:
    """``change`` (S, S, 3) with each channel scaled to length 1; zero channels stay."""
    return change / (np.sqrt(np.square(change).sum((0, 1))) + np.float32(1e-12))


def _bump(stream: np.random.Generator, side: int) -> Images:
    """A bump (S, S, 3) of random orientation, with a random sign in each channel."""
    bump = _plain_bump(side)
    if stream.random() < 0.5:
        bump = bump.T
    return bump[..., None] * _signs(stream, (3,))


@lru_cache(maxsize=64)
def _plain_bump(side: int) -> Images:
    """Two halves (S, S) of opposite signs, each highest in its middle; length 1: section 3.4."""
    upper = side // 2
    bump = np.concatenate([_hill(upper, side), -_hill(side - upper, side)])
    return bump / np.linalg.norm(bump)


def _hill(height: int, width: int) -> Images:
    """Nested rectangles that add 1 / (k + 1)², k = 0, 1, ... outwards; of length 1."""
    rings = max(height, width) // 2 + 1
    tails = np.cumsum(1 / np.arange(1, rings + 1)[::-1] ** 2)[::-1]
    rows = np.abs(np.arange(height) - height // 2)[:, None]
    columns = np.abs(np.arange(width) - width // 2)
    hill = tails[np.maximum(rows, columns)].astype(np.float32)
    return hill / max(np.linalg.norm(hill), np.float32(1e-12))


_SOURCE = (
    "Croce & Hein, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
    "Parameter-free Attacks, ICML 2020"
)


def no_move(task: Task, state: State) -> None:
    """The move of an ensemble: none, its members move."""


def _ensemble(name: str, label: str, steps: int, formula: str, *members: Member) -> None:
    REGISTRY.add(
        Attack(
            name=name,
            move=no_move,
            label=label,
            norms=("linf", "l2"),
            white_box=True,
            targeted=True,
            random=True,
            eager=True,
            steps=steps,
            most_steps=1000,
            formula=formula,
            source=_SOURCE,
            members=members,
        )
    )


_ensemble(
    "apgd",
    "APGD (CE, T)",
    20,
    "APGD-CE, then APGD-T on what is unbroken: the part of AutoAttack that breaks most",
    Member("apgd_ce"),
    Member("apgd_t"),
)
_ensemble(
    "autoattack",
    "AutoAttack",
    100,
    "APGD-CE, APGD-T, FAB-T, and Square with 50 queries for each step of these, in turns: each "
    "works on what is unbroken",
    Member("apgd_ce"),
    Member("apgd_t"),
    Member("fab_t"),
    Member("square", share=50),
)
_ensemble(
    "autoattack_rand",
    "AutoAttack (rand)",
    100,
    "APGD-CE, then APGD-DLR, each gradient the mean of 20 passes: for models with random "
    "predictions",
    Member("apgd_ce", passes=20),
    Member("apgd_dlr", passes=20),
)
