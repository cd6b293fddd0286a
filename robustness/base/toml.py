"""The reader of TOML, which may be hostile; contents of files are cached until these change."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from robustness.base.errors import ParameterError
from robustness.base.files import Version, read_regular, reading, version

MAX_BYTES = 64 * 1024
_MAX_DEPTH = 16
_TOO_DEEP = f"it is nested more than {_MAX_DEPTH} deep"
_TOO_LARGE = "it has an integer of more than 64 bits"
_STRINGS = (
    r'"""(?:[^\\]|\\.)*?(?:"{3,5}|\\?\Z)',
    r"'''.*?(?:'{3,5}|\Z)",
    r'"(?:[^"\\\n]|\\.)*"?',
    r"'[^'\n]*'?",
)
"""As patterns; an open one ends with its line or the text, so that each character is met once."""
_STRING_OR_COMMENT = re.compile("|".join([*_STRINGS, r"#[^\n]*"]), re.DOTALL)
_AROUND_KEYS = re.compile(r"[\n=,{}\[\]]")


def read_toml(file: Path) -> Mapping[str, Any]:
    """The content of ``file``; raises ``ParameterError`` if it cannot be read or is not TOML."""
    with reading(str(file)):
        return _read(file, version(file))


@lru_cache(maxsize=16)
def _read(file: Path, _version: Version) -> Mapping[str, Any]:
    return parse_toml(read_regular(file, MAX_BYTES), str(file))


def parse_toml(data: bytes, name: str) -> dict[str, Any]:
    """The content of ``data``, which errors call ``name``.

    Raises ``ParameterError`` for more than ``MAX_BYTES``, and for what is not TOML or beyond what
    it needs: ``tomllib`` takes minutes for a key of 60,000 parts.
    """
    if len(data) > MAX_BYTES:
        raise ParameterError(
            f"{name} is too large: expected at most {MAX_BYTES:,} bytes, got {len(data):,}."
        )
    try:
        # Some editors start a file with a byte order mark.
        return _parsed(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except RecursionError:
        reason = _TOO_DEEP
    except ValueError:  # of Python, for integers of thousands of digits
        reason = _TOO_LARGE
    raise ParameterError(f"{name} is not valid TOML: {reason}.")


def _parsed(text: str) -> dict[str, Any]:
    parts = _AROUND_KEYS.split(_STRING_OR_COMMENT.sub("_", text))
    if max(part.count(".") for part in parts) >= _MAX_DEPTH:
        raise RecursionError
    values = tomllib.loads(text)
    level: list[Any] = [values]
    for _ in range(_MAX_DEPTH):  # inline tables add to the depth of keys
        inner_level: list[Any] = []
        for value in level:
            if isinstance(value, int) and value.bit_length() > 63:
                raise ValueError
            inner_level.extend(_within(value))
        level = inner_level
    if level:
        raise RecursionError
    return values


def _within(value: Any) -> Iterable[Any]:
    """The values of a table or a list; none of another value."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    return ()
