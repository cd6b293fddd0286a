"""Notice a model whose answers change from call to call, or with what else is in a batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from robustness.base.errors import ModelWarning
from robustness.models.python_models.calls import Ask, Caller, Floats
from robustness.models.python_models.record import CallOptions

_STEADY = 0.01
"""Accepted difference between answers to one image, as a share of the largest value; float16 on a
graphics card stays below it."""


def warn_if_unsteady(
    name: str,
    ask: Ask,
    calls: CallOptions,
    check: Callable[[Floats, int], str],
    pixels: Floats,
    answers: Floats,
) -> None:
    """Warn if ``ask`` answers each image of ``pixels`` alone otherwise than in ``answers``.

    These are its answers (N, classes) in one batch; ``check`` is that of ``Caller``.
    """
    caller = Caller(ask, replace(calls, batch=1, cache=False), check)
    keys = [str(place) for place in range(len(pixels))]

    def alone() -> list[Floats | str]:
        return caller.answers(keys, lambda places: pixels[places])

    def differ(first_answers: list[Floats | str], others: list[Floats | str]) -> float:
        pairs = [
            pair for pair in zip(first_answers, others, strict=True) if str not in map(type, pair)
        ]
        most = max((np.abs(np.subtract(*pair)).max() for pair in pairs), default=0.0)
        return float(most / max(np.abs(answers).max(), 1e-12))

    first = alone()
    if failed := next((answer for answer in first if isinstance(answer, str)), ""):
        said = f"gives no answer to one image alone ({failed}), but calls may hold one image"
    elif (change := differ(first, [*answers])) <= _STEADY:
        return
    elif (again := differ(first, alone())) > _STEADY:
        said = (
            f"is random: its answer to the same image changes by up to {again:.0%} of the largest "
            "value from call to call. Turn off dropout and random augmentation"
        )
    else:
        said = (
            f"answers an image alone otherwise than in a batch, by up to {change:.0%} of the "
            "largest value. Use the evaluation mode of its batch normalisation, or say batch=1"
        )
    warnings.warn(f"{name} {said}.", ModelWarning, stacklevel=6)
