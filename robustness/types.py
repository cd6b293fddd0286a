"""The records that travel between the parts: what was asked, of which picture, and what came out.

Study images are float32 RGB in [0, 1], shape (S, S, 3), S being ``RunSpec.side``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.errors import ParameterError, UnknownNameError
from robustness.images import DEFAULT_FIT, STUDY_SIDE
from robustness.perturbations import REGISTRY, Perturbation, image_digest, ordered

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

    def as_dict(self) -> dict[str, Any]:
        """The condition as it stands in a spec: {perturbation: strength}."""
        return dict(self.steps)

    @property
    def label(self) -> str:
        return " + ".join(REGISTRY[name].label for name, _ in self.steps)

    @property
    def described(self) -> str:
        """The label; for a single graded perturbation with its strength and physical value."""
        if self.strength is None or not REGISTRY[self.name].graded:
            return self.label
        value = REGISTRY[self.name].value_text(self.strength)
        return f"{self.label} {self.strength:g} ({value})"

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


STUDY_SUITE, IMAGENET_C_SUITE = "study", "imagenet-c"
SUITES = (STUDY_SUITE, IMAGENET_C_SUITE)
SEVERITIES = (1, 2, 3, 4, 5)


def suite_names(suite: str) -> tuple[str, ...]:
    """The perturbations of a suite: the study's ten, or ImageNet-C's 19 corruptions.

    Raises ``UnknownNameError`` for another suite.
    """
    if suite not in SUITES:
        raise UnknownNameError(f"There is no suite {suite!r}. Known: {', '.join(SUITES)}.")
    if suite == STUDY_SUITE:
        return tuple(record.name for record in REGISTRY if record.in_study)
    return tuple(record.name for record in REGISTRY if record.imagenet_c == record.name)


def graded_conditions(
    names: Iterable[str],
    *,
    strengths: Iterable[float] | None = None,
    severities: Iterable[int] | None = None,
) -> tuple[Condition, ...]:
    """Each perturbation at each of the ``strengths``, or of ImageNet-C's ``severities``.

    With neither, each at its study setting as in ``study_conditions``. A switch, which has no
    degrees, comes once. Raises ``UnknownNameError`` or ``ParameterError`` for what does not exist.
    """
    if strengths is None and severities is None:
        return study_conditions(names)
    conditions = []
    for name in dict.fromkeys(names):
        record = REGISTRY[name]
        values = (
            list(strengths)
            if strengths is not None
            else [_at_severity(record, level) for level in severities or ()]
        )
        if not values:
            raise ParameterError("Expected at least one strength or severity, got none.")
        if not record.graded:
            values = [max(values)]
        conditions += [Condition.of({name: value}) for value in dict.fromkeys(values)]
    return tuple(conditions)


def _at_severity(record: Perturbation, level: int) -> float:
    if level not in SEVERITIES:
        raise ParameterError(f"Expected a severity from 1 to 5, got {level}.")
    if not record.severity_strengths:
        raise ParameterError(
            f"{record.name} has no ImageNet-C severities: give a strength from 0 to 1 instead."
        )
    return record.severity_strengths[level - 1]


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
            "perturbations": [condition.as_dict() for condition in self.conditions],
            "seed": self.seed,
            "fit": self.fit,
            "side": self.side,
        }

    @classmethod
    def from_dict(
        cls,
        spec: Mapping[str, Any],
        condition: Callable[[Mapping[str, Any]], Condition] = Condition.of,
    ) -> RunSpec:
        """The spec that ``as_dict`` gave; ``condition`` reads one of its perturbations.

        Raises what ``condition`` and ``check_seed`` raise, and ``ParameterError`` for anything
        that is no spec.
        """
        try:
            return cls(
                models=tuple((str(name), str(hash_)) for name, hash_ in spec["models"].items()),
                conditions=tuple(condition(steps) for steps in spec["perturbations"]),
                seed=check_seed(int(spec["seed"])),
                fit=str(spec["fit"]),
                side=int(spec["side"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ParameterError(f"This is no spec of a run ({error!r} is amiss).") from error

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
