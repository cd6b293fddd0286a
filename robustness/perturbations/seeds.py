"""The seed of a run, checked."""

from __future__ import annotations

from robustness.base.errors import ParameterError

MAX_SEED = 2**32 - 1


def check_seed(seed: int) -> int:
    """``seed`` itself; raises ``ParameterError`` unless it lies in [0, 2**32 - 1]."""
    if not 0 <= seed <= MAX_SEED:
        raise ParameterError(f"A seed must be a whole number from 0 to {MAX_SEED}, got {seed}.")
    return seed
