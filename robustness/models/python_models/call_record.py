"""How a model is called through Python, and the limits of its calls."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

FUNCTION = "function"


@dataclass(frozen=True)
class CallOptions:
    """How a function may be called.

    ``batch`` is the largest number of images in one call, ``timeout`` the seconds for one call. A
    new ``version`` marks a changed model behind the same code.
    """

    batch: int = 16
    timeout: float = 60.0
    version: str = ""


CALL_KEYS = tuple(option.name for option in fields(CallOptions))


@dataclass(frozen=True)
class PythonCall:
    """How a model is called through Python.

    ``reference`` is ``module:name``, which is imported, from ``folder`` if need be, when the model
    is loaded; it is empty for an object of this process, which ``ask`` calls. ``limit`` says why
    its graph cannot be had, as a clause.
    """

    reference: str = ""
    folder: Path = Path()
    ask: Any = field(default=None, compare=False)
    limit: str = "a function shows no graph"
    options: CallOptions = CallOptions()
