"""Arguments of public functions, checked by their annotations; results of functions of registries.

Such a function may be a plugin's: its result may have any shape or type, and hold no numbers.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import SimpleNamespace
from typing import Annotated, Any, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, ValidationError, validate_call

from robustness.base.errors import ParameterError, PluginError
from robustness.base.pydantic_validation import expectation
from robustness.base.text import counted, did_you_mean

Function = TypeVar("Function", bound=Callable[..., Any])

_CONFIG = ConfigDict(strict=True, arbitrary_types_allowed=True, defer_build=True)


def checked_arguments(function: Function) -> Function:
    """``function`` with its arguments checked.

    An argument of another kind, an unknown or a missing one raises ``ParameterError``. NumPy's
    numbers and arrays count as Python's numbers and lists. An argument that is annotated with
    ``Any`` is for the function to check.
    """
    # What is returned may be a type that is imported for type checkers alone.
    taken = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
    annotated = SimpleNamespace(__annotations__=taken)
    hints = get_type_hints(annotated, function.__globals__, include_extras=True)

    @wraps(function)
    def arguments(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    arguments.__annotations__ = {
        name: hint if hint is Any else Annotated[hint, BeforeValidator(_plain)]
        for name, hint in hints.items()
    }
    validated = validate_call(config=_CONFIG)(arguments)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            args, kwargs = validated(*args, **kwargs)
        except ValidationError as error:
            problem = _problem(function, len(args), error.errors(include_url=False))
            raise ParameterError(f"{problem}.") from error
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def _plain(value: Any) -> Any:
    """``value`` with NumPy's numbers and arrays, and other iterables, as Python's.

    A set stays one, as it has no order.
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {
            key: entry.item() if isinstance(entry, np.generic) else entry
            for key, entry in value.items()
        }
    if isinstance(value, Iterable) and not isinstance(value, str | Sequence | set | frozenset):
        return list(value)
    return value


def _problem(function: Callable[..., Any], positional: int, errors: Sequence[Any]) -> str:
    """The sentence, without its full stop, about the first wrong argument."""
    kind, argument = errors[0]["type"], errors[0]["loc"][0]
    if kind == "unexpected_positional_argument":
        most = counted(argument, "argument")
        return f"{function.__name__}: expected at most {most} without a name, got {positional}"
    names = list(inspect.signature(function).parameters)
    name = names[argument] if isinstance(argument, int) else argument
    if kind == "unexpected_keyword_argument":
        return f"{function.__name__}: there is no {name!r}. {did_you_mean(name, names)}"
    if kind == "multiple_argument_values":
        return f"{function.__name__}: expected one value of {name}, got two"
    if kind.startswith("missing"):
        return f"{function.__name__}: {name!r} is missing: add it"
    # An argument of several kinds has an error for each, or for every wrong item of a list.
    whole: dict[str, None] = {}
    items: dict[int, dict[str, None]] = {}
    value = errors[0]["input"]
    for error in errors:
        if error["loc"][0] == argument:
            place = next((step for step in error["loc"][1:] if isinstance(step, int)), None)
            expected = whole if place is None else items.setdefault(place, {})
            expected["a mapping" if error["type"] == "dict_type" else expectation(error)] = None
            value = error["input"] if place is None else value
    for place, expected in list(items.items())[:1]:
        whole[f"item {place + 1} to be {' or '.join(expected)}"] = None
    return f"{name}: expected {' or '.join(whole)}, got {reprlib.repr(value)}"


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view of ``array`` that refuses to be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def checked_array(
    what: str, result: Any, shape: tuple[int, ...], expected: str, *kinds: str
) -> NDArray[Any]:
    """``result`` of ``what`` as an array of ``shape`` and one of the ``kinds`` of numbers.

    A kind is as NumPy writes it, such as "f" or "u1"; ``expected`` are the kinds in words. Raises
    ``PluginError`` for anything else.
    """
    try:
        array = np.asarray(result)
    except Exception:  # of a ragged list, or of an object of another library
        array = np.asarray(None)
    if array.shape != shape or not array.dtype.str[1:].startswith(kinds):
        returned = (
            f"{array.dtype} of shape {array.shape}" if array.dtype != object else repr(result)
        )
        raise PluginError(
            f"The {what} returned {returned[:100]}: expected {expected} of shape {shape}."
        )
    return array


def check_finite(what: str, array: NDArray[Any]) -> None:
    """Raise ``PluginError`` unless all values that ``what`` returned are finite numbers."""
    if not np.isfinite(array).all():
        raise PluginError(f"The {what} returned values that are not finite numbers.")
