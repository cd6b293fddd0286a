"""Options of commands, each declared once: as a field of a record.

A record of options is a ``TypedDict`` whose fields are annotated with an ``Option``::

    class ImageOptions(TypedDict, total=False):
        limit: Annotated[int | None, Option(None, "the first N images", metavar="N")]

Everything else is made of it. The command line has ``--limit N`` (``cli.console.add_options``). A
function that takes ``**options: Unpack[ImageOptions]`` has the keyword ``limit``, which editors and
type checkers know, with its default and its check (``base.validation.checked_arguments``). A TOML
file has the key (``base.validation.table_with_options``), a page the input
(``ui.session.option_input``), and docs the row.

The record is no class of pydantic, which takes as long to import as the command line takes to print
its help; pydantic checks its values later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

Record = TypeVar("Record")


class Option(NamedTuple):
    """How a field is written where its name and type do not say it.

    ``meaning`` explains it on the command line and in docs. There its flag is ``flag``, by default
    the name of the field, ``metavar`` stands for its value, and ``read`` makes the value of a text;
    it raises ``ParameterError``. A page has an input if there is a ``label``: with ``help``,
    ``choices`` for the values of a ``Literal``, and ``blank`` instead of no value. It shows a
    number ``scale`` times as large, from ``least`` to ``most``. ``key`` names it in links, by
    default as the field.
    """

    default: Any
    meaning: str
    metavar: str | None = None
    flag: str = ""
    read: Callable[[str], Any] | None = None
    choices: Mapping[str, str] | None = None
    label: str = ""
    key: str = ""
    help: str | None = None
    blank: str | None = None
    least: int | None = None
    most: float | None = None
    scale: float = 1.0


class Field(NamedTuple):
    """An option with its name and the type of its value."""

    name: str
    kind: Any
    option: Option

    @property
    def flag(self) -> str:
        return self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        return self.option.key or self.name


@cache
def fields_of(record: type) -> Mapping[str, Field]:
    """The fields of a record of options by name, in order."""
    fields = {}
    for name, hint in get_type_hints(record, include_extras=True).items():
        kind, option = get_args(hint)
        fields[name] = Field(name, kind, option)
    return fields


def options_of(record: Callable[..., Record], given: Mapping[str, object]) -> Record:
    """The options of ``record``: those that are ``given``, the others with their defaults."""
    values: Any = {}
    for field in fields_of(record).values():
        values[field.name] = given.get(field.name, field.option.default)
    return values


def changed(record: type, given: Mapping[str, object]) -> list[str]:
    """The names of the options of ``record`` that are ``given`` and not their defaults."""
    names = []
    for field in fields_of(record).values():
        value = given.get(field.name, field.option.default)
        if isinstance(value, list):
            value = tuple(value)
        if value != field.option.default:
            names.append(field.name)
    return names
