"""Add entries of models to the user's TOML file with the models' files, and remove them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.files_and_locks import file_lock, read_regular, stored_bytes, write_whole
from robustness.base.text import did_you_mean
from robustness.base.untrusted_toml import MAX_BYTES, parse_toml
from robustness.models.own import registration_and_schema

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


STORE = "added-models"
"""The folder beside the file of entries that holds uploaded models."""


def label_file(name: str) -> str:
    """The name of the file, beside the entries, for the classes of the model ``name``."""
    return f"{name}.labels.txt"


def lines(names: Sequence[str]) -> bytes:
    """The content of a file with these classes."""
    return ("\n".join(names) + "\n").encode()


def relative(path: Path) -> str:
    """``path`` for an entry: relative if it is below the folder of the file of entries."""
    folder = registration_and_schema.described_in().parent.resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def check(name: str, values: Mapping[str, Any]) -> None:
    """Raise ``ParameterError`` unless ``values`` can describe a new model called ``name``."""
    if "function" in values:
        raise ParameterError(f"A function is code: describe {name!r} by hand in models.toml.")
    file = registration_and_schema.described_in()
    tables = _tables(file, _text(file))
    if name in tables:
        raise ParameterError(
            f"{file} already describes a model called {name!r}: choose another name, or run "
            f"'python -m robustness models remove {name}' first."
        )
    registration_and_schema.records_of(file, {**tables, name: dict(values)})


def add(
    name: str, values: Mapping[str, Any], classes: Sequence[str] = (), folder: Path | None = None
) -> Path:
    """Write the model ``name`` to the user's file, register it, and return the file.

    Its ``classes``, if any, go into the file of ``labels``; a temporary ``folder`` with the model
    is copied to stay. Raises what ``check`` raises, and ``ParameterError`` where it cannot be
    written.
    """
    file = registration_and_schema.described_in()
    with _locked(file) as text:
        check(name, values)
        if text:
            text += "\n" if text.endswith("\n") else "\n\n"
        _tables(file, text + entry_text(name, values))  # it can be read again
        labels, content = file.parent / values.get("labels", ""), lines(classes)
        if (classes and labels.exists()) and (
            stored_bytes(labels) != len(content) or labels.read_bytes() != content
        ):
            raise ParameterError(
                f"Expected no file {labels}, got one with other classes: remove it, or choose "
                "another name."
            )
        if folder is not None:
            _copy(folder, _store(name))
            values = {**values, "path": relative(_store(name) / Path(values["path"]).name)}
        if classes:
            write_whole(labels, content)
        write_whole(file.resolve(), (text + entry_text(name, values)).encode())
    registration_and_schema.refresh()
    return file


def _store(name: str) -> Path:
    return registration_and_schema.described_in().parent / STORE / name


def _copy(folder: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)  # what an interruption left there
    try:
        shutil.copytree(folder, target)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        first = error.strerror or error.args[0][0][-1]  # of the files in a shutil.Error
        reason, _, _ = first.partition(": ")
        raise ParameterError(
            f"The model cannot be written to {target}: {reason}. Make room, then try again."
        ) from error


def remove(name: str) -> Path:
    """Remove the model ``name`` from the user's file and the registry; return the file.

    With it go the files that adding it wrote; its model file stays, unless that was uploaded.
    Raises ``UnknownNameError`` where there is no such model, and ``ParameterError`` for
    the base of another or where its table cannot be told from the others.
    """
    file = registration_and_schema.described_in()
    with _locked(file) as text:
        tables = _tables(file, text)
        if name not in tables:
            hint = did_you_mean(name, tables) if tables else ""
            raise UnknownNameError(f"{file} describes no model called {name!r}. {hint}".strip())
        bases = {k: table.get("of") for k, table in tables.items() if isinstance(table, dict)}
        registration_and_schema.check_no_base(name, bases)
        others = {key: table for key, table in tables.items() if key != name}
        rest = _without(name, text)
        if _tables(file, rest) != others:
            raise ParameterError(
                f"The lines of {name!r} in {file} cannot be separated from the others: remove them "
                "by hand."
            )
        write_whole(file.resolve(), rest.encode())
        if registration_and_schema.NAME.fullmatch(name):  # another may lead out of the folder
            shutil.rmtree(_store(name), ignore_errors=True)
            labels = file.parent / label_file(name)
            named = {k: t.get("labels") for k, t in tables.items() if isinstance(t, dict)}
            users = [key for key, path in named.items() if path and file.parent / path == labels]
            if users == [name] and named[name] == labels.name:
                labels.unlink(missing_ok=True)
    registration_and_schema.refresh()
    return file


def _without(name: str, text: str) -> str:
    """``text`` without the lines of the table ``name``."""
    rest, mine = [], False
    for line in text.splitlines(keepends=True):
        if header := _HEADER.match(line):
            quoted, literal, bare = header.groups()
            mine = name == (json.loads(f'"{quoted}"') if quoted is not None else literal or bare)
        if not mine:
            rest.append(line)
    return "".join(rest)


@contextmanager
def _locked(file: Path) -> Iterator[str]:
    """The text of ``file``, locked against changes by other processes."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(file):
            yield _text(file)
    except OSError as error:
        raise ParameterError(f"{file} cannot be written: {error.strerror}.") from error


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
    return parse_toml(text.encode(), str(file))
