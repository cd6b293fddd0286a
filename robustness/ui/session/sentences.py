"""Error sentences for pages, without the server's folders."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from robustness.base import settings
from robustness.base.errors import ParameterError, RobustnessError
from robustness.runs import UPLOADS

_FOLDERS = re.compile(r"(?<![\w.~:/<])(?:/[^\s/'\"`,;:()]+)+/")
"""The folders of an absolute path, but not parts of a web address or a fraction."""

_OF_AN_UPLOAD = re.compile(rf"{re.escape(UPLOADS)}/[0-9a-f]+/")
"""The folder of an upload in that of runs."""


def sentence(error: RobustnessError) -> str:
    """The sentence of ``error`` with each absolute path cut to its last part."""
    return without_folders(str(error))


def without_folders(text: str) -> str:
    """``text`` with each absolute path, and that of an upload, cut to its last part."""
    for root in _roots():  # their names may contain spaces
        text = text.replace(f"{root}{os.sep}", "")
    return _FOLDERS.sub("", _OF_AN_UPLOAD.sub("", text))


def _roots() -> list[Path]:
    """The folders named in settings, the working folder and the home folder."""
    roots = {Path.cwd(), Path.home()}
    with suppress(ParameterError):  # the sentence may be about the settings
        named = [settings.value(record) for record in settings.REGISTRY if record.is_path]
        roots |= {folder for path in named if path is not None for folder in (path, path.parent)}
    return sorted(roots - {Path("/")}, key=lambda path: -len(str(path)))
