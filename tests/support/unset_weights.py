"""Networks without weights, for tests that count them or read them from a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from robustness.models.runtime import keras


@contextmanager
def unset_weights() -> Iterator[None]:
    """What Keras builds within begins with zeros: random numbers take a third of its time."""

    def zeros(shape: Any, *_: Any, dtype: Any = None, **_named: Any) -> Any:
        return keras().ops.zeros(shape, dtype or "float32")

    keras()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("normal", "truncated_normal", "uniform"):
            patch.setattr(f"keras.src.backend.random.{name}", zeros)
        yield
