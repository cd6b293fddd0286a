"""A request in a TOML file: models, conditions, seed and fit.

::

    models = ["SqueezeNet", "EfficientNetLite0"]  # default: the default selection
    seed = 7                                      # default: 0
    fit = "crop"                                  # default: that of each model
    side = 224                                    # pixels; "model": each one's published side
    remedies = ["median", "autocontrast+tta"]     # default: none

    [[condition]]                                 # perturbations with strengths
    fog = 0.6
    gaussian_blur = 0.4

    [[condition]]                                 # or an attack with all its settings
    attack = "pgd"
    epsilon = 0.03
    norm = "linf"
    steps = 20
    restarts = 1
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from robustness.base.errors import ParameterError
from robustness.base.toml import read_toml
from robustness.base.validation import StrictTable, checked, expected, parsed_by
from robustness.evaluation.condition import Condition
from robustness.evaluation.framings import DEFAULT
from robustness.evaluation.request import Request, make_spec
from robustness.pictures.fitting import STUDY_SIDE

_CLEAN = "brightness"
"""A perturbation whose strength 0 denotes the original in such a file."""


def _condition(values: Any) -> Condition:
    if values == {}:
        raise ParameterError(
            "expected perturbations with strengths, or an attack, got an empty table; for the "
            f"original image write {_CLEAN} = 0."
        )
    return Condition.from_dict(values)


class RequestFile(StrictTable):
    """The keys of such a file."""

    models: Annotated[list[str], expected("a list of names")] = Field(default_factory=list)
    seed: int = 0
    fit: str | None = None
    side: int | Literal["model", "default"] | None = None
    remedies: Annotated[list[str], expected("a list of names")] = Field(default_factory=list)
    condition: list[Annotated[Condition, parsed_by(_condition)]] = Field(min_length=1)


def read_request(path: Path) -> Request:
    """The spec that the TOML file ``path`` asks for.

    Raises ``ParameterError`` for a file that is not as ``RequestFile`` says, and what ``make_spec``
    raises.
    """
    asked = checked(RequestFile, read_toml(path), str(path))
    side = DEFAULT if asked.fit is None else STUDY_SIDE  # as ``as_toml`` leaves it out
    return make_spec(
        asked.models,
        asked.condition,
        seed=asked.seed,
        fit=DEFAULT if asked.fit is None else asked.fit,
        side=side if asked.side is None else asked.side,
        remedies=asked.remedies,
    )


def as_toml(spec: Request) -> str:
    """``spec`` as such a file, which ``read_request`` reads back.

    A condition without perturbations comes back as one of strength 0, which changes nothing.
    """
    remedies = [chain.id for chain in spec.remedies]
    fit, side = spec.framing_request
    lines = [
        f"models = {json.dumps(spec.model_names)}",
        f"seed = {spec.seed}",
        f"fit = {json.dumps(fit)}",
        *([f"side = {json.dumps(side)}"] if side != STUDY_SIDE else []),
        *([f"remedies = {json.dumps(remedies)}"] if remedies else []),
    ]
    for condition in spec.conditions:
        values = condition.as_dict() or {_CLEAN: 0.0}
        texts = (f"{name} = {json.dumps(value)}" for name, value in values.items())
        lines += ["", "[[condition]]", *texts]
    return "\n".join(lines) + "\n"
