"""Inspect a model file in a separate process, which ends when the caller stops waiting."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustness.base import processes
from robustness.base.errors import ParameterError
from robustness.models.own.entry import as_toml
from robustness.models.own.proposal import Proposal
from robustness.models.own.user_models import size_text

_POLL_SECONDS = 0.1
_MOST_BYTES = 2**20
_ERROR = "robustness: "
_STEP = " ..."


def propose_apart(
    path: Path,
    given: Mapping[str, Any],
    *,
    name: str,
    images: Path | None,
    said: Callable[[str], None],
) -> Proposal:
    """The result of ``models add --dry-run`` for the file, folder or archive ``path``.

    TensorFlow and the file stay out of the calling process. ``said`` is called every moment with
    the current step; an exception from it ends the process. Raises ``ParameterError`` with the
    reason if the file cannot be used.
    """
    arguments = ["models", "add", str(path.resolve()), "--dry-run", "--json", f"--name={name}"]
    arguments += [f"--{key.replace('_', '-')}={_option(value)}" for key, value in given.items()]
    arguments += [f"--images={images.resolve()}"] if images else []
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = processes.start(arguments, output=output, errors=errors, leads=True)
        try:
            while process.poll() is None:
                lines = [line for line in _lines(errors) if line.endswith(_STEP)]
                said(lines[-1].removesuffix(_STEP) if lines else "starting")
                time.sleep(_POLL_SECONDS)
        finally:
            with suppress(ProcessLookupError):  # with the process that examines the file
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode == 0:
            output.seek(0)
            return Proposal.of(json.loads(output.read()))
        said_last = [line for line in _lines(errors) if line.startswith(_ERROR)]
    reason = said_last[-1].removeprefix(_ERROR) if said_last else "its process died."
    raise ParameterError(reason)


def _option(value: Any) -> str:
    if isinstance(value, list):
        return size_text(value)
    return as_toml(value) if isinstance(value, Mapping) else str(value)


def _lines(file: Any) -> list[str]:
    # pread keeps the position, where the process writes.
    return os.pread(file.fileno(), _MOST_BYTES, 0).decode(errors="replace").splitlines()
