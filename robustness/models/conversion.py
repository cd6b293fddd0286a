"""Weights of the offline models as arrays by Keras layer, converted once and kept in the cache."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.record import LayerWeights, ModelRecord, PackagedFile
from robustness.models.weights import product_cache, require, verified_bytes

_VERSION = 1  # raise it when a converter changes what it writes


def layer_weights(record: ModelRecord, file: PackagedFile) -> LayerWeights:
    """The weights of ``record`` by layer name.

    The package's file is verified first, every time; its conversion is read from the cache where
    it is whole, otherwise made again. Raises ``WeightsError`` if the file is missing or damaged.
    """
    path = require(record)
    cached = converted_path(record.name, file)
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return _read(cached)  # the zip's checksums catch a damaged copy
    weights = file.read(verified_bytes(file, path))
    with contextlib.suppress(OSError):  # a read-only cache costs a conversion a start, no more
        _write(cached, weights)
    return weights


def converted_path(name: str, file: PackagedFile) -> Path:
    """Where the conversion of ``file`` for the model ``name`` is cached."""
    return product_cache() / "converted" / f"{name}-{file.sha256[:16]}-v{_VERSION}.npz"


def _read(path: Path) -> LayerWeights:
    result: dict[str, list[NDArray[Any]]] = {}
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            layer, _, _position = key.rpartition("|")
            result.setdefault(layer, []).append(stored[key])
    if not result:
        raise ValueError("no weights in the cached conversion")
    return result


def _write(path: Path, weights: LayerWeights) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{layer}|{position}": array
        for layer, group in weights.items()
        for position, array in enumerate(group)
    }
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
