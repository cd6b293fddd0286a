"""What is known about an attack, and the registry of all of them.

Images are study images: float32 RGB in [0, 1], (N, S, S, 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustness.attacks.norms import Norm, Sizes
from robustness.base.registry import Registry
from robustness.perturbations import Images

if TYPE_CHECKING:
    from robustness.models import Classifier

Classes = NDArray[np.int32]


@dataclass(frozen=True)
class Task:
    """What is asked of an attack about N rows, and what its hooks may use.

    ``classes`` are the classes to leave, or to reach when ``targeted``. ``sizes`` are the largest
    changes allowed, in ``norm``. Each row has its own random stream.
    """

    classifier: Classifier
    clean: Images
    classes: Classes
    targeted: bool
    norm: Norm
    sizes: Sizes
    steps: int
    streams: Sequence[np.random.Generator]

    @property
    def sign(self) -> np.float32:
        """What a lead over ``classes`` is multiplied by, so that the attack always raises it."""
        return np.float32(-1 if self.targeted else 1)

    def within(self, images: Images) -> Images:
        """``images`` moved to the nearest ones that are no larger a change, clipped to [0, 1]."""
        changes = self.norm.project(images - self.clean, self.sizes)
        changes += self.clean
        return np.clip(changes, 0, 1, out=changes)

    def around(self, draw: Callable[..., Images]) -> Images:
        """The clean images, each with a change that ``draw`` makes of its stream, full size."""
        drawn = [draw(stream, self.clean.shape[1:]) for stream in self.streams]
        changes = np.stack(drawn) * self.sizes[:, None, None, None]
        return np.clip(self.clean + changes, 0, 1)


@dataclass
class State:
    """Where the loop stands, as a hook sees it.

    ``images`` are the rows just looked at. ``gain`` (N,) is how far the attack has come there:
    the signed lead. ``scores`` (N, classes) are the model's, in any increasing unit. ``gradient``
    is that of the gain; zero for a black-box attack. ``memory`` is the hook's own, emptied at each
    restart.
    """

    images: Images
    step: int
    gain: Sizes
    scores: NDArray[np.float32]
    gradient: Images
    memory: dict[str, Any]


def at_clean(task: Task) -> Images:
    """The images that an attack without a start of its own begins at."""
    return task.clean.copy()


@dataclass(frozen=True)
class Attack:
    """An attack and everything that tables, controls and reports say about it.

    ``start(task)`` gives the first images and ``move(task, state)`` the next ones; the loop
    brings them back into the allowed size. ``norms`` are names of ``norms.REGISTRY``, the default
    first. ``white_box`` attacks use gradients, others only answers. ``targeted`` says whether the
    attack can aim at a class. ``random`` ones gain by restarts. A ``minimal`` attack looks for
    the smallest change, heedless of the allowed size until its end. ``steps`` is the default.
    """

    name: str
    move: Callable[[Task, State], Images]
    label: str
    norms: tuple[str, ...]
    white_box: bool
    targeted: bool
    steps: int
    most_steps: int
    formula: str
    source: str
    start: Callable[[Task], Images] = at_clean
    random: bool = False
    minimal: bool = False


REGISTRY: Registry[Attack] = Registry("attack")
moves = REGISTRY.decorator(Attack)
"""Registers the hook ``move`` below it as an attack of its name; keywords give the other fields."""
