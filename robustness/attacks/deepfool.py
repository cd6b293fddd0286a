"""DeepFool: the shortest step over the nearest linearised boundary between classes."""

from __future__ import annotations

import numpy as np

from robustness.attacks.attack_record import State, Task, moves
from robustness.attacks.norms import column
from robustness.perturbations import Images

RIVALS = 9
"""Number of the most probable other classes considered: ten in the paper with the first one."""

OVERSHOOT = 0.02
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
        state.memory["rivals"] = np.array(others, np.int32)[:, :RIVALS]
        state.memory["way"] = np.zeros_like(task.clean)
    for row in unbroken.tolist():
        state.memory["way"][row] += _step(task, state, row)
    return np.clip(task.clean + np.float32(1 + OVERSHOOT) * state.memory["way"], 0, 1)


def _step(task: Task, state: State, row: int) -> Images:
    rivals = state.memory["rivals"][row]
    slope = task.classifier.gradients(
        np.repeat(state.images[row : row + 1], len(rivals), axis=0),
        np.full(len(rivals), task.classes[row], np.int32),
        rivals,
    )
    gains = task.norm.dual(slope.gradient) + np.float32(1e-8)
    distances = np.abs(slope.lead) / gains
    nearest = int(distances.argmin())
    gradient = slope.gradient[nearest : nearest + 1]
    distance = distances[nearest : nearest + 1] + np.float32(_BEYOND)
    return (column(distance) * task.norm.steepest(gradient))[0]
