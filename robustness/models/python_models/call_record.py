"""How a model is called through Python, and the limits of its calls."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

FUNCTION = "function"


@dataclass(frozen=True)
class CallOptions:
    """How a function may be called.

    ``batch`` is the largest number of images in one call, ``concurrency`` the largest number of
    calls at a time, ``retries`` how often a failed call is repeated (after 0.5, 1, 2 ... seconds),
    ``timeout`` the seconds for one call, and ``per_second`` the largest number of calls begun in a
    second. With ``cache`` the model is asked about an image once. A new ``version`` marks a changed
    model behind the same code.
    """

    batch: int = 16
    concurrency: int = 1
    retries: int = 0
    timeout: float = 60.0
    per_second: float | None = None
    cache: bool = True
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
