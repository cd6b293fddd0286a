"""Arguments of the public functions, checked by their annotations."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache, reduce, wraps
from operator import or_
from os import PathLike
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError

from robustness import plugins
from robustness.base import removed_names
from robustness.base.errors import ParameterError
from robustness.base.text import did_you_mean
from robustness.models.own import user_models

Function = TypeVar("Function", bound=Callable[..., Any])

_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    NoneType: "None",
    PathLike: "a path",
    Callable: "a function",
    Mapping: "a mapping",
}
_SEVERAL = {str: "texts", int: "whole numbers", float: "numbers"}


def checked_call(function: Function) -> Function:
    """``function`` with the plugins and the models of ``models.toml`` loaded.

    An argument of another kind, an unknown or a missing one raises ``ParameterError``. NumPy's
    numbers and arrays count as Python's numbers and lists. An argument that is annotated with
    ``Any`` is for the function to check.
    """
    signature = inspect.signature(function)
    collected = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

    @cache
    def hints() -> dict[str, Any]:
        # What is returned may be a type that is imported for type checkers alone.
        taken = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
        resolved = get_type_hints(SimpleNamespace(__annotations__=taken), function.__globals__)
        return {
            name: resolved[name]
            for name, parameter in signature.parameters.items()
            if resolved.get(name, Any) is not Any and parameter.kind not in collected
        }

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        plugins.load()
        user_models.refresh()
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ParameterError(_mistake(function, kwargs, str(error))) from error
        for name in bound.arguments.keys() & hints().keys():
            bound.arguments[name] = _checked(hints()[name], bound.arguments[name], name)
        return function(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


def _mistake(function: Callable[..., Any], names: Iterable[str], message: str) -> str:
    """The sentence about wrong argument names; ``message`` is Python's."""
    parameters = inspect.signature(function).parameters
    unknown = next((name for name in names if name not in parameters), None)
    if unknown is None:
        return f"{function.__name__}: {message}."
    if removed := removed_names.removal(removed_names.ARGUMENTS, unknown):
        return f"{function.__name__}: {removed}."
    return f"{function.__name__}: there is no {unknown!r}. {did_you_mean(unknown, parameters)}."


def _checked(hint: Any, value: Any, name: str) -> Any:
    try:
        return _adapter(hint).validate_python(_plain(value))
    except ValidationError as error:
        raise ParameterError(
            f"{name}: expected {_in_words(hint)}, got {reprlib.repr(value)}."
        ) from error


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


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    kind = _kind(hint)
    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    return TypeAdapter(kind, config=None if is_dataclass(hint) else config)


def _kind(hint: Any) -> Any:
    """``hint`` for pydantic: our records are known by their class, all else is strict."""
    origin, inner = get_origin(hint), [_kind(argument) for argument in get_args(hint)]
    if origin in (Union, UnionType):
        return reduce(or_, inner)
    if origin in (Iterable, Sequence):
        return Sequence[inner[0]]  # type: ignore[valid-type]
    return InstanceOf[hint] if is_dataclass(hint) else hint  # type: ignore[misc]


def _in_words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_in_words(kind) for kind in inner))
    if origin in (Iterable, Sequence):
        kinds = get_args(inner[0]) or inner
        return f"a list of {' or '.join(_SEVERAL.get(one, one.__name__) for one in kinds)}"
    kind = origin or hint
    return _WORDS.get(kind, f"a {kind.__name__}")
