"""OpenVINO's runtime, imported late: when the first model needs it."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def core() -> Any:
    """The one of this process."""
    import openvino

    return openvino.Core()
