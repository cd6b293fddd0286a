"""Square: a random search over squares that asks the model for answers alone."""

from __future__ import annotations

import numpy as np

from robustness.attacks.attack_record import State, Task, moves
from robustness.perturbations import Images

FIRST_SHARE = 0.05
"""Share of the picture that the first squares cover: Andriushchenko et al. 2020, table 8."""

_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""After which shares of the steps that share is halved: their schedule for 10,000 steps."""


def _stripes(task: Task) -> Images:
    """Vertical stripes one pixel wide, each of one random colour at the largest change."""

    def draw(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
        return np.broadcast_to(_corners(stream, shape[1:]), shape)

    return task.around(draw)


def _corners(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
    return np.where(stream.random(shape) < 0.5, np.float32(-1), np.float32(1))


@moves(
    label="Square (black box)",
    norms=("linf",),
    white_box=False,
    targeted=True,
    random=True,
    steps=300,
    most_steps=10000,
    start=_stripes,
    formula="a square of random sign ± ε at a random place, kept if the lead grows",
    source="Andriushchenko et al., Square Attack, ECCV 2020",
)
def square(task: Task, state: State) -> Images:
    """The best images so far, each with one more square set to the largest change."""
    if "best" not in state.memory:
        state.memory["best"], state.memory["gain"] = state.images, state.gain
    better = state.gain > state.memory["gain"]
    state.memory["gain"] = np.where(better, state.gain, state.memory["gain"])
    state.memory["best"] = np.where(better[:, None, None, None], state.images, state.memory["best"])
    images = state.memory["best"].copy()
    side = _side(task, state.step)
    for row, stream in enumerate(task.streams):
        top, left = stream.integers(0, task.clean.shape[1] - side + 1, size=2)
        place = (row, slice(top, top + side), slice(left, left + side))
        change = task.sizes[row] * _corners(stream, (3,))
        images[place] = np.clip(task.clean[place] + change, 0, 1)
    return images


def _side(task: Task, step: int) -> int:
    halvings = sum(step / task.steps > share for share in _HALVINGS)
    share = FIRST_SHARE / 2**halvings
    return max(1, round(task.clean.shape[1] * share**0.5))
