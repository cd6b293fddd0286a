"""What was asked: enough to run it again and get the same rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustness import models
from robustness.base.errors import ParameterError
from robustness.evaluation.condition import Condition
from robustness.perturbations import check_seed
from robustness.pictures.eight_bits import BITS
from robustness.pictures.fitting import DEFAULT_FIT, STUDY_SIDE, check_fit


@dataclass(frozen=True)
class RunSpec:
    """What was asked: enough to run it again and get the same rows.

    ``models`` are (name, hash of its weight file). ``digest`` is the key under which results may be
    kept.
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
    def from_dict(cls, spec: Mapping[str, Any]) -> RunSpec:
        """The spec that ``as_dict`` gave.

        Raises what ``Condition.from_dict`` and ``check_seed`` raise, and ``ParameterError`` for
        anything that is no spec.
        """
        try:
            if spec["bits"] != BITS:
                raise ValueError(f"bits={spec['bits']!r}")
            return cls(
                models=tuple((str(name), str(hash_)) for name, hash_ in spec["models"].items()),
                conditions=tuple(Condition.from_dict(steps) for steps in spec["perturbations"]),
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


def make_spec(
    model_names: Sequence[str] | None,
    conditions: Sequence[Condition],
    *,
    seed: int = 0,
    fit: str = DEFAULT_FIT,
    side: int = STUDY_SIDE,
) -> RunSpec:
    """A checked RunSpec; no ``model_names`` means the default selection.

    What stands twice in ``conditions`` is asked once. Raises ``UnknownNameError`` for a model or a
    fit that does not exist, ``WeightsError`` for a model without its weights, ``ParameterError``
    for a seed out of range or no condition at all.
    """
    if not conditions:
        raise ParameterError("Expected at least one perturbation, got none.")
    check_fit(fit)
    names = models.resolve(list(model_names) if model_names else None)
    hashes = tuple((name, models.digest(models.REGISTRY[name])) for name in names)
    return RunSpec(hashes, tuple(dict.fromkeys(conditions)), check_seed(seed), fit, side)
