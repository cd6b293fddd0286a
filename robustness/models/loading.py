"""From a record to a Keras model with its verified weights, ready to be compiled into one pass."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.disk import write_whole
from robustness.base.errors import WeightsError
from robustness.models.fetching.places import product_cache
from robustness.models.model_record import (
    LayerWeights,
    ModelRecord,
    PackagedFile,
    Preset,
    Stages,
    UserFile,
)
from robustness.models.user_network import open_user_network
from robustness.models.weights import mark_unusable, require, verified_bytes

_VERSION = 2  # raise it when a converter of packaged weights changes what it writes
_DIGEST_BYTES = 32


def load_network(record: ModelRecord) -> tuple[Any, Stages]:
    """The functional Keras model of ``record`` with its weights, and its feature stages.

    Raises ``WeightsError`` when they are missing, damaged or do not fit.
    """
    path = require(record)  # before the seconds that TensorFlow takes to import
    weights = record.weights
    if isinstance(weights, UserFile):
        try:
            return open_user_network(record, weights)
        except WeightsError as error:
            problem = f"{record.name}: {error}"
            mark_unusable(record, problem)
            raise WeightsError(problem) from error
    network = record.build()
    if isinstance(weights, PackagedFile):
        by_layer = layer_weights(record, weights)
        for layer in network.layers:
            if layer.weights:
                layer.set_weights(by_layer[layer.name])
    elif isinstance(weights, Preset):
        _fill(record, path, lambda: weights.load(network, path))
        network = weights.rewire(network)
    else:
        _fill(record, path, lambda: network.load_weights(str(path)))
    return network, record.stages


def _fill(record: ModelRecord, path: Path, load: Callable[[], None]) -> None:
    try:
        load()
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(
            f"The weight file {path} does not fit {record.name} ({type(error).__name__}): "
            "delete it and download it again."
        ) from error


# --- packaged weights, converted once and kept in the cache ---------------------------------------


def layer_weights(record: ModelRecord, file: PackagedFile) -> LayerWeights:
    """The weights of ``record`` by layer name.

    The package's file is verified first, every time; its conversion is read from the cache where
    it is whole, otherwise made again. Raises ``WeightsError`` if the file is missing or damaged.
    """
    path = require(record)
    cached = converted_path(record.name, file)
    with contextlib.suppress(OSError, ValueError):
        return _read_converted(cached)
    weights = file.read(verified_bytes(file, path))
    with contextlib.suppress(OSError):  # a read-only cache costs a conversion a start, no more
        _write_converted(cached, weights)
    return weights


def converted_path(name: str, file: PackagedFile) -> Path:
    """Where the conversion of ``file`` for the model ``name`` is cached."""
    return product_cache() / "converted" / f"{name}-{file.sha256[:16]}-v{_VERSION}.bin"


def _read_converted(path: Path) -> LayerWeights:
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


def _write_converted(path: Path, weights: LayerWeights) -> None:
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
