"""Decorators that add a function as a perturbation, metric, attack, remedy or dataset.

Each makes the record that a built-in one has. All of its fields but the function have defaults.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import Field

from robustness.attacks import NORMS
from robustness.attacks import REGISTRY as ATTACKS
from robustness.attacks.record import Attack, Task, at_clean
from robustness.base.errors import PluginError, RobustnessError
from robustness.base.registry import Registry
from robustness.base.turns import SupersededError
from robustness.base.validation import checked_arguments, expected
from robustness.datasets.rows import REGISTRY as DATASETS
from robustness.datasets.rows import NamedRows
from robustness.metrics import FEATURES, PICTURE, PREDICTION, Metric
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics.record import Floats, Scores
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import Images, Perturbation, Stage
from robustness.perturbations.record import OWN, words
from robustness.plugins.loading import module_of, register
from robustness.remedies import ON_IMAGE, Remedy
from robustness.remedies import REGISTRY as REMEDIES

Function = TypeVar("Function", bound=Callable[..., Any])

MakeRecord = Callable[[str, str, Callable[..., Any]], Any]
"""Makes the record of a function from its name, its title in messages, and the function."""

SUBJECTS = {"images": PICTURE, "probabilities": PREDICTION, "features": FEATURES}
"""What a metric may compare, and the subject of its record."""

TAKEN = re.compile(
    r"position|image(_digest)?|framed_digest|fit|side|label(_set)?|model|condition|profile"
    r"|perturbations?|strength|seed|parameter|series|severity|rank|ranked_by|base|remedy|stages|(clean_)?(correct5?|top[15])"
    r"|(clean_)?top5_probabilities|(clean_|retained_)?probability|n_\w+|consistency|flip_rate"
    r"|\w+_(low|high|by_chance|rescaled|ece)|(relative_)?drop\w*|\w*(accuracy|overconfidence)\w*"
    r"|attack\w*|robust\w*|(clean_)?score"
)
"""Names of columns of rows and tables; a metric's name is one, too."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

Label = Annotated[str, expected('a text, as in @rb.metric() or @rb.metric("My metric")')]
Count = Annotated[int, Field(ge=1), expected("a whole number of at least 1")]


def _guard(title: str, function: Callable[..., Any]) -> Any:
    """Return ``function`` with its exceptions as ``PluginError``; ``title`` names it in them."""

    @wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (RobustnessError, SupersededError):
            raise
        except Exception as error:
            raise PluginError(f"The {title} failed: {type(error).__name__}: {error}.") from error

    return call


@checked_arguments
def perturbation(
    label: Label = "",
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
    """Return a decorator that adds ``function(images, strength, rng)`` as a perturbation.

    ``images`` are float32 RGB in [0, 1], of shape (1, side, side, 3), and read-only; ``strength``
    is above 0 and at most 1; ``rng`` is a NumPy generator of the image's own. The function returns
    images of the same shape. With ``batched`` it gets several images at once and a list of as many
    generators. ``parameter_at`` maps the strength to the value of ``parameter`` in ``unit``.
    The other fields are those of ``perturbations.Perturbation``.
    """
    if unit:
        wording = None
    elif parameter_at:
        wording = "{value}"
    else:
        wording = "{percent}"

    def make_record(record_name: str, title: str, function: Callable[..., Any]) -> Perturbation:
        return Perturbation(
            name=record_name,
            function=_guard(title, function),
            label=label or _label(record_name),
            family=family,
            stage=stage,
            parameter=parameter,
            unit=unit,
            parameter_at=_guard(f"parameter_at of the {title}", parameter_at or float),
            wording=wording,
            source=source or f"the plugin {module_of(function)}",
            risk=OWN.lower(),
            search=words(search),
            graded=graded,
            random=random,
            monotone=monotone,
            continuous=continuous,
            batched=batched,
            checked=True,
        )

    return _registering(PERTURBATIONS, name, make_record)


@checked_arguments
def metric(
    label: Label = "",
    *,
    of: Literal["images", "probabilities", "features"] = "images",
    name: str = "",
    higher_is_better: bool = True,
    low: float = -math.inf,
    high: float = math.inf,
    formula: str = "",
) -> Callable[[Function], Function]:
    """Return a decorator that adds ``function(original, perturbed)`` as a metric.

    Both arrays have N rows: ``of`` "images" (N, side, side, 3), "probabilities" (N, classes) or
    "features" of the last stage (N, D). The function returns N numbers. Its name is that of the
    column of the rows; ``low`` and ``high`` bound the numbers.
    """

    def make_record(record_name: str, title: str, function: Callable[..., Any]) -> Metric:
        def compare(clean: Floats, perturbed: Floats) -> Scores:
            # One original may come with several perturbed images; the function sees it in each row.
            originals = np.broadcast_to(clean, perturbed.shape)
            scores: Scores = function(originals, perturbed)
            return scores

        return Metric(
            name=record_name,
            function=_guard(title, compare),
            label=label or _label(record_name),
            subject=SUBJECTS[of],
            higher_is_better=higher_is_better,
            formula=formula or f"as in the plugin {module_of(function)}",
            low=low,
            high=high,
        )

    return _registering(METRICS, name, make_record)


@checked_arguments
def attack(
    label: Label = "",
    *,
    name: str = "",
    norms: Annotated[Sequence[str], Field(min_length=1), expected("names of norms")] = (
        "linf",
        "l2",
    ),
    white_box: bool = True,
    targeted: bool = True,
    steps: Count = 20,
    most_steps: Count = 500,
    random: bool = False,
    start: Callable[[Task], Images] = at_clean,
    formula: str = "",
    source: str = "",
) -> Callable[[Function], Function]:
    """Return a decorator that adds ``move(task, state)`` as an attack.

    It returns the next images, or None to end; the loop keeps them within the allowed size, rounds
    to 8 bits and judges success. ``state.gradient`` is that of the lead to raise, unless the attack
    is not ``white_box``. The other fields are those of ``attacks.Attack``.
    """
    for norm in norms:
        NORMS[norm]  # raises for an unknown one

    def make_record(record_name: str, title: str, function: Callable[..., Any]) -> Attack:
        return Attack(
            name=record_name,
            move=_guard(title, function),
            label=label or _label(record_name),
            norms=tuple(norms),
            white_box=white_box,
            targeted=targeted,
            steps=steps,
            most_steps=most_steps,
            formula=formula or f"as in the plugin {module_of(function)}",
            source=source or f"the plugin {module_of(function)}",
            start=_guard(title, start),
            random=random,
        )

    return _registering(ATTACKS, name, make_record)


@checked_arguments
def remedy_plugin(
    label: Label = "",
    *,
    name: str = "",
    against: str = "what its plugin names",
    source: str = "",
) -> Callable[[Function], Function]:
    """Return a decorator that adds ``function(image)`` as a remedy on the image.

    ``image`` is uint8 RGB of shape (side, side, 3) and read-only; the function returns one like it.
    ``against`` says, in words, what it should help against.
    """

    def make_record(record_name: str, title: str, function: Callable[..., Any]) -> Remedy:
        return Remedy(
            name=record_name,
            function=_guard(title, function),
            label=label or _label(record_name),
            kind=ON_IMAGE,
            against=against,
            source=source or f"the plugin {module_of(function)}",
        )

    return _registering(REMEDIES, name, make_record)


@checked_arguments
def dataset(label: Label = "", *, name: str = "") -> Callable[[Function], Function]:
    """Return a decorator that adds what ``function()`` returns as a dataset.

    It returns rows as ``evaluate`` takes them, such as a data set of Hugging Face or torchvision.
    ``dataset:`` and its name are then a source of images everywhere.
    """

    def make_record(record_name: str, title: str, function: Callable[..., Any]) -> NamedRows:
        return NamedRows(record_name, _guard(title, function), label or _label(record_name))

    return _registering(DATASETS, name, make_record)


def _registering(
    registry: Registry[Any], name: str, make_record: MakeRecord
) -> Callable[[Function], Function]:
    """Return a decorator that adds the record of a function to ``registry``.

    Without ``name`` the record has that of the function. Raises ``PluginError`` for a name that
    cannot be used.
    """

    def decorate(function: Function) -> Function:
        if not callable(function):
            raise PluginError(f"Expected a function to add as a {registry.kind}, got {function!r}.")
        record_name = name or getattr(function, "__name__", "")
        title = f"{registry.kind} {record_name!r}"
        objection = _objection_to(record_name, registry)
        if objection:
            raise PluginError(f"The {title} needs another name: {objection}.")
        register(registry, make_record(record_name, title, function), function)
        return function

    return decorate


def _objection_to(name: str, registry: Registry[Any]) -> str:
    """Return why a record of ``registry`` cannot have ``name``; "" if it can."""
    if not _NAME.fullmatch(name):
        return "expected lower-case letters, digits and underscores"
    # Conditions name perturbations and attacks alike.
    if registry is PERTURBATIONS and name in ATTACKS:
        return "an attack has it"
    if registry is ATTACKS and name in PERTURBATIONS:
        return "a perturbation has it"
    if registry is METRICS and TAKEN.fullmatch(name):
        return "a column has it"
    return ""


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
