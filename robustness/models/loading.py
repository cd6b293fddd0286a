"""From a record to a Keras model with its verified weights, ready to be compiled into one pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustness.base.errors import WeightsError
from robustness.models.conversion import layer_weights
from robustness.models.model_record import ModelRecord, OwnFile, PackagedFile, Preset, Stages
from robustness.models.weights import refuse, require


def load_network(record: ModelRecord) -> tuple[Any, Stages]:
    """The functional Keras model of ``record`` with its weights, and its feature stages.

    Raises ``WeightsError`` when they are missing, damaged or do not fit.
    """
    path = require(record)  # before the seconds that TensorFlow takes to import
    weights = record.weights
    if isinstance(weights, OwnFile):
        from robustness.models.own_network import open_own

        try:
            return open_own(record, weights)
        except WeightsError as error:
            refuse(record, str(error))
            raise
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
