"""What a plugin hands over: the arguments of its decorators, and what its functions return."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from robustness.attacks.attack_record import State, Task
from robustness.base.errors import PluginError, RobustnessError
from robustness.perturbations import Images, Stage
from robustness.perturbations.perturbation import Streams
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
    """What stands where ``default`` does, in words and as a test."""
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
                and all(isinstance(each, str) for each in value)
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
        shown = images.view()
        shown.flags.writeable = False
        if batched:
            return _images(what, _called(what, function, shown, strength, rng), images.shape)
        parts = []
        for place in range(len(images)):
            one = shown[place : place + 1]
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
        shown = perturbed.view()
        shown.flags.writeable = False
        before = np.broadcast_to(clean, perturbed.shape)
        found = _called(what, function, before, shown)
        expected = (len(perturbed),)
        if found is None or found.shape != expected or found.dtype.kind not in "fiub":
            raise PluginError(
                f"The {what} returned {_array_text(found)}: expected {len(perturbed)} numbers, "
                "one a row."
            )
        return found.astype(np.float64)

    return compare


def mending(name: str, function: Callable[..., Any]) -> Callable[[Levels], Levels]:
    """``function`` as the change of the remedy ``name``: an image of the same shape only."""
    what = f"remedy {name!r}"

    @wraps(function)
    def mend(image: Levels) -> Levels:
        shown = image.view()
        shown.flags.writeable = False
        found = _called(what, function, shown)
        if found is None or found.shape != image.shape or found.dtype != np.uint8:
            raise PluginError(
                f"The {what} returned {_array_text(found)}: expected uint8 of shape {image.shape}."
            )
        return found

    return mend


def moving(name: str, function: Callable[..., Any]) -> Callable[[Task, State], Images | None]:
    """``function`` as the move of the attack ``name``: finite images, or None, only."""
    what = f"attack {name!r}"

    @wraps(function)
    def move(task: Task, state: State) -> Images | None:
        found = _called(what, function, task, state)
        if found is None:
            return None
        numbers = found.shape == state.images.shape and found.dtype.kind in "fiu"
        if not numbers or not np.isfinite(found).all():
            raise PluginError(
                f"The {what} returned {_array_text(found)}: expected finite images of shape "
                f"{state.images.shape}, or None."
            )
        return found.astype(np.float32)

    return move


def valued(name: str, parameter_at: Callable[[float], float]) -> Callable[[float], float]:
    """``parameter_at`` of the perturbation ``name``, which then gives finite numbers only."""
    what = f"parameter_at of the perturbation {name!r}"

    def value(strength: float) -> float:
        found = _called(what, parameter_at, strength)
        if found is None or found.shape or found.dtype.kind not in "fiu" or not np.isfinite(found):
            raise PluginError(
                f"The {what} returned {found} at strength {strength:g}: expected a number."
            )
        return float(found)

    return value
