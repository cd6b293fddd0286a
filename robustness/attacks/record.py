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
from robustness.attacks.norms import Draw, Norm, Sizes
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
        """The factor of the lead over ``classes``, with which an attack always raises it."""
        if self.targeted:
            return np.float32(-1)
        return np.float32(1)

    def within(self, images: Images) -> Images:
        """Return the nearest images to ``images`` within the allowed sizes and [0, 1]."""
        projected = self.norm.project(images - self.clean, self.sizes)
        projected += self.clean  # in place, as every step of every attack passes here
        return np.clip(projected, 0, 1, out=projected)

    def around(self, draw: Draw) -> Images:
        """Return the originals, each with a change that ``draw`` takes from its random stream.

        ``draw`` is the ``inside`` or ``noise`` of the norm; its change is scaled to the allowed
        size.
        """
        shape = self.clean.shape[1:]
        changes = np.stack([draw(stream, shape) for stream in self.streams])
        return np.clip(self.clean + changes * self.sizes[:, None, None, None], 0, 1)

    def rows(self, places: NDArray[np.intp]) -> Task:
        """Return the task of the rows at ``places`` (M,) only."""
        return replace(
            self,
            clean=read_only(self.clean[places]),
            classes=self.classes[places],
            rivals=self.rivals[places],
            sizes=self.sizes[places],
            streams=[self.streams[place] for place in places],
        )

    def aimed(self, count: int) -> Task:
        """Return the task with each row ``count`` times, once for each of its most probable rivals.

        These are other classes; there are fewer if the model has fewer classes. The streams are
        new.
        """
        scores = self.classifier(self.clean).probabilities.copy()
        scores[np.arange(len(scores)), self.classes] = -1  # last in order
        rival_count = min(count, scores.shape[1] - 1)
        rivals = np.argsort(-scores, axis=1, kind="stable")[:, :rival_count]
        repeated = self.rows(np.repeat(np.arange(len(rivals)), rival_count))
        streams: list[np.random.Generator] = []
        for stream in self.streams:
            streams += stream.spawn(rival_count)
        return replace(repeated, rivals=rivals.reshape(-1).astype(np.int32), streams=streams)


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
        """Return the state of the rows at ``places`` (M,) only."""
        return State(
            images=self.images[places],
            step=self.step,
            gain=self.gain[places],
            scores=self.scores[places],
            gradient=self.gradient[places],
            memory={name: values[places] for name, values in self.memory.items()},
        )


def at_clean(task: Task) -> Images:
    """Return the originals, from which an attack starts by default."""
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
        """Return the largest number of steps of the loop; only ``random`` members are restarted."""
        total = 0
        for member in self.turns:
            member_steps = steps * member.share
            if REGISTRY[member.name].random:
                member_steps *= restarts
            total += member_steps
        return total


REGISTRY: Registry[Attack] = Registry("attack")
moves = REGISTRY.decorator(Attack)
"""A decorator that registers the hook ``move`` as an attack; keywords give the other fields."""


MAX_RESTARTS = 100


def parse_epsilon(text: str) -> float:
    """Return the number in ``text``, such as "8/255" or "0.03".

    Raises ``ParameterError`` for a text that is no finite number.
    """
    numerator, slash, denominator = text.partition("/")
    try:
        value = float(numerator)
        if slash:
            value /= float(denominator)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise ParameterError(
            f"Expected an epsilon as a number or a fraction such as 8/255, got {text!r}."
        )
    return value


@dataclass(frozen=True)
class AttackSpec:
    """An attack with its settings, made by ``AttackSpec.of``.

    ``epsilon`` is the largest change allowed, in ``norm``, of images of 224 pixels in [0, 1]: see
    ``at_side``. ``target`` is the class to reach; None for any other class.
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
        """Return the attack ``name`` with settings, by default those of its record and norm.

        Raises ``UnknownNameError`` for an attack or norm that does not exist, and
        ``ParameterError`` for a setting out of range or one that this attack does not have.
        """
        record = REGISTRY[name]
        chosen_norm = norms.REGISTRY[norm or record.norms[0]]
        if chosen_norm.name not in record.norms:
            raise ParameterError(
                f"{record.label} is bounded in {' or '.join(record.norms)}, got {chosen_norm.name}."
            )
        size = float(chosen_norm.epsilon if epsilon is None else epsilon)
        if not 0 <= size <= chosen_norm.most:  # also refuses NaN
            usual = Fraction(chosen_norm.epsilon).limit_denominator(LEVELS)
            raise ParameterError(
                f"Expected an epsilon in {chosen_norm.label} between 0 and {chosen_norm.most:g}, "
                f"got {size:g}; the usual one is {usual}."
            )
        step_count = record.steps if steps is None else steps
        if not 1 <= step_count <= record.most_steps:
            expected = "1 step" if record.most_steps == 1 else f"1 to {record.most_steps} steps"
            raise ParameterError(f"{record.label} takes {expected}, got {step_count}.")
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
        return cls(
            name=record.name,
            norm=chosen_norm.name,
            epsilon=size,
            steps=step_count,
            restarts=restarts,
            seed=check_seed(seed),
            target=target,
        )

    @property
    def record(self) -> Attack:
        return REGISTRY[self.name]

    def reached(self, top1: NDArray[Any] | int, own: int) -> NDArray[np.bool_]:
        """Return which predictions ``top1`` are a success.

        That is the target or, without one, any class but ``own``.
        """
        if self.target is None:
            return np.asarray(top1 != own)
        return np.asarray(top1 == self.target)

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
        """Return epsilon for images of ``side`` pixels a side.

        The L2 norm of the same change of every pixel grows with the side, that in L-infinity stays.
        """
        if self.norm == "l2":
            return self.epsilon * side / REFERENCE_SIDE
        return self.epsilon

    def scaled_to(self, side: int) -> AttackSpec:
        """Return the same attack with the epsilon ``at_side``."""
        return replace(self, epsilon=self.at_side(side))

    def seeded(self, seed: int) -> AttackSpec:
        """Return the same attack with another seed."""
        return replace(self, seed=check_seed(seed))
