"""Decorators that add a perturbation, metric, attack or remedy; all but the function has a default.

Their arguments and what a plugin's function returns are checked.
"""

from __future__ import annotations

import inspect
import math
import re
import reprlib
from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from robustness.attacks import NORMS
from robustness.attacks import REGISTRY as ATTACKS
from robustness.attacks.attack_method import Attack, State, Task, at_clean
from robustness.base.errors import PluginError, RobustnessError
from robustness.base.registry import Registry
from robustness.metrics import FEATURES, PICTURE, PREDICTION, Metric
from robustness.metrics import REGISTRY as METRICS
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import Images, Perturbation, Stage
from robustness.perturbations.perturbation import OWN, Streams, words
from robustness.plugins.origins import module_of, register
from robustness.remedies import ON_IMAGE, Remedy
from robustness.remedies import REGISTRY as REMEDIES
from robustness.remedies.remedy import Levels

Fields = ParamSpec("Fields")
Added = TypeVar("Added")

_OF_IMAGES = {
    "attack": "rb.adversarial",
    "perturbation": "rb.perturb",
    "remedy_plugin": "rb.remedy",
}


def checked_arguments(make: Callable[Fields, Added]) -> Callable[Fields, Added]:
    """``make``, a decorator's maker, for arguments of the kind of their defaults only.

    Anything else raises ``PluginError``.
    """

    @wraps(make)
    def wrapper(*args: Fields.args, **kwargs: Fields.kwargs) -> Added:
        called = f"@rb.{make.__name__}"
        if args and callable(args[0]):
            raise PluginError(f"Write {called}() with parentheses.")
        if args and not isinstance(args[0], str):
            use = _OF_IMAGES.get(make.__name__)
            raise PluginError(
                f"{called} adds a function as a plugin: expected its label, got "
                f"{reprlib.repr(args[0])}.{f' Use {use} for images.' if use else ''}"
            )
        signature = inspect.signature(make)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise PluginError(f"{called}: {error}.") from error
        for name, value in bound.arguments.items():
            expected, fits = _kind(signature.parameters[name].default)
            if not fits(value):
                raise PluginError(
                    f"{called} expects {expected} as {name}, got {reprlib.repr(value)}."
                )
        return make(*args, **kwargs)

    return wrapper


def _kind(default: Any) -> tuple[str, Callable[[Any], bool]]:
    """The type of ``default``, in words and as a test."""
    if default is None:
        return "a function or None", lambda value: value is None or callable(value)
    if callable(default):
        return "a function", callable
    if isinstance(default, bool):
        return "True or False", lambda value: isinstance(value, bool)
    if isinstance(default, Stage):
        return "a stage", lambda value: isinstance(value, int) and value in list(Stage)
    if isinstance(default, int):
        return (
            "a whole number of at least 1",
            lambda value: (
                isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
            ),
        )
    if isinstance(default, float):
        return "a number", lambda value: isinstance(value, Real) and not isinstance(value, bool)
    if isinstance(default, tuple):
        return (
            "a list of names",
            lambda value: (
                isinstance(value, list | tuple)
                and bool(value)
                and all(isinstance(item, str) for item in value)
            ),
        )
    return "a text", lambda value: isinstance(value, str)


def _called(what: str, function: Callable[..., Any], *arguments: Any) -> NDArray[Any] | None:
    """The result of a plugin's function as an array, or None.

    An exception becomes a ``PluginError``, also that of a ragged list.
    """
    try:
        result = function(*arguments)
        return None if result is None else np.asarray(result)
    except RobustnessError:
        raise
    except Exception as error:
        raise PluginError(f"The {what} failed: {type(error).__name__}: {error}.") from error


def changing(
    name: str, function: Callable[..., Any], batched: bool, random: bool
) -> Callable[[Images, float, Streams], Images]:
    """``function`` as the change of the perturbation ``name``: finite images in [0, 1] only."""
    what = f"perturbation {name!r}"

    @wraps(function)
    def change(images: Images, strength: float, rng: Streams) -> Images:
        view = images.view()
        view.flags.writeable = False
        if batched:
            return _images(what, _called(what, function, view, strength, rng), images.shape)
        parts = []
        for place in range(len(images)):
            one = view[place : place + 1]
            stream = rng[place] if random else None
            parts.append(_images(what, _called(what, function, one, strength, stream), one.shape))
        return np.concatenate(parts) if parts else images.copy()

    return change


def _images(what: str, result: NDArray[Any] | None, shape: tuple[int, ...]) -> Images:
    """``result`` as images in [0, 1]; raises ``PluginError`` for anything else."""
    if result is None or result.shape != shape or result.dtype.kind != "f":
        raise PluginError(
            f"The {what} returned {_array_text(result)}: expected floating-point images in [0, 1] "
            f"of shape {shape}."
        )
    if not np.isfinite(result).all():
        raise PluginError(f"The {what} returned values that are not finite numbers.")
    return np.clip(result, 0, 1).astype(np.float32)


def _array_text(result: NDArray[Any] | None) -> str:
    return "None" if result is None else f"{result.dtype} of shape {result.shape}"


def comparing(
    name: str, function: Callable[..., Any]
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]:
    """``function`` as the scores of the metric ``name``: one number a row only."""
    what = f"metric {name!r}"

    @wraps(function)
    def compare(clean: NDArray[np.float32], perturbed: NDArray[np.float32]) -> NDArray[np.float64]:
        view = perturbed.view()
        view.flags.writeable = False
        before = np.broadcast_to(clean, perturbed.shape)
        scores = _called(what, function, before, view)
        expected = (len(perturbed),)
        if scores is None or scores.shape != expected or scores.dtype.kind not in "fiub":
            raise PluginError(
                f"The {what} returned {_array_text(scores)}: expected {len(perturbed)} numbers, "
                "one a row."
            )
        return scores.astype(np.float64)

    return compare


def mending(name: str, function: Callable[..., Any]) -> Callable[[Levels], Levels]:
    """``function`` as the change of the remedy ``name``: an image of the same shape only."""
    what = f"remedy {name!r}"

    @wraps(function)
    def mend(image: Levels) -> Levels:
        view = image.view()
        view.flags.writeable = False
        result = _called(what, function, view)
        if result is None or result.shape != image.shape or result.dtype != np.uint8:
            raise PluginError(
                f"The {what} returned {_array_text(result)}: expected uint8 of shape {image.shape}."
            )
        return result

    return mend


def moving(name: str, function: Callable[..., Any]) -> Callable[[Task, State], Images | None]:
    """``function`` as the move of the attack ``name``: finite images, or None, only."""
    what = f"attack {name!r}"

    @wraps(function)
    def move(task: Task, state: State) -> Images | None:
        moved = _called(what, function, task, state)
        if moved is None:
            return None
        numbers = moved.shape == state.images.shape and moved.dtype.kind in "fiu"
        if not numbers or not np.isfinite(moved).all():
            raise PluginError(
                f"The {what} returned {_array_text(moved)}: expected finite images of shape "
                f"{state.images.shape}, or None."
            )
        return moved.astype(np.float32)

    return move


def valued(name: str, parameter_at: Callable[[float], float]) -> Callable[[float], float]:
    """``parameter_at`` of the perturbation ``name``, which then gives finite numbers only."""
    what = f"parameter_at of the perturbation {name!r}"

    def value(strength: float) -> float:
        result = _called(what, parameter_at, strength)
        if (
            result is None
            or result.shape
            or result.dtype.kind not in "fiu"
            or not np.isfinite(result)
        ):
            raise PluginError(
                f"The {what} returned {result} at strength {strength:g}: expected a number."
            )
        return float(result)

    return value


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
