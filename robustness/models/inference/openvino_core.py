"""OpenVINO's runtime, imported when the first model needs it."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

_WHERE = (
    "Check ",
    "Converting ",
    "Exception from ",
    "FrontEnd API failed",
    "Loading input model",
)


_first = threading.Lock()


def core() -> Any:
    """OpenVINO's core, one for this process."""
    with _first:
        return _core()


@cache
def _core() -> Any:
    import openvino

    # OpenVINO 2026.4 fills a table in the first of these calls and lets go of the GIL meanwhile. A
    # second thread that enters it then waits for the table with the GIL: the process stands still.
    openvino.Type.f32.to_dtype()
    return openvino.Core()


def first_line(error: Exception) -> str:
    """The line of an OpenVINO error that says what is wrong.

    OpenVINO puts source locations first and lists missing operations with dashes.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(_WHERE)]
    listed = [line.removeprefix("-- ") for line in told if line.startswith("-- ")]
    found = (listed[-1:] or told or [type(error).__name__])[0][:200]
    return found.replace("std::bad_alloc", "out of memory")
