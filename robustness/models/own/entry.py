"""Add descriptions of models to the user's TOML file, and remove them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robustness.base.disk import alone, read_regular, write_whole
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.text import did_you_mean
from robustness.base.toml import MAX_BYTES, toml_of
from robustness.models.own import package, user_models

_HEADER = re.compile(r"\s*\[+\s*(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([A-Za-z0-9_-]+))\s*[\].]")


def entry_text(name: str, values: Mapping[str, Any]) -> str:
    """The table of the model ``name`` as TOML."""
    header = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else as_toml(name)
    return f"[{header}]\n" + "".join(f"{key} = {as_toml(value)}\n" for key, value in values.items())


def as_toml(value: Any) -> str:
    """``value`` as TOML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def check(name: str, values: Mapping[str, Any]) -> None:
    """Raise ``ParameterError`` unless ``values`` can describe a new model called ``name``."""
    if "function" in values:
        raise ParameterError(f"A function is code: describe {name!r} by hand in models.toml.")
    file = user_models.described_in()
    tables = _tables(file, _text(file))
    if name in tables:
        raise ParameterError(
            f"{file} describes a model called {name!r} already: choose another name, or run "
            f"'python -m robustness models remove {name}' first."
        )
    user_models.records_of(file, {**tables, name: dict(values)})


def add(
    name: str, values: Mapping[str, Any], write_files: Callable[[], Mapping[str, Any]] = dict
) -> Path:
    """Write the model ``name`` to the user's file, register it, and return the file.

    ``write_files`` writes the model's own files, once nothing else is wrong, and returns the values
    that name them. Raises what ``check`` raises, and ``ParameterError`` where it cannot be written.
    """
    file = user_models.described_in()
    with _locked(file) as text:
        check(name, values)
        text += "" if not text else "\n" if text.endswith("\n") else "\n\n"
        _tables(file, text + entry_text(name, values))  # it can be read again
        _write(file, text + entry_text(name, {**values, **write_files()}))
    user_models.refresh()
    return file


def remove(name: str) -> Path:
    """Remove the model ``name`` from the user's file and the registry; return the file.

    With it go the files that adding it wrote; its model file stays, unless that was uploaded or
    unpacked. Raises ``UnknownNameError`` where there is no such model, and ``ParameterError`` where
    its table cannot be told from the others.
    """
    file = user_models.described_in()
    with _locked(file) as text:
        tables = _tables(file, text)
        if name not in tables:
            hint = did_you_mean(name, tables) if tables else ""
            raise UnknownNameError(f"{file} describes no model called {name!r}. {hint}".strip())
        others = {key: table for key, table in tables.items() if key != name}
        rest = _without(name, text)
        if _tables(file, rest) != others:
            raise ParameterError(
                f"The lines of {name!r} in {file} cannot be told from the others: take them out by "
                "hand."
            )
        _write(file, rest)
        _remove_files(file, name, tables)
    user_models.refresh()
    return file


def _without(name: str, text: str) -> str:
    """``text`` without the lines of the table ``name``."""
    kept, mine = [], False
    for line in text.splitlines(keepends=True):
        if found := _HEADER.match(line):
            mine = _key(found) == name
        if not mine:
            kept.append(line)
    return "".join(kept)


def _remove_files(file: Path, name: str, tables: Mapping[str, Any]) -> None:
    """Remove the files that adding the model ``name`` wrote, unless another model uses them."""
    if not user_models.NAME.fullmatch(name):  # it may lead out of the folder
        return
    package.discard(name)
    named = {key: table.get("labels") for key, table in tables.items() if isinstance(table, dict)}
    labels = file.parent / package.label_file(name)
    users = [key for key, path in named.items() if path and file.parent / path == labels]
    if users == [name] and named[name] == labels.name:
        labels.unlink(missing_ok=True)


def _key(match: re.Match[str]) -> str:
    quoted, literal, bare = match.groups()
    return str(json.loads(f'"{quoted}"')) if quoted is not None else literal or bare or ""


@contextmanager
def _locked(file: Path) -> Iterator[str]:
    """The text of ``file``, which no other process changes meanwhile."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with alone(file):
            yield _text(file)
    except OSError as error:
        raise ParameterError(f"{file} cannot be written: {error.strerror}.") from error


def _write(file: Path, text: str) -> None:
    write_whole(file.resolve(), text.encode())


def _text(file: Path) -> str:
    try:
        return read_regular(file, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ParameterError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ParameterError(f"{file} cannot be read as text in UTF-8.") from error


def _tables(file: Path, text: str) -> dict[str, Any]:
    return toml_of(text.encode(), str(file))
