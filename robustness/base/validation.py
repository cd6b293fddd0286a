"""Validation of structured input: pydantic models, whose errors become sentences.

Values are not converted: the text "1" is not the number 1. Import this module late, as pydantic
takes as long to import as the command line takes to print its help.

``checked_arguments`` checks the arguments of public functions by their annotations, and
``checked_array`` the results of functions of registries: such a function may be a plugin's, whose
result may have any shape or type, and hold no numbers.
"""

from __future__ import annotations

import inspect
import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, TypeVar, Unpack, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    create_model,
    model_validator,
    validate_call,
)

from robustness.base.errors import ParameterError, PluginError, RobustnessError
from robustness.base.files import read_regular
from robustness.base.options import Field, fields_of
from robustness.base.text import counted, did_you_mean

Kind = TypeVar("Kind")


class RefusedError(ValueError):
    """Raised by a validator; the message is a sentence without its full stop."""


class _UnexpectedError(ValueError):
    """The message names what was expected."""


_AS_PEOPLE_SAY = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "model_type": "a table",
    "dataclass_type": "a table",
    "dict_type": "a table",
    "list_type": "a list",
    "tuple_type": "a list",
    "bool_type": "True or False",
    "callable_type": "a function",
    "sequence_str": "a list",
    "Sequence": "a list",
    "PathLike": "a path",
}
"""Expected values by pydantic's type of the error, or by a class; others keep pydantic's words."""


CONFIG = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)
"""For every input; dataclasses use it as ``__pydantic_config__``."""


class StrictRecord(BaseModel):
    """Base of files written by programs; ignores unknown keys, which newer versions may add."""

    model_config = CONFIG


class StrictTable(StrictRecord):
    """Base of files written by people; refuses unknown keys and suggests the nearest one."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def key_names(cls) -> tuple[str, ...]:
        """All keys as written in the file."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        key_names = cls.key_names()
        for key in values:
            if key not in key_names:
                hint = did_you_mean(str(key), key_names)
                raise RefusedError(f"there is no {key!r}. {hint}")
        return values


Table = TypeVar("Table", bound=StrictTable)


def table_with_options(table: type[Table], record: type) -> type[Table]:
    """The kind of ``table`` that has the options of ``record`` as keys, too."""
    keys: dict[str, Any] = {}
    for field in fields_of(record).values():
        kind = field.kind
        if kind == Sequence[str]:
            kind = Annotated[kind, expected("a list of names")]
        keys[field.name] = (kind, field.option.default)
    return create_model(table.__name__, __base__=table, **keys)


def parsed_by(make: Callable[[Any], Kind]) -> PlainValidator:
    """An annotation that creates the field's value with ``make`` and locates its errors."""

    def check(value: Any) -> Kind:
        with as_refusal():
            return make(value)

    return PlainValidator(check)


@contextmanager
def as_refusal() -> Iterator[None]:
    """Raise an error about a value as one about the table that holds it."""
    try:
        yield
    except RobustnessError as error:
        text = str(error).rstrip(".")
        is_abbreviation = text[1:2].isupper()  # such as "PGD"
        if not is_abbreviation:
            text = text[:1].lower() + text[1:]
        raise RefusedError(text) from error


def expected(what: str) -> WrapValidator:
    """An annotation that names ``what`` as expected, unless a validator raised its own error."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            for details in error.errors():
                reason = details.get("ctx", {}).get("error")
                if isinstance(reason, RefusedError):
                    raise reason from None
            raise _UnexpectedError(what) from None

    return WrapValidator(check)


def checked(kind: type[Kind], values: object, where: str = "", *, context: Any = None) -> Kind:
    """Return ``values`` as ``kind``.

    Raises ``ParameterError`` for the first problem; the message begins with ``where``.
    ``context`` is passed to validators as ``ValidationInfo.context``.
    """
    with _readable_errors(where):
        record: Kind = _adapter(kind).validate_python(values, context=context)
    return record


def checked_json(kind: type[Kind], text: bytes, where: str = "") -> Kind:
    """Return the JSON ``text`` as ``kind``; raises ``ParameterError`` as ``checked`` does."""
    with _readable_errors(where):
        record: Kind = _adapter(kind).validate_json(text)
    return record


def read_json(kind: type[Kind], file: Path, most: int = 16 * 2**20) -> Kind | None:
    """The JSON ``file`` of at most ``most`` bytes as ``kind``; None if missing, invalid, a link."""
    try:
        record: Kind = _adapter(kind).validate_json(read_regular(file, most, follow=False))
    except (OSError, ValidationError, ParameterError):  # the last by a check of the record itself
        return None
    return record


def read_object(file: Path, most: int = 4 * 2**20) -> dict[str, Any]:
    """The object in the JSON ``file``; raises ``OSError`` or ``ValueError`` where it is none."""
    table = json.loads(read_regular(file, most))
    if not isinstance(table, dict):
        raise ValueError(f"{file.name} holds no JSON object")
    return table


def json_values(value: Any) -> Iterator[Any]:
    """Yield ``value``, as JSON has it, and every value inside it."""
    pending = [value]
    while pending:
        current = pending.pop()
        yield current
        if isinstance(current, dict):
            pending += current.values()
        elif isinstance(current, list):
            pending += current


@contextmanager
def _readable_errors(where: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        problem = _sentence(dict(error.errors(include_url=False)[0]))
        if where:
            text = f"{where}: {problem}"
        else:
            text = problem[0].upper() + problem[1:]
        raise ParameterError(f"{text}.") from error


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def _sentence(error: Mapping[str, Any]) -> str:
    """What is wrong, by an error of pydantic, without a capital and a full stop."""
    position, key = _split(error["loc"])
    reason = error.get("ctx", {}).get("error")
    if isinstance(reason, RefusedError):
        if key:
            position += f"{key}: "
        return f"{position}{reason}"
    if error["type"] == "json_invalid":
        return "it is not JSON"
    if error["type"] == "missing":
        if not key:  # the last items of a list of fixed length
            return f"{position}expected a value, got none: add it"
        return f"{position}{key!r} is missing: add it"
    if error["type"] == "list_type" and key and isinstance(error["input"], dict):
        return f"{position}expected tables [[{key}]], got one table [{key}]"
    subject = expectation(error)
    if key:
        subject = f"{key} to be {subject}"
    return f"{position}expected {subject}, got {reprlib.repr(error['input'])}"


def expectation(error: Mapping[str, Any]) -> str:
    """What an error of pydantic expected, in the words of people."""
    context = error.get("ctx", {})
    reason = context.get("error")
    if isinstance(reason, _UnexpectedError):
        return str(reason)
    kind = context.get("class", error["type"])
    if kind == "string_too_long":
        return f"a text of at most {context['max_length']:,} letters"
    if kind == "too_long":
        return f"at most {context['max_length']:,} items"
    if kind == "too_short":
        return f"at least {context['min_length']:,} items"
    return _AS_PEOPLE_SAY.get(kind, error["msg"].removeprefix("Input should be "))


def _split(location: tuple[int | str, ...]) -> tuple[str, str]:
    """The position of an error in nested tables and lists, as a prefix, and its key if any."""
    steps: list[str] = []
    for step in location:
        if isinstance(step, int) and steps:
            steps[-1] += f" {step + 1}"  # the item of a list, counted from 1
        else:
            steps.append(str(step))
    key = ""
    if location and isinstance(location[-1], str):
        key = steps.pop()
    return "".join(f"{step}: " for step in steps), key


Function = TypeVar("Function", bound=Callable[..., Any])

_CONFIG = ConfigDict(strict=True, arbitrary_types_allowed=True, defer_build=True)


def checked_arguments(function: Function) -> Function:
    """Return ``function`` with its arguments checked.

    An argument of another kind, an unknown or a missing one raises ``ParameterError``. NumPy's
    numbers and arrays count as Python's numbers and lists. An argument that is annotated with
    ``Any`` is for the function to check. ``**options: Unpack[Record]`` are the options of a record,
    of which ``function`` gets all; its signature and its docstring name each.
    """
    # What is returned may be a type that is imported for type checkers alone.
    annotations = dict(function.__annotations__)
    annotations.pop("return", None)
    annotated = SimpleNamespace(__annotations__=annotations)
    hints = get_type_hints(annotated, function.__globals__, include_extras=True)
    options = _unpacked_options(hints)
    signature = _signature_with_options(function, options)

    @wraps(function)
    def arguments(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    checked_hints: dict[str, Any] = {}
    for name, hint in hints.items():
        if hint is Any:
            checked_hints[name] = hint
        else:
            checked_hints[name] = Annotated[hint, BeforeValidator(_plain)]
    arguments.__annotations__ = checked_hints
    vars(arguments)["__signature__"] = signature
    validated = validate_call(config=_CONFIG)(arguments)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            args, kwargs = validated(*args, **kwargs)
        except ValidationError as error:
            problem = _problem(
                function.__name__,
                list(signature.parameters),
                len(args),
                error.errors(include_url=False),
            )
            raise ParameterError(f"{problem}.") from error
        return function(*args, **kwargs)

    vars(call)["__signature__"] = signature
    if options:
        lines = [f"- ``{field.name}``: {field.option.meaning}" for field in options]
        call.__doc__ = "\n    ".join([function.__doc__ or "", "Options:", "", *lines])
    return call  # type: ignore[return-value]


def _unpacked_options(hints: dict[str, Any]) -> list[Field]:
    """Replace a record of options that is unpacked in ``hints`` by its options; return these."""
    for name, hint in list(hints.items()):
        if get_origin(hint) is not Unpack:
            continue
        del hints[name]
        (record,) = get_args(hint)
        options = list(fields_of(record).values())
        for field in options:
            hints[field.name] = field.kind
        return options
    return []


def _signature_with_options(
    function: Callable[..., Any], options: Sequence[Field]
) -> inspect.Signature:
    """The signature of ``function`` with ``options`` as keywords in place of their record."""
    signature = inspect.signature(function)
    if not options:
        return signature
    *parameters, _ = signature.parameters.values()
    for field in options:
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.option.default,
                annotation=field.kind,
            )
        )
    return signature.replace(parameters=parameters)


def _plain(value: Any) -> Any:
    """``value`` with NumPy's numbers and arrays, and other iterables, as Python's.

    A set stays one, as it has no order.
    """
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        plain = dict(value)
        for key, entry in value.items():
            if isinstance(entry, np.generic):
                plain[key] = entry.item()
        return plain
    if isinstance(value, Iterable) and not isinstance(value, str | Sequence | set | frozenset):
        return list(value)
    return value


def _problem(
    function_name: str, names: Sequence[str], positional: int, errors: Sequence[Any]
) -> str:
    """The sentence, without its full stop, about the first wrong argument of a function.

    ``names`` are those of its parameters, ``positional`` is how many arguments came without one.
    """
    kind = errors[0]["type"]
    argument = errors[0]["loc"][0]
    if kind == "unexpected_positional_argument":
        most = counted(argument, "argument")
        return f"{function_name}: expected at most {most} without a name, got {positional}"
    name = names[argument] if isinstance(argument, int) else argument
    if kind == "unexpected_keyword_argument":
        return f"{function_name}: there is no {name!r}. {did_you_mean(name, names)}"
    if kind == "multiple_argument_values":
        return f"{function_name}: expected one value of {name}, got two"
    if kind.startswith("missing"):
        return f"{function_name}: {name!r} is missing: add it"
    # An argument of several kinds has an error for each, or for every wrong item of a list.
    expectations: list[str] = []
    item_expectations: dict[int, list[str]] = {}
    value = errors[0]["input"]
    for error in errors:
        if error["loc"][0] != argument:
            continue
        wanted = "a mapping" if error["type"] == "dict_type" else expectation(error)
        index = _item_index(error["loc"])
        if index is None:
            expectations.append(wanted)
            value = error["input"]
        else:
            item_expectations.setdefault(index, []).append(wanted)
    if item_expectations:
        index, wanted_items = next(iter(item_expectations.items()))
        expectations.append(f"item {index + 1} to be {_alternatives(wanted_items)}")
    return f"{name}: expected {_alternatives(expectations)}, got {reprlib.repr(value)}"


def _item_index(location: Sequence[int | str]) -> int | None:
    """The index of the item of a list that an error is about; None for the whole argument."""
    for step in location[1:]:
        if isinstance(step, int):
            return step
    return None


def _alternatives(texts: Iterable[str]) -> str:
    """``texts``, each once, with "or" between them."""
    return " or ".join(dict.fromkeys(texts))


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
        returned = repr(result)
        if array.dtype != object:
            returned = f"{array.dtype} of shape {array.shape}"
        raise PluginError(
            f"The {what} returned {returned[:100]}: expected {expected} of shape {shape}."
        )
    return array


def check_finite(what: str, array: NDArray[Any]) -> None:
    """Raise ``PluginError`` unless all values that ``what`` returned are finite numbers."""
    if not np.isfinite(array).all():
        raise PluginError(f"The {what} returned values that are not finite numbers.")
