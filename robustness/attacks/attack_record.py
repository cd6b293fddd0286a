"""What is known about an attack, and the registry of all of them.

Images are study images: float32 RGB in [0, 1], (N, S, S, 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustness.attacks.norms import Norm, Sizes
from robustness.base.registry import Registry
from robustness.models.in_tensorflow.gradients import ALL_OTHERS
from robustness.perturbations import Images

if TYPE_CHECKING:
    from robustness.models import Classifier

Classes = NDArray[np.int32]


@dataclass(frozen=True)
class Task:
    """What is asked of an attack about N rows, and what its hooks may use.

    ``classes`` are the classes to leave, or to reach when ``targeted``; ``rivals`` those that are
    to lead over them, as ``models.gradients`` takes them. ``sizes`` are the largest changes
    allowed, in ``norm``. Each row has its own random stream. A gradient is averaged over
    ``passes`` of the model, which helps where its answers are random.
    """

    classifier: Classifier
    clean: Images
    classes: Classes
    rivals: Classes
    targeted: bool
    norm: Norm
    sizes: Sizes
    steps: int
    streams: Sequence[np.random.Generator]
    passes: int = 1

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

    def rows(self, places: NDArray[np.intp]) -> Task:
        """The task of the rows at ``places`` (M,) alone."""
        return replace(
            self,
            clean=self.clean[places],
            classes=self.classes[places],
            rivals=self.rivals[places],
            sizes=self.sizes[places],
            streams=[self.streams[place] for place in places],
        )

    def aimed(self, count: int) -> Task:
        """Each row ``count`` times, one for each of its most probable other classes, as rivals.

        There are fewer where the model has no more classes. The streams are new ones.
        """
        scores = self.classifier(self.clean).probabilities.copy()
        scores[np.arange(len(scores)), self.classes] = -1
        rivals = np.argsort(-scores, axis=1, kind="stable")[:, : min(count, scores.shape[1] - 1)]
        repeated = self.rows(np.repeat(np.arange(len(rivals)), rivals.shape[1]))
        return replace(
            repeated,
            rivals=rivals.reshape(-1).astype(np.int32),
            streams=[new for old in self.streams for new in old.spawn(rivals.shape[1])],
        )


@dataclass
class State:
    """Where the loop stands, as a hook sees it.

    ``images`` are the rows just looked at. ``gain`` (N,) is how far the attack has come there:
    the signed lead, scaled if the attack's is. ``scores`` (N, classes) are the model's, in any
    increasing unit. ``gradient`` is that of the gain; zero for a black-box attack. ``memory`` is
    the hook's own: arrays of a row each, emptied at each restart.
    """

    images: Images
    step: int
    gain: Sizes
    scores: NDArray[np.floating[Any]]
    gradient: Images
    memory: dict[str, NDArray[Any]]

    def rows(self, places: NDArray[np.intp]) -> State:
        """What the hook sees of the rows at ``places`` alone."""
        kept: dict[str, Any] = {
            name: value[places]
            for name in ("images", "gain", "scores", "gradient")
            for value in (getattr(self, name),)
        }
        memory = {name: values[places] for name, values in self.memory.items()}
        return replace(self, **kept, memory=memory)


def at_clean(task: Task) -> Images:
    """The images that an attack without a start of its own begins at."""
    return task.clean.copy()


@dataclass(frozen=True)
class Member:
    """An attack of an ensemble: its name, and ``share``, its steps for one of the ensemble's.

    Each of its gradients is averaged over ``passes`` of the model.
    """

    name: str
    share: int = 1
    passes: int = 1


@dataclass(frozen=True)
class Attack:
    """An attack and everything that tables, controls and reports say about it.

    ``start(task)`` gives the first images and ``move(task, state)`` the next ones, or None where
    it is through; the loop brings them back into the allowed size. ``norms`` are names of
    ``norms.REGISTRY``, the default first. ``white_box`` attacks use gradients, others only
    answers. ``targeted`` says whether the attack can aim at a class. ``random`` ones gain by
    restarts. A ``minimal`` attack looks for the smallest change, heedless of the allowed size
    until its end. ``steps`` is the default.

    What is raised is the lead of ``rival``, ``scaled`` or not as ``models.gradients`` has it. With
    ``rivals`` the attack is run for that many of the most probable other classes, side by side,
    unless it has a target; the best run counts. An ``eager`` attack asks only whether there is a
    success, and ends with the first; others go on to the most decided one. An ensemble makes no
    moves of its own: its ``members`` take turns at what is still unbroken.
    """

    name: str
    move: Callable[[Task, State], Images | None]
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
    rival: int = ALL_OTHERS
    scaled: bool = False
    rivals: int = 0
    eager: bool = False
    members: tuple[Member, ...] = ()

    @property
    def turns(self) -> tuple[Member, ...]:
        """The members of an ensemble, or the attack itself."""
        return self.members or (Member(self.name),)

    def total_steps(self, steps: int, restarts: int) -> int:
        """How many steps the loop takes at most; only ``random`` members are restarted."""
        return sum(
            steps * turn.share * (restarts if REGISTRY[turn.name].random else 1)
            for turn in self.turns
        )


REGISTRY: Registry[Attack] = Registry("attack")
moves = REGISTRY.decorator(Attack)
"""Registers the hook ``move`` below it as an attack of its name; keywords give the other fields."""
