"""The request of a run: enough to run it again and get the same rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.validation import StrictRecord, checked, made_by
from robustness.evaluation.condition import Condition
from robustness.perturbations import check_seed
from robustness.pictures.eight_bits import BITS
from robustness.pictures.fitting import DEFAULT_FIT, MAX_SIDE, STUDY_SIDE, check_fit, check_side


class _KeptSpec(StrictRecord):
    """A spec as ``RunSpec.as_dict`` writes it."""

    bits: Literal[8]
    models: dict[str, str]
    perturbations: list[Annotated[Condition, made_by(Condition.from_dict)]]
    seed: Annotated[int, made_by(check_seed)]
    fit: str
    side: Annotated[int, Field(ge=1, le=MAX_SIDE)]


@dataclass(frozen=True)
class RunSpec:
    """The request of a run: enough to run it again and get the same rows.

    ``models`` are (name, hash of its weight file). ``digest`` is the key of cached results.
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
            "bits": BITS,  # of every image
        }

    @classmethod
    def from_dict(cls, values: Any) -> RunSpec:
        """The spec that ``as_dict`` gave; raises ``ParameterError`` for anything else."""
        read = checked(_KeptSpec, values)
        models = tuple(read.models.items())
        return cls(models, tuple(read.perturbations), read.seed, read.fit, read.side)

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
    side: int = STUDY_SIDE,
) -> RunSpec:
    """A checked RunSpec; without ``model_names`` it has the default selection.

    Duplicate ``conditions`` count once. Raises ``UnknownNameError`` for an unknown model or fit,
    ``WeightsError`` for a model without weights, ``ParameterError`` for a seed out of range or no
    condition.
    """
    if not conditions:
        raise ParameterError("Expected at least one perturbation, got none.")
    check_fit(fit)
    names = models.resolve(list(model_names) if model_names else None)
    hashes = tuple((name, models.digest(models.REGISTRY[name])) for name in names)
    return RunSpec(
        hashes, tuple(dict.fromkeys(conditions)), check_seed(seed), fit, check_side(side)
    )
