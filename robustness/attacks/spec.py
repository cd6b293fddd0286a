"""The checked settings of an attack: running it again gives the same image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.attacks import norms
from robustness.attacks.attack_record import REGISTRY, Attack
from robustness.attacks.norms import Norm
from robustness.base.errors import ParameterError
from robustness.perturbations import check_seed
from robustness.pictures.eight_bits import LEVELS

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


def check_epsilon(epsilon: float, norm: Norm) -> float:
    """``epsilon`` itself; raises ``ParameterError`` unless it lies in [0, ``norm.most``]."""
    if not 0 <= epsilon <= norm.most:  # also refuses NaN
        raise ParameterError(
            f"Expected an epsilon in {norm.label} between 0 and {norm.most:g}, got {epsilon:g}; "
            f"the usual one is {Fraction(norm.epsilon).limit_denominator(LEVELS)}."
        )
    return float(epsilon)


@dataclass(frozen=True)
class AttackSpec:
    """An attack with its settings, made by ``AttackSpec.of``.

    ``epsilon`` is the largest change allowed, in ``norm``, of study images in [0, 1]. ``target``
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
        size = check_epsilon(chosen.epsilon if epsilon is None else epsilon, chosen)
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
        return cls(name, chosen.name, size, count, restarts, check_seed(seed), target)

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

    def seeded(self, seed: int) -> AttackSpec:
        """The same attack with another seed."""
        return replace(self, seed=check_seed(seed))
