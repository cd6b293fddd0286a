"""The one loop that all attacks run in."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.attacks.attack_record import Attack, Classes, State, Task
from robustness.perturbations import Images


@dataclass(frozen=True)
class Step:
    """Where an attack is: ``done`` of ``total`` steps over all restarts.

    ``gain`` is the signed lead of the images just looked at, averaged over the rows: positive
    where the other classes, or the target, have more than half of the probability.
    ``succeeded`` counts the rows that have succeeded at any step so far.
    """

    done: int
    total: int
    gain: float
    succeeded: int


def leads(probabilities: NDArray[np.float32], classes: Classes) -> NDArray[np.float32]:
    """How far all other classes together lead over ``classes``, in natural-log units, (N,)."""
    rows = np.arange(len(probabilities))
    others = probabilities.astype(np.float64)
    own = others[rows, classes]
    others[rows, classes] = 0
    tiny = np.finfo(np.float64).tiny
    return (np.log(others.sum(1) + tiny) - np.log(own + tiny)).astype(np.float32)


class _Best:
    """The best images of each row so far: successful first, then the most decided.

    Of a minimal attack's successful ones the smallest change is the best.
    """

    def __init__(self, task: Task, minimal: bool) -> None:
        self._task, self._minimal = task, minimal
        self.images = task.clean.copy()
        self.success = np.zeros(len(task.clean), bool)
        self._merit = np.full(len(task.clean), -np.inf, np.float32)

    def note(self, state: State) -> None:
        success = (state.scores.argmax(1) == self._task.classes) == self._task.targeted
        merit = state.gain
        if self._minimal:
            size = self._task.norm.size(state.images - self._task.clean)
            merit = np.where(success, -size, merit)
        better = (success & ~self.success) | ((success == self.success) & (merit > self._merit))
        self.images[better] = state.images[better]
        self.success[better] = success[better]
        self._merit[better] = merit[better]


def search(
    attack: Attack, task: Task, restarts: int = 1, *, until_success: bool = False
) -> Generator[Step, None, Images]:
    """Runs ``attack`` on the rows of ``task``; yields after every step, returns the best images.

    They are in [0, 1], and no larger a change than the task allows. Closing the generator stops
    the work within one step. With ``until_success`` it ends once every row has succeeded; a
    minimal attack always does. Raises ``GradientError`` for a model that the attack cannot use.
    """
    best = _Best(task, attack.minimal)
    done, total = 0, restarts * task.steps
    enough = until_success or attack.minimal
    for _ in range(restarts):
        images, memory = attack.start(task), dict[str, Any]()
        for step in range(task.steps):
            state = _seen(task, images, step, memory, with_gradient=attack.white_box)
            if step or attack.random or attack.minimal:  # others start at the clean picture itself
                best.note(state)
            if enough and best.success.all():
                return task.within(best.images)
            images = attack.move(task, state)
            if not attack.minimal:
                images = task.within(images)
            done += 1
            yield Step(done, total, float(state.gain.mean()), int(best.success.sum()))
        best.note(_seen(task, images, task.steps, memory, with_gradient=False))
    return task.within(best.images)


def _seen(
    task: Task, images: Images, step: int, memory: dict[str, Any], *, with_gradient: bool
) -> State:
    if with_gradient:
        slope = task.classifier.gradients(images, task.classes)
        return State(
            images, step, task.sign * slope.lead, slope.scores, task.sign * slope.gradient, memory
        )
    scores = task.classifier(images).probabilities
    gain = task.sign * leads(scores, task.classes)
    return State(images, step, gain, scores, np.zeros_like(images), memory)
