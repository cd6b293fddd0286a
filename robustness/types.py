"""The records that travel between the parts: what was asked, of which picture, and what came out.

Study images are float32 RGB in [0, 1], shape (S, S, 3), S being ``RunSpec.side``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.errors import ParameterError
from robustness.images import DEFAULT_FIT, STUDY_SIDE
from robustness.perturbations import REGISTRY, image_digest, ordered

MAX_SEED = 2**32 - 1


def check_seed(seed: int) -> int:
    """``seed`` itself; raises ``ParameterError`` unless it lies in [0, 2**32 - 1]."""
    if not 0 <= seed <= MAX_SEED:
        raise ParameterError(f"A seed must be a whole number from 0 to {MAX_SEED}, got {seed}.")
    return seed


@dataclass(frozen=True)
class Picture:
    """A study image with the name it goes by and the SHA-256 of its pixels."""

    name: str
    image: NDArray[np.float32]
    digest: str
    label: int | None = None

    @classmethod
    def of(cls, name: str, image: NDArray[np.float32], *, label: int | None = None) -> Picture:
        return cls(name, image, image_digest(image), label)


@dataclass(frozen=True)
class Condition:
    """One or several perturbations with their strengths, in the order in which they compose.

    Made by ``Condition.of``, which checks names and strengths.
    """

    steps: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, strengths: Mapping[str, float]) -> Condition:
        """Raises ``UnknownNameError`` or ``ParameterError`` for a bad name or strength."""
        active = [(record.name, strength) for record, strength in ordered(strengths)]
        idle = [(name, 0.0) for name in strengths if name not in dict(active)]
        return cls(tuple(active or idle[:1]))

    @property
    def name(self) -> str:
        return "+".join(name for name, _ in self.steps)

    @property
    def label(self) -> str:
        return " + ".join(REGISTRY[name].label for name, _ in self.steps)

    @property
    def strength(self) -> float | None:
        """The strength of a single perturbation; None for a composition."""
        return self.steps[0][1] if len(self.steps) == 1 else None

    @property
    def parameter(self) -> float | None:
        """The physical value of a single perturbation; None for a composition."""
        if len(self.steps) != 1:
            return None
        name, strength = self.steps[0]
        return REGISTRY[name].parameter_at(strength)


def study_conditions(
    names: Iterable[str] | None = None, strength: float | None = None
) -> tuple[Condition, ...]:
    """One condition a perturbation: at its study setting, or all at ``strength``.

    By default the perturbations of the study. One without a study setting needs ``strength``; it
    is otherwise taken at 0.6, where ImageNet-C has its severity 3.
    """
    chosen = list(names) if names else [record.name for record in REGISTRY if record.in_study]
    conditions = []
    for name in dict.fromkeys(chosen):
        setting = REGISTRY[name].study_strength
        value = strength if strength is not None else (0.6 if setting is None else setting)
        conditions.append(Condition.of({name: value}))
    return tuple(conditions)


@dataclass(frozen=True)
class RunSpec:
    """What was asked: enough to run it again and get the same rows.

    ``models`` are (name, hash of its weight file). ``digest`` is the key under which results may
    be kept.
    """

    models: tuple[tuple[str, str], ...]
    conditions: tuple[Condition, ...]
    seed: int = 0
    fit: str = DEFAULT_FIT
    side: int = STUDY_SIDE

    @property
    def model_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.models)

    def as_dict(self) -> dict[str, Any]:
        return {
            "models": dict(self.models),
            "perturbations": [dict(condition.steps) for condition in self.conditions],
            "seed": self.seed,
            "fit": self.fit,
            "side": self.side,
        }

    @property
    def digest(self) -> str:
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Measurement:
    """One tidy row: what one model made of one picture under one condition.

    ``clean_top1`` and ``top1`` are class indices; the probabilities beside them are each one's
    own, ``retained_probability`` is what is left for the clean class. ``scores`` holds every
    registered metric by name; ``stages`` the feature metrics of each stage.
    """

    image: str
    image_digest: str
    label: int | None
    model: str
    perturbation: str
    strength: float | None
    parameter: float | None
    seed: int
    clean_top1: int
    clean_probability: float
    top1: int
    probability: float
    retained_probability: float
    clean_top5: tuple[int, ...]
    clean_top5_probabilities: tuple[float, ...]
    top5: tuple[int, ...]
    top5_probabilities: tuple[float, ...]
    scores: Mapping[str, float]
    stages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def consistent(self) -> bool:
        return self.clean_top1 == self.top1

    def as_row(self) -> dict[str, Any]:
        """The measurement as one flat JSON-ready row; a PSNR of equal pictures is None."""
        row = asdict(self)
        scores = row.pop("scores")
        stages = row.pop("stages")
        row |= {name: value if np.isfinite(value) else None for name, value in scores.items()}
        row["consistent"] = self.consistent
        row["stages"] = stages
        return row
