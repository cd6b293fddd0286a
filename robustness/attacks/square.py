"""Square: a random search over squares that uses predictions only.

Andriushchenko et al., ECCV 2020; section and table numbers are theirs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from robustness.attacks.attack_and_settings import State, Task, moves
from robustness.models.run.network_and_gradients import BEST_OTHER
from robustness.perturbations import Images

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
