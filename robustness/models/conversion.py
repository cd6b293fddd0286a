"""Weights of the offline models as arrays by Keras layer, converted once and kept in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.disk import write_whole
from robustness.models.fetching.places import product_cache
from robustness.models.model_record import LayerWeights, ModelRecord, PackagedFile
from robustness.models.weights import require, verified_bytes

_VERSION = 2  # raise it when a converter changes what it writes
_DIGEST_BYTES = 32


def layer_weights(record: ModelRecord, file: PackagedFile) -> LayerWeights:
    """The weights of ``record`` by layer name.

    The package's file is verified first, every time; its conversion is read from the cache where
    it is whole, otherwise made again. Raises ``WeightsError`` if the file is missing or damaged.
    """
    path = require(record)
    cached = converted_path(record.name, file)
    with contextlib.suppress(OSError, ValueError):
        return _read(cached)
    weights = file.read(verified_bytes(file, path))
    with contextlib.suppress(OSError):  # a read-only cache costs a conversion a start, no more
        _write(cached, weights)
    return weights


def converted_path(name: str, file: PackagedFile) -> Path:
    """Where the conversion of ``file`` for the model ``name`` is cached."""
    return product_cache() / "converted" / f"{name}-{file.sha256[:16]}-v{_VERSION}.bin"


def _read(path: Path) -> LayerWeights:
    """The arrays in ``path``: an ``.npz`` after its SHA-256, as its own checksums miss headers."""
    data = path.read_bytes()
    digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("the cached conversion is damaged")
    result: dict[str, list[NDArray[Any]]] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        for key in stored.files:
            layer, _, _position = key.rpartition("|")
            result.setdefault(layer, []).append(stored[key])
    return result


def _write(path: Path, weights: LayerWeights) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{layer}|{position}": array
        for layer, group in weights.items()
        for position, array in enumerate(group)
    }
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    data = content.getvalue()
    write_whole(path, hashlib.sha256(data).digest() + data)
