"""A model in Python that can be asked, with what it tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robustness.models.model_record import Normalisation
from robustness.models.python_models.calls import Ask

Export = Callable[[Path, tuple[int, int]], Path]
"""Writes the model to a folder, for images of a height and width, and returns its file."""


@dataclass(frozen=True)
class LiveModel:
    """A model in Python. What it does not tell is empty or None.

    ``shape`` is the height and width of its input.
    ``ask`` maps normalised pixels (N, H, W, 3) to answers (N, classes). ``export`` is None for a
    model whose graph cannot be had; ``limit`` then says why, as a clause. ``content`` is the digest
    of what is exported, for a format whose files hold the time as well. ``output`` is "logits"
    where the format says so.
    """

    kind: str
    ask: Ask
    labels: tuple[str, ...] = ()
    shape: tuple[int, int] | None = None
    normalisation: Normalisation | None = None
    output: str | None = None
    export: Export | None = None
    content: Callable[[], str] | None = None
    limit: str = "a function shows no graph"
