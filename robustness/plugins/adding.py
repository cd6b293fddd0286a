"""Decorators that add a perturbation, metric, attack or remedy; all but the function has a default.

Their arguments and what a plugin's function returns are checked: see ``checking``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from robustness.attacks import NORMS
from robustness.attacks import REGISTRY as ATTACKS
from robustness.attacks.attack_record import Attack, Task, at_clean
from robustness.base.errors import PluginError
from robustness.base.registry import Registry
from robustness.metrics import FEATURES, PICTURE, PREDICTION, Metric
from robustness.metrics import REGISTRY as METRICS
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import Images, Perturbation, Stage
from robustness.perturbations.perturbation import OWN, words
from robustness.plugins.checking import (
    changing,
    checked_arguments,
    comparing,
    mending,
    moving,
    valued,
)
from robustness.plugins.origins import module_of, register
from robustness.remedies import ON_IMAGE, Remedy
from robustness.remedies import REGISTRY as REMEDIES

Function = TypeVar("Function", bound=Callable[..., Any])

SUBJECTS = {"images": PICTURE, "probabilities": PREDICTION, "features": FEATURES}
"""What a metric may compare, and the subject of its record."""

TAKEN = re.compile(
    r"position|image(_digest)?|fit|side|label(_set)?|model|condition|perturbations?|strength|seed"
    r"|parameter|series|severity|rank|ranked_by|remedy|stages|(clean_)?(correct5?|top[15])"
    r"|(clean_)?top5_probabilities|(clean_|retained_)?probability|n_\w+|consistency|flip_rate"
    r"|\w+_(low|high|by_chance|rescaled|ece)|(relative_)?drop\w*|\w*(accuracy|overconfidence)\w*"
    r"|attack\w*|robust\w*"
)
"""Names of columns of rows and tables; a metric's name is one, too."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@checked_arguments
def perturbation(
    label: str = "",
    *,
    name: str = "",
    family: str = OWN,
    stage: Stage = Stage.SCENE,
    parameter: str = "strength",
    unit: str = "",
    parameter_at: Callable[[float], float] | None = None,
    search: str = "",
    source: str = "",
    graded: bool = True,
    random: bool = True,
    monotone: bool = True,
    continuous: bool = True,
    batched: bool = False,
) -> Callable[[Function], Function]:
    """A decorator that adds ``function(images, strength, rng)`` as a perturbation.

    ``images`` are float32 RGB in [0, 1], of shape (1, side, side, 3), and read-only; ``strength``
    is above 0 and at most 1; ``rng`` is a NumPy generator of the image's own. The function returns
    images of the same shape. With ``batched`` it gets several images at once and a list of as many
    generators. ``parameter_at`` maps the strength to the value of ``parameter`` in ``unit``.
    The other fields are those of ``perturbations.Perturbation``.
    """

    def added(function: Function) -> Function:
        own = _name(PERTURBATIONS, function, name)
        if own in ATTACKS:
            raise PluginError(f"The perturbation {own!r} needs another name: an attack has it.")
        record = Perturbation(
            name=own,
            function=changing(own, function, batched, random),
            label=label or _label(own),
            family=family,
            stage=Stage(stage),
            parameter=parameter,
            unit=unit,
            parameter_at=valued(own, parameter_at) if parameter_at else float,
            wording=None if unit else "{value}" if parameter_at else "{percent}",
            source=source or f"the plugin {module_of(function)}",
            risk=OWN.lower(),
            search=words(search),
            graded=graded,
            random=random,
            monotone=monotone,
            continuous=continuous,
        )
        register(PERTURBATIONS, record, function)
        return function

    return added


@checked_arguments
def metric(
    label: str = "",
    *,
    of: str = "images",
    name: str = "",
    higher_is_better: bool = True,
    low: float = -math.inf,
    high: float = math.inf,
    formula: str = "",
) -> Callable[[Function], Function]:
    """A decorator that adds ``function(original, perturbed)`` as a metric.

    Both arrays have N rows: ``of`` "images" (N, side, side, 3), "probabilities" (N, classes) or
    "features" of the last stage (N, D). The function returns N numbers. Its name is that of the
    column of the rows; ``low`` and ``high`` bound the numbers.
    """
    if of not in SUBJECTS:
        raise PluginError(f"A metric compares {', '.join(SUBJECTS)}; got of={of!r}.")

    def added(function: Function) -> Function:
        own = _name(METRICS, function, name)
        if TAKEN.fullmatch(own):
            raise PluginError(f"The metric {own!r} needs another name: a column has it.")
        record = Metric(
            name=own,
            function=comparing(own, function),
            label=label or _label(own),
            subject=SUBJECTS[of],
            higher_is_better=higher_is_better,
            formula=formula or f"as in the plugin {module_of(function)}",
            low=low,
            high=high,
        )
        register(METRICS, record, function)
        return function

    return added


@checked_arguments
def attack(
    label: str = "",
    *,
    name: str = "",
    norms: Sequence[str] = ("linf", "l2"),
    white_box: bool = True,
    targeted: bool = True,
    steps: int = 20,
    most_steps: int = 500,
    random: bool = False,
    start: Callable[[Task], Images] = at_clean,
    formula: str = "",
    source: str = "",
) -> Callable[[Function], Function]:
    """A decorator that adds ``move(task, state)`` as an attack.

    It returns the next images, or None to end; the loop keeps them within the allowed size, rounds
    to 8 bits and judges success. ``state.gradient`` is that of the lead to raise, unless the attack
    is not ``white_box``. The other fields are those of ``attacks.Attack``.
    """
    for norm in norms:
        NORMS[norm]

    def added(function: Function) -> Function:
        own = _name(ATTACKS, function, name)
        if own in PERTURBATIONS:
            raise PluginError(f"The attack {own!r} needs another name: a perturbation has it.")
        record = Attack(
            name=own,
            move=moving(own, function),
            label=label or _label(own),
            norms=tuple(norms),
            white_box=white_box,
            targeted=targeted,
            steps=steps,
            most_steps=most_steps,
            formula=formula or f"as in the plugin {module_of(function)}",
            source=source or f"the plugin {module_of(function)}",
            start=start,
            random=random,
        )
        register(ATTACKS, record, function)
        return function

    return added


@checked_arguments
def remedy_plugin(
    label: str = "",
    *,
    name: str = "",
    against: str = "what its plugin names",
    source: str = "",
) -> Callable[[Function], Function]:
    """A decorator that adds ``function(image)`` as a remedy on the image.

    ``image`` is uint8 RGB of shape (side, side, 3) and read-only; the function returns one like it.
    ``against`` says, in words, what it should help against.
    """

    def added(function: Function) -> Function:
        own = _name(REMEDIES, function, name)
        record = Remedy(
            name=own,
            function=mending(own, function),
            label=label or _label(own),
            kind=ON_IMAGE,
            against=against,
            source=source or f"the plugin {module_of(function)}",
        )
        register(REMEDIES, record, function)
        return function

    return added


def _name(registry: Registry[Any], function: Any, name: str) -> str:
    if not callable(function):
        raise PluginError(f"Expected a function to add as a {registry.kind}, got {function!r}.")
    own = name or getattr(function, "__name__", "")
    if not _NAME.fullmatch(own):
        raise PluginError(
            f"The {registry.kind} {own!r} needs another name: expected lower-case letters, digits "
            "and underscores."
        )
    return own


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
