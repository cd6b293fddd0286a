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


def read_toml(file: Path) -> Mapping[str, Any]:
    """The content of ``file``; raises ``ParameterError`` if it cannot be read or is not TOML."""
    try:
        return _read(file, version(file))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        if isinstance(error, RecursionError):
            reason = f"it is nested more than {_MAX_DEPTH} deep"
        raise ParameterError(f"{file} is not a TOML file: {reason}.") from error
    except OSError as error:
        raise ParameterError(f"{file} cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=16)
def _read(file: Path, _version: Version) -> Mapping[str, Any]:
    # Some editors start a file with a byte order mark.
    values = tomllib.loads(read_regular(file, MAX_BYTES).decode("utf-8-sig"))
    level: list[Any] = [values]
    for _ in range(_MAX_DEPTH):  # dotted keys nest without recursion
        level = [inner for outer in level for inner in _within(outer)]
    if level:
        raise RecursionError
    return values


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
