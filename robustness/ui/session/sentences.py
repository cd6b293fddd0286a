"""What a page says of an error: its sentence, which tells nobody how this server is laid out."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from robustness.base import settings
from robustness.base.errors import ParameterError, RobustnessError

_FOLDERS = re.compile(r"(?<![\w.~:/<])(?:/[^\s/'\"`,;:()]+)+/")
"""The folders of an absolute path up to its last part, and none of an address or a fraction."""


def sentence(error: RobustnessError) -> str:
    """The sentence of ``error``, every absolute path in it by its last part alone."""
    return without_folders(str(error))


def without_folders(text: str) -> str:
    """``text``, every absolute path in it by its last part alone."""
    for root in _roots():  # those may have spaces in their names
        text = text.replace(f"{root}{os.sep}", "")
    return _FOLDERS.sub("", text)


def _roots() -> list[Path]:
    """The folders that the operator named, the working folder and the home folder."""
    found = {Path.cwd(), Path.home()}
    with suppress(ParameterError):  # it is the settings that the sentence may be about
        named = [settings.value(record) for record in settings.REGISTRY if record.is_path]
        found |= {each for path in named if path is not None for each in (path, path.parent)}
    return sorted(found - {Path("/")}, key=lambda path: -len(str(path)))
