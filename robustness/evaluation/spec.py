"""The request of a run: enough to run it again and get the same rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.validation import StrictRecord, checked, expected, made_by
from robustness.evaluation.condition import Condition
from robustness.evaluation.sides import OWN_SIDE, by_side
from robustness.perturbations import check_seed
from robustness.pictures.eight_bits import BITS
from robustness.pictures.fitting import DEFAULT_FIT, MAX_SIDE, STUDY_SIDE, check_fit
from robustness.pictures.picture import Picture
from robustness.remedies import Chain, parse, parse_all


class _KeptSpec(StrictRecord):
    """A spec as ``RunSpec.as_dict`` writes it."""

    bits: Literal[8]
    models: dict[str, str]
    perturbations: list[Annotated[Condition, made_by(Condition.from_dict)]]
    seed: Annotated[int, made_by(check_seed)]
    fit: str
    side: Annotated[
        Annotated[int, Field(ge=1, le=MAX_SIDE)] | Literal["model"],
        expected(f"a whole number from 1 to {MAX_SIDE}, or 'model'"),
    ]
    classes: list[Annotated[int, Field(ge=0)]] = Field(default=[], max_length=100_000)
    remedies: list[Annotated[Chain, made_by(parse)]] = Field(default_factory=list)


@dataclass(frozen=True)
class RunSpec:
    """The request of a run: enough to run it again and get the same rows.

    ``models`` are (name, hash of its weight file). ``digest`` is the key of cached results. With
    ``own_sides`` each model sees the images at its own input side; ``side`` is the first model's.
    Predictions are among ``classes`` alone, indices, if there are any. Each of the ``remedies`` is
    tried on every image and condition.
    """

    models: tuple[tuple[str, str], ...]
    conditions: tuple[Condition, ...]
    seed: int = 0
    fit: str = DEFAULT_FIT
    side: int = STUDY_SIDE
    own_sides: bool = False
    classes: tuple[int, ...] = ()
    remedies: tuple[Chain, ...] = ()

    @property
    def asked_side(self) -> int | str:
        """The side of all images, or ``OWN_SIDE``."""
        return OWN_SIDE if self.own_sides else self.side

    def by_side(self) -> list[RunSpec]:
        """The same request, split into one for each side."""
        if not self.own_sides:
            return [self]
        hashes = dict(self.models)
        return [
            replace(self, models=tuple((n, hashes[n]) for n in names), side=side, own_sides=False)
            for side, names in by_side(OWN_SIDE, self.model_names).items()
        ]

    @property
    def model_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.models)

    def as_dict(self) -> dict[str, Any]:
        return {
            "models": dict(self.models),
            "perturbations": [condition.as_dict() for condition in self.conditions],
            "seed": self.seed,
            "fit": self.fit,
            "side": self.asked_side,
            "bits": BITS,  # of every image
            **({"classes": list(self.classes)} if self.classes else {}),
            **({"remedies": [chain.id for chain in self.remedies]} if self.remedies else {}),
        }

    @classmethod
    def from_dict(cls, values: Any) -> RunSpec:
        """The spec that ``as_dict`` gave; raises ``ParameterError`` for anything else."""
        read = checked(_KeptSpec, values)
        side = next(iter(by_side(read.side, list(read.models))), STUDY_SIDE)
        own = read.side == OWN_SIDE
        models, conditions = tuple(read.models.items()), tuple(read.perturbations)
        among, remedies = tuple(read.classes), tuple(read.remedies)
        return cls(models, conditions, read.seed, read.fit, side, own, among, remedies)

    @property
    def digest(self) -> str:
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def make_spec(
    model_names: Sequence[str] | None,
    conditions: Sequence[Condition],
    *,
    seed: int = 0,
    fit: str = DEFAULT_FIT,
    side: int | str = STUDY_SIDE,
    remedies: Sequence[str] = (),
) -> RunSpec:
    """A checked RunSpec; without ``model_names`` it has the default selection.

    ``side`` is in pixels, or ``OWN_SIDE`` for each model's own. Duplicate ``conditions`` and
    ``remedies`` count once. Raises ``UnknownNameError`` for an unknown model, fit or remedy,
    ``WeightsError`` for a model without weights, ``ParameterError`` for a seed out of range or no
    condition.
    """
    if not conditions:
        raise ParameterError("Expected at least one perturbation, got none.")
    check_fit(fit)
    names = models.resolve(list(model_names) if model_names else None)
    hashes = tuple((name, models.digest(models.REGISTRY[name])) for name in names)
    sides = list(by_side(side, names))
    conditions = tuple(dict.fromkeys(conditions))
    own, chains = len(sides) > 1, parse_all(remedies)
    return RunSpec(hashes, conditions, check_seed(seed), fit, sides[0], own, remedies=chains)


def spec_of(
    picture: Picture, model_names: Sequence[str] | None, conditions: Sequence[Condition], seed: int
) -> RunSpec:
    """As ``make_spec``, with the fit of ``picture`` and its side, or sides."""
    side = OWN_SIDE if picture.others else picture.side
    return make_spec(model_names, conditions, seed=seed, fit=picture.fit, side=side)
