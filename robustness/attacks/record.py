"""The record of an attack, the registry of attacks, and an attack with its checked settings.

Images are study images: float32 RGB in [0, 1], (N, S, S, 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustness.attacks import norms
from robustness.attacks.norms import Norm, Sizes
from robustness.base.errors import ParameterError
from robustness.base.registry import Registry
from robustness.base.validation import read_only
from robustness.images.pixels import LEVELS
from robustness.models.engine import ALL_OTHERS
from robustness.perturbations import Images, check_seed
from robustness.perturbations.record import REFERENCE_SIDE

if TYPE_CHECKING:
    from robustness.models import Classifier

Classes = NDArray[np.int32]


@dataclass(frozen=True)
class Task:
    """The request to an attack for N rows, with what its hooks may use.

    ``classes`` are the classes to leave, or to reach when ``targeted``; ``rivals`` are those that
    should lead over them, in the form of ``models.gradients``. ``sizes`` are the largest changes
    allowed, in ``norm``. Each row has its own random stream. A gradient is the mean over
    ``passes`` of the model, for models with random predictions.
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
        """The factor of a lead over ``classes``, so that the attack always raises it."""
        return np.float32(-1 if self.targeted else 1)

    def within(self, images: Images) -> Images:
        """The nearest images to ``images`` within the allowed sizes and [0, 1]."""
        changes = self.norm.project(images - self.clean, self.sizes)
        changes += self.clean
        return np.clip(changes, 0, 1, out=changes)

    def around(self, draw: Callable[..., Images]) -> Images:
        """The originals, each with a change of full size that ``draw`` takes from its stream."""
        drawn = [draw(stream, self.clean.shape[1:]) for stream in self.streams]
        changes = np.stack(drawn) * self.sizes[:, None, None, None]
        return np.clip(self.clean + changes, 0, 1)

    def rows(self, places: NDArray[np.intp]) -> Task:
        """The task of the rows at ``places`` (M,) only."""
        return replace(
            self,
            clean=read_only(self.clean[places]),
            classes=self.classes[places],
            rivals=self.rivals[places],
            sizes=self.sizes[places],
            streams=[self.streams[place] for place in places],
        )

    def aimed(self, count: int) -> Task:
        """Each row ``count`` times, once per most probable other class as the rival.

        There are fewer if the model has fewer classes. The streams are new.
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
    """The state of the loop for a hook.

    ``images`` are the rows just evaluated. ``gain`` (N,) is their signed lead, scaled if the
    attack's is. ``scores`` (N, classes) are the model's, in any increasing unit. ``gradient`` is
    that of the gain; zero for a black-box attack. ``memory`` belongs to the hook: arrays with one
    row each, emptied at each restart.
    """

    images: Images
    step: int
    gain: Sizes
    scores: NDArray[np.floating[Any]]
    gradient: Images
    memory: dict[str, NDArray[Any]]

    def rows(self, places: NDArray[np.intp]) -> State:
        """The state of the rows at ``places`` only."""
        return State(
            self.images[places],
            self.step,
            self.gain[places],
            self.scores[places],
            self.gradient[places],
            {name: values[places] for name, values in self.memory.items()},
        )


def at_clean(task: Task) -> Images:
    """The default start of an attack: the originals."""
    return task.clean.copy()


@dataclass(frozen=True)
class Member:
    """A member of an ensemble: its name, and ``share``, its steps per step of the ensemble.

    Each gradient is the mean over ``passes`` of the model.
    """

    name: str
    share: int = 1
    passes: int = 1


@dataclass(frozen=True)
class Attack:
    """An attack with its data for tables, controls and reports.

    ``start(task)`` returns the first images and ``move(task, state)`` the next ones, or None at
    the end; the loop projects them into the allowed size. ``norms`` are names of
    ``norms.REGISTRY``, the default first. ``white_box`` attacks use gradients, others only
    predictions. A ``targeted`` attack can aim at a class. Restarts help ``random`` attacks. A
    ``minimal`` attack looks for the smallest change and ignores the allowed size until its end.
    ``steps`` is the default.

    The attack raises the lead of ``rival``, ``scaled`` or not as in ``models.gradients``. With
    ``rivals`` it runs for that many of the most probable other classes in parallel, unless it has
    a target; the best run counts. An ``eager`` attack ends with the first success; others continue
    to the largest lead. An ensemble makes no moves: its ``members`` work in turn on the rows that
    are not yet broken.
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
        """The largest number of steps of the loop; only ``random`` members are restarted."""
        return sum(
            steps * turn.share * (restarts if REGISTRY[turn.name].random else 1)
            for turn in self.turns
        )


REGISTRY: Registry[Attack] = Registry("attack")
moves = REGISTRY.decorator(Attack)
"""A decorator that registers the hook ``move`` as an attack; keywords give the other fields."""


MAX_RESTARTS = 100


def parse_epsilon(text: str) -> float:
    """The number in ``text``, such as "8/255" or "0.03". Raises ``ParameterError`` otherwise."""
    parts = text.split("/")
    try:
        values = [float(part) for part in parts]
        if len(values) > 2:
            raise ValueError
        value = values[0] / values[1] if len(values) == 2 else values[0]
        if not math.isfinite(value):
            raise ValueError
        return value
    except (ValueError, ZeroDivisionError):
        raise ParameterError(
            f"Expected an epsilon as a number or a fraction such as 8/255, got {text!r}."
        ) from None


@dataclass(frozen=True)
class AttackSpec:
    """An attack with its settings, made by ``AttackSpec.of``.

    ``epsilon`` is the largest change allowed, in ``norm``, of images of 224 pixels in [0, 1]: see
    ``at_side``. ``target``
    is the class to reach; None for any other class.
    """

    name: str
    norm: str
    epsilon: float
    steps: int
    restarts: int = 1
    seed: int = 0
    target: int | None = None

    @classmethod
    def of(
        cls,
        name: str,
        *,
        epsilon: float | None = None,
        norm: str | None = None,
        steps: int | None = None,
        restarts: int = 1,
        seed: int = 0,
        target: int | None = None,
    ) -> AttackSpec:
        """Defaults are those of the attack's record, and of epsilon those of the norm's.

        Raises ``UnknownNameError`` for an attack or norm that does not exist, and
        ``ParameterError`` for a setting out of range or one that this attack does not have.
        """
        record = REGISTRY[name]
        chosen = norms.REGISTRY[norm or record.norms[0]]
        if chosen.name not in record.norms:
            raise ParameterError(
                f"{record.label} is bounded in {' or '.join(record.norms)}, got {chosen.name}."
            )
        size = float(chosen.epsilon if epsilon is None else epsilon)
        if not 0 <= size <= chosen.most:  # also refuses NaN
            raise ParameterError(
                f"Expected an epsilon in {chosen.label} between 0 and {chosen.most:g}, got "
                f"{size:g}; the usual one is {Fraction(chosen.epsilon).limit_denominator(LEVELS)}."
            )
        count = record.steps if steps is None else steps
        if not 1 <= count <= record.most_steps:
            expected = "1 step" if record.most_steps == 1 else f"1 to {record.most_steps} steps"
            raise ParameterError(f"{record.label} takes {expected}, got {count}.")
        if not 1 <= restarts <= MAX_RESTARTS:
            raise ParameterError(f"Expected 1 to {MAX_RESTARTS} restarts, got {restarts}.")
        if restarts > 1 and not record.random:
            raise ParameterError(
                f"Expected 1 restart, as {record.label} has no random start, got {restarts}; leave "
                "restarts out, or use PGD."
            )
        if target is not None and not record.targeted:
            raise ParameterError(
                f"{record.label} cannot aim at a class; leave the target out, or use PGD."
            )
        return cls(record.name, chosen.name, size, count, restarts, check_seed(seed), target)

    @property
    def record(self) -> Attack:
        return REGISTRY[self.name]

    def reached(self, top1: NDArray[Any] | int, own: int) -> NDArray[np.bool_]:
        """Which predictions are a success: the target or, without one, any class but ``own``."""
        return np.asarray(top1 != own if self.target is None else top1 == self.target)

    @property
    def total_steps(self) -> int:
        """Steps of all restarts and members: the most that the loop reports."""
        return self.record.total_steps(self.steps, self.restarts)

    @property
    def size_text(self) -> str:
        """Epsilon as text: "8/255" in L-infinity, else a plain number."""
        if self.norm == "linf":
            return f"{self.epsilon * LEVELS:.4g}/{LEVELS}"
        return f"{self.epsilon:.3g}"

    def at_side(self, side: int) -> float:
        """Epsilon for images of ``side`` pixels a side.

        The L2 norm of the same change of every pixel grows with the side, that in L-infinity stays.
        """
        return self.epsilon * side / REFERENCE_SIDE if self.norm == "l2" else self.epsilon

    def scaled_to(self, side: int) -> AttackSpec:
        """The same attack with the epsilon ``at_side``."""
        return replace(self, epsilon=self.at_side(side))

    def seeded(self, seed: int) -> AttackSpec:
        """The same attack with another seed."""
        return replace(self, seed=check_seed(seed))
