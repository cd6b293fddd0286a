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
from robustness.base.validation import StrictRecord, checked, expected, parsed_by
from robustness.evaluation.condition import Condition
from robustness.evaluation.framings import DEFAULT, OWN_SIDE, by_framing, framing, side_of
from robustness.perturbations import check_seed
from robustness.pictures.eight_bits import BITS
from robustness.pictures.fitting import DEFAULT_FIT, MAX_SIDE, STUDY_SIDE, Framing
from robustness.pictures.picture import Picture
from robustness.remedies import Chain, parse, parse_all


class _KeptSpec(StrictRecord):
    """A spec as ``RunSpec.as_dict`` writes it."""

    bits: Literal[8]
    models: dict[str, str]
    perturbations: list[Annotated[Condition, parsed_by(Condition.from_dict)]]
    seed: Annotated[int, parsed_by(check_seed)]
    fit: str
    side: Annotated[
        Annotated[int, Field(ge=1, le=MAX_SIDE)] | Literal["model", "default"],
        expected(f"a whole number from 1 to {MAX_SIDE}, {OWN_SIDE!r} or {DEFAULT!r}"),
    ]
    classes: list[Annotated[int, Field(ge=0)]] = Field(default=[], max_length=100_000)
    remedies: list[Annotated[Chain, parsed_by(parse)]] = Field(default_factory=list)


@dataclass(frozen=True)
class RunSpec:
    """The request of a run: enough to run it again and get the same rows.

    ``models`` are (name, hash of its weight file). ``digest`` is the key of cached results. Where
    models see images in different framings, ``own_framings`` are the fit and side as requested, and
    ``fit`` and ``side`` are the first model's. Predictions are among ``classes`` alone, indices, if
    there are any. Each of the ``remedies`` is tried on every image and condition.
    """

    models: tuple[tuple[str, str], ...]
    conditions: tuple[Condition, ...]
    seed: int = 0
    fit: str = DEFAULT_FIT
    side: int = STUDY_SIDE
    own_framings: tuple[str, int | str] | None = None
    classes: tuple[int, ...] = ()
    remedies: tuple[Chain, ...] = ()

    @property
    def framing(self) -> Framing:
        """How the images become square, those of the first model where they differ."""
        return Framing(self.fit, self.side)

    @property
    def framing_request(self) -> tuple[str, int | str]:
        """The fit and side that give each model its framing, as ``framing`` takes them."""
        return self.own_framings or self.framing

    def by_side(self) -> list[RunSpec]:
        """The same request, split into one for each fit and side."""
        if not self.own_framings:
            return [self]
        hashes = dict(self.models)
        return [
            replace(
                self,
                models=tuple((name, hashes[name]) for name in names),
                fit=fit,
                side=side,
                own_framings=None,
            )
            for (fit, side), names in by_framing(*self.own_framings, self.model_names).items()
        ]

    @property
    def model_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.models)

    def as_dict(self) -> dict[str, Any]:
        fit, side = self.framing_request
        return {
            "models": dict(self.models),
            "perturbations": [condition.as_dict() for condition in self.conditions],
            "seed": self.seed,
            "fit": fit,
            "side": side,
            "bits": BITS,  # of every image
            **({"classes": list(self.classes)} if self.classes else {}),
            **({"remedies": [chain.id for chain in self.remedies]} if self.remedies else {}),
        }

    @classmethod
    def from_dict(cls, values: Any) -> RunSpec:
        """The spec that ``as_dict`` gave; raises ``ParameterError`` for anything else."""
        read = checked(_KeptSpec, values)
        fit, side, own = read.fit, read.side, None
        if fit == DEFAULT or isinstance(side, str):
            first = next(iter(read.models), None)
            (fit, side), own = framing(fit, side, first), (fit, side)
        models, conditions = tuple(read.models.items()), tuple(read.perturbations)
        among, remedies = tuple(read.classes), tuple(read.remedies)
        return cls(models, conditions, read.seed, fit, side, own, among, remedies)

    @property
    def digest(self) -> str:
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def make_spec(
    model_names: Sequence[str] | None,
    conditions: Sequence[Condition],
    *,
    seed: int = 0,
    fit: str = DEFAULT,
    side: int | str = DEFAULT,
    remedies: Sequence[str] = (),
) -> RunSpec:
    """A checked RunSpec; without ``model_names`` it has the default selection.

    ``fit`` and ``side`` are as ``framing`` takes them. Duplicate ``conditions`` and ``remedies``
    count once. Raises ``UnknownNameError`` for an unknown model, fit or remedy,
    ``WeightsError`` for a model without weights, ``ParameterError`` for a seed out of range or no
    condition.
    """
    if not conditions:
        raise ParameterError("Expected at least one perturbation, got none.")
    names = models.resolve(list(model_names) if model_names else None)
    hashes = tuple((name, models.digest(models.REGISTRY[name])) for name in names)
    first, *others = by_framing(fit, side, names)
    own = (fit, side_of(side)) if others else None
    conditions = tuple(dict.fromkeys(conditions))
    chains = parse_all(remedies)
    return RunSpec(hashes, conditions, check_seed(seed), *first, own, remedies=chains)


def spec_of(
    picture: Picture, model_names: Sequence[str] | None, conditions: Sequence[Condition], seed: int
) -> RunSpec:
    """As ``make_spec``, with the framings of ``picture``."""
    fit, side = picture.framing_request
    return make_spec(model_names, conditions, seed=seed, fit=fit, side=side)
