"""Loading of a record's Keras model with verified weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustness.base.errors import WeightsError
from robustness.models.in_tensorflow.keras_files import named_stages, open_keras
from robustness.models.model_record import LayerWeights, ModelRecord, Stages, UserFile
from robustness.models.weights.ready import require, verified_bytes


def load_network(record: ModelRecord) -> tuple[Any, Stages]:
    """The functional Keras model of ``record`` with its weights, and its feature stages.

    Raises ``WeightsError`` if weights are missing, damaged or do not fit.
    """
    path = require(record)  # before the seconds that TensorFlow takes to import
    return record.weights.load(record, path)


def load_built(
    load: Callable[[Any, Path], Any], record: ModelRecord, path: Path
) -> tuple[Any, Stages]:
    """As ``load_network``, of weights that ``load`` reads into what ``build`` returned."""
    network = record.build()
    try:
        return load(network, path), record.stages
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(
            f"The weight file {path} does not fit {record.name} ({type(error).__name__}): "
            f"{record.weights.remedy}."
        ) from error


def load_arrays(
    read: Callable[[bytes], LayerWeights], record: ModelRecord, path: Path
) -> tuple[Any, Stages]:
    """As ``load_network``, of a file whose bytes ``read`` turns into arrays."""
    by_layer = read(verified_bytes(record.weights, path))
    network = record.build()
    for layer in network.layers:
        if layer.weights:
            layer.set_weights(by_layer[layer.name])
    return network, record.stages


def load_user_network(file: UserFile, record: ModelRecord, path: Path) -> tuple[Any, Stages]:
    """As ``load_network``, of a whole model of the user's."""
    try:
        network = open_keras(path, record.shape)
        return network, named_stages(network, file.features)
    except WeightsError as error:
        raise WeightsError(f"{record.name}: {error}") from error
