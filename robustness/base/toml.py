"""The one reader of TOML files, whose content is kept until the file changes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from robustness.base.disk import Version, version
from robustness.base.errors import ParameterError


def read_toml(file: Path) -> Mapping[str, Any]:
    """The content of ``file``; raises ``ParameterError`` where it cannot be read or is not TOML."""
    try:
        return _read(file, version(file))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise ParameterError(f"{file} is not a TOML file: {reason}.") from error
    except OSError as error:
        raise ParameterError(f"{file} cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=16)
def _read(file: Path, _version: Version) -> Mapping[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8-sig"))  # some editors write a mark
