"""The one reader of TOML files, whose content is kept until the file changes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from robustness.base.disk import Version, version
from robustness.base.errors import ParameterError
from robustness.base.text import did_you_mean


def read_toml(file: Path) -> Mapping[str, Any]:
    """The content of ``file``; raises ``ParameterError`` where it cannot be read or is not TOML."""
    try:
        return _read(file, version(file))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise ParameterError(f"{file} is not a TOML file: {reason}.") from error
    except OSError as error:
        raise ParameterError(f"{file} cannot be read: {error.strerror}.") from error


def check_words(file: Path, table: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises ``ParameterError`` for a word in ``table`` of ``file`` that is not ``known``."""
    for word in table:
        if word not in known:
            raise ParameterError(f"{file}: there is no {word!r}. {did_you_mean(word, known)}.")


@lru_cache(maxsize=16)
def _read(file: Path, _version: Version) -> Mapping[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8-sig"))  # some editors write a mark
