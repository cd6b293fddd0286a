"""Networks without weights, or with quick ones, for tests that have no use for slow ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from robustness.models.frameworks import keras


@contextmanager
def unset_weights() -> Iterator[None]:
    """Make Keras build networks of zeros: random numbers take a third of its time."""

    def zeros(shape: Any, *_: Any, dtype: Any = None, **_named: Any) -> Any:
        return keras().ops.zeros(shape, dtype or "float32")

    with _beginning_with(normal=zeros, truncated_normal=zeros, uniform=zeros):
        yield


@contextmanager
def recycled_weights() -> Iterator[None]:
    """What Keras builds within begins with the same million random numbers, from another one on
    each time: of VGG16's 138 million it would take seconds to draw each."""
    rng = np.random.default_rng(5)
    drawn = rng.standard_normal(2**20 + 7, np.float32)

    def normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, **_named: Any) -> Any:
        begin, size = rng.integers(drawn.size // 2), int(np.prod(shape))
        numbers = drawn[begin : begin + size] * np.float32(stddev) + np.float32(mean)
        ops = keras().ops
        return ops.reshape(ops.tile(numbers, -(-size // numbers.size))[:size], shape)

    def uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, **_named: Any) -> Any:
        return normal(shape, (minval + maxval) / 2, (maxval - minval) / 12**0.5)

    with _beginning_with(normal=normal, truncated_normal=normal, uniform=uniform):
        yield


@contextmanager
def _beginning_with(**initial: Any) -> Iterator[None]:
    keras()
    with pytest.MonkeyPatch.context() as patch:
        for name, values in initial.items():
            patch.setattr(f"keras.src.backend.random.{name}", values)
        yield
