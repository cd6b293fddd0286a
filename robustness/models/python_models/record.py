"""The record of a model called through Python, and the limits of its calls."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from robustness.models.model_record import UserFile

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
class PythonModel(UserFile):
    """A model called through Python.

    ``path`` is the file with its source. ``reference`` is ``module:name``, which is imported, from
    ``folder`` if need be, when the model is loaded; it is empty for an object of this process,
    which ``ask`` calls. ``limit`` says why its graph cannot be had, as a clause.
    """

    kind: str = FUNCTION
    reference: str = ""
    folder: Path = Path()
    ask: Any = field(default=None, compare=False)
    limit: str = "a function shows no graph"
    calls: CallOptions = CallOptions()

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return self.reference or f"a {self.kind} of this process"

    @property
    def variant(self) -> str:
        return f"{self.kind} {self.reference} {self.calls.version}"
