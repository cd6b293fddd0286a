"""The check of structured input: a pydantic model says what is expected, errors become sentences.

Nothing is converted on the way: the text "1" is not the number 1. Import it late: it takes longer
to import than the command line takes to print its help.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    model_validator,
)

from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.text import did_you_mean

Kind = TypeVar("Kind")


class RefusedError(ValueError):
    """Raised by a validator; its message is a sentence without its full stop."""


class _UnexpectedError(ValueError):
    """Its message says what was expected."""


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
}
"""What is expected, by pydantic's type of the error; its own words serve for all others."""


CONFIG = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)
"""Of every input; a dataclass has it as ``__pydantic_config__``."""


class StrictRecord(BaseModel):
    """Base of what programs write; unknown keys are ignored, as a newer version may have more."""

    model_config = CONFIG


class StrictTable(StrictRecord):
    """Base of what people write; an unknown key is refused with the nearest known one."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def known(cls) -> tuple[str, ...]:
        """Every key, as it is written."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: Any) -> Any:
        known = cls.known()
        for key in values if isinstance(values, Mapping) else ():
            if key not in known:
                raise RefusedError(f"there is no {key!r}. {did_you_mean(str(key), known)}")
        return values


def made_by(make: Callable[[Any], Kind]) -> PlainValidator:
    """An annotation: ``make`` turns the value into the field's; its error keeps the place."""

    def check(value: Any) -> Kind:
        try:
            return make(value)
        except RobustnessError as error:
            raise RefusedError(str(error).rstrip(".")) from error

    return PlainValidator(check)


def expected(what: str) -> WrapValidator:
    """An annotation: the sentence says that ``what`` was expected, unless a validator refused."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            reasons = (each.get("ctx", {}).get("error") for each in error.errors())
            refused = (reason for reason in reasons if isinstance(reason, RefusedError))
            raise next(refused, _UnexpectedError(what)) from None

    return WrapValidator(check)


def checked(kind: type[Kind], values: object, where: str = "", *, context: Any = None) -> Kind:
    """``values`` as ``kind``.

    Raises ``ParameterError`` for the first problem, in a sentence that begins with ``where``.
    ``context`` is for validators, which find it in ``ValidationInfo.context``.
    """
    with _told(where):
        found: Kind = _adapter(kind).validate_python(values, context=context)
    return found


def checked_json(kind: type[Kind], text: bytes, where: str = "") -> Kind:
    """The JSON ``text`` as ``kind``; raises ``ParameterError`` as ``checked`` does."""
    with _told(where):
        found: Kind = _adapter(kind).validate_json(text)
    return found


def kept_json(kind: type[Kind], file: Path) -> Kind | None:
    """The content of the JSON ``file`` as ``kind``; None if it is missing or something else."""
    try:
        return checked_json(kind, file.read_bytes())
    except (OSError, ParameterError):
        return None


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        problem = _sentence(dict(error.errors(include_url=False)[0]))
        text = f"{where}: {problem}" if where else problem[0].upper() + problem[1:]
        raise ParameterError(f"{text}.") from error


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def _sentence(error: Mapping[str, Any]) -> str:
    place, name = _split(error["loc"])
    reason = error.get("ctx", {}).get("error")
    if isinstance(reason, RefusedError):
        return place + (f"{name}: " if name else "") + str(reason)
    if error["type"] == "json_invalid":
        return "it is not JSON"
    if error["type"] == "missing":
        return f"{place}{name!r} is missing: add it"
    message = _AS_PEOPLE_SAY.get(error["type"], error["msg"].removeprefix("Input should be "))
    if isinstance(reason, _UnexpectedError):
        message = str(reason)
    subject = f"{name} to be {message}" if name else message
    return f"{place}expected {subject}, got {reprlib.repr(error['input'])}"


def _split(location: tuple[int | str, ...]) -> tuple[str, str]:
    """Where in nested tables and lists an error is, as a prefix; and the key, if it is of one."""
    places: list[str] = []
    for step in location:
        if isinstance(step, int) and places:
            places[-1] += f" {step + 1}"
        else:
            places.append(str(step))
    name = places.pop() if location and isinstance(location[-1], str) else ""
    return "".join(f"{place}: " for place in places), name
