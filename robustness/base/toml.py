"""The reader of TOML files; contents are cached until the file changes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from robustness.base.disk import Version, read_regular, version
from robustness.base.errors import ParameterError

MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 32
_TOO_DEEP = f"it is nested more than {_MAX_DEPTH} deep"


def read_toml(file: Path) -> Mapping[str, Any]:
    """The content of ``file``; raises ``ParameterError`` if it cannot be read or is not TOML."""
    try:
        return _read(file, version(file))
    except OSError as error:
        raise ParameterError(f"{file} cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=16)
def _read(file: Path, _version: Version) -> Mapping[str, Any]:
    return toml_of(read_regular(file, MAX_BYTES), str(file))


def toml_of(data: bytes, name: str) -> Mapping[str, Any]:
    """The content of the file ``name`` with the bytes ``data``.

    Raises ``ParameterError`` for more than ``MAX_BYTES`` and for what is not TOML.
    """
    if len(data) > MAX_BYTES:
        raise ParameterError(
            f"{name} is too large: expected at most {MAX_BYTES:,} bytes, got {len(data):,}."
        )
    reason = ""
    try:
        # Some editors start a file with a byte order mark.
        values = tomllib.loads(data.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except RecursionError:
        reason = _TOO_DEEP
    else:
        level: list[Any] = [values]
        for _ in range(_MAX_DEPTH):  # dotted keys nest without recursion
            level = [inner for outer in level for inner in _within(outer)]
        if not level:
            return values
        reason = _TOO_DEEP
    raise ParameterError(f"{name} is not a TOML file: {reason}.")


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
