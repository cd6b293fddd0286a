"""What is asked, in a TOML file: models, conditions, seed and fit, checked word by word.

::

    models = ["SqueezeNet", "EfficientNetLite0"]  # without it the default selection
    seed = 7                                      # without it 0
    fit = "crop"

    [[condition]]                                 # perturbations that compose, with strengths
    fog = 0.6
    gaussian_blur = 0.4

    [[condition]]                                 # or an attack, with all of its settings
    attack = "pgd"
    epsilon = 0.03
    norm = "linf"
    steps = 20
    restarts = 1
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustness.base.errors import ParameterError
from robustness.base.toml import check_words, read_toml
from robustness.evaluation.condition import Condition
from robustness.evaluation.spec import RunSpec, make_spec
from robustness.pictures.fitting import DEFAULT_FIT

CONDITION = "condition"

_CLEAN = "brightness"
"""At strength 0 it stands for the clean image, which else had no name in such a file."""


def read_request(path: Path) -> RunSpec:
    """The spec that the TOML file ``path`` asks for.

    Raises ``ParameterError`` for a file that cannot be read, an unknown word (with the one that
    may be meant) or a value of another kind, and what ``make_spec`` raises.
    """
    values = read_toml(path)
    check_words(path, values, ("models", "seed", "fit", CONDITION))
    names, seed = values.get("models", []), values.get("seed", 0)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ParameterError(f"{path}: expected models to be a list of names, got {names!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ParameterError(f"{path}: expected seed to be a whole number, got {seed!r}.")
    tables = values.get(CONDITION, [])
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise ParameterError(f"{path}: expected at least one table [[{CONDITION}]], got none.")
    conditions = [_condition(path, table) for table in tables]
    return make_spec(names, conditions, seed=seed, fit=str(values.get("fit", DEFAULT_FIT)))


def _condition(path: Path, table: Mapping[str, Any]) -> Condition:
    if not table:
        raise ParameterError(
            f"{path}: a table [[{CONDITION}]] is empty: expected names of perturbations with "
            f"strengths, or an attack; the clean image is a strength of 0, such as {_CLEAN} = 0."
        )
    try:
        return Condition.from_dict(table)
    except (KeyError, TypeError, ValueError) as error:
        raise ParameterError(
            f"{path}: {dict(table)!r} is no condition: expected names of perturbations with "
            "strengths, such as fog = 0.6, or an attack with epsilon, norm, steps and restarts."
        ) from error


def as_toml(spec: RunSpec) -> str:
    """``spec`` as such a file; ``read_request`` gives it back where its models are the same.

    A condition of nothing comes back as a perturbation of strength 0, which changes nothing.
    """
    lines = [
        f"models = {json.dumps(spec.model_names)}",
        f"seed = {spec.seed}",
        f"fit = {json.dumps(spec.fit)}",
    ]
    for condition in spec.conditions:
        values = condition.as_dict() or {_CLEAN: 0.0}
        texts = (f"{name} = {json.dumps(value)}" for name, value in values.items())
        lines += ["", f"[[{CONDITION}]]", *texts]
    return "\n".join(lines) + "\n"
