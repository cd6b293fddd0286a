"""The audit log: who did what to which run when, as lines of JSON beside the runs.

It holds no secret and no image. When it has grown to ``MOST_BYTES`` it becomes ``.audit.1.jsonl``
and so on, and the oldest of ``MOST_FILES`` goes.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from robustness.base.files import file_lock

FILE = ".audit.jsonl"
MOST_BYTES = 1024 * 1024
MOST_FILES = 10

_MAX_LENGTH = 200


def note(runs: Path, *, who: str, role: str, action: str, thing: str, allowed: bool) -> None:
    """Add a line to the log in the folder ``runs``; where it cannot, the server's log says so.

    Characters that cannot be seen are escaped, and no text is longer than 200.
    """
    line = {
        "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "who": who[:_MAX_LENGTH],
        "role": role,
        "action": action,
        "thing": thing[:_MAX_LENGTH],
        "allowed": allowed,
    }
    data = (json.dumps(line, ensure_ascii=True) + "\n").encode()
    path = runs / FILE
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with file_lock(path):
            if path.exists() and path.stat().st_size >= MOST_BYTES:
                _rotate(runs)
            with path.open("ab") as file:
                file.write(data)
    except OSError as error:
        logging.getLogger(__name__).warning(
            "The audit log %s cannot be written: %s; it lacks %s", path, error.strerror, line
        )


def _rotate(runs: Path) -> None:
    """Give each file of the log in ``runs`` the name of the next older one; the oldest goes."""
    paths = [runs / FILE]
    for number in range(1, MOST_FILES):
        paths.append(runs / f".audit.{number}.jsonl")
    for newer, older in reversed(list(pairwise(paths))):
        if newer.exists():
            os.replace(newer, older)
