"""Loading of a record's Keras model with verified weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustness.base.errors import NotInspectedError, WeightsError
from robustness.models.in_tensorflow.user_network import open_user_network
from robustness.models.model_record import ModelRecord, PackagedFile, Preset, Stages, UserFile
from robustness.models.weights.ready import mark_unusable, require, verified_bytes


def load_network(record: ModelRecord) -> tuple[Any, Stages]:
    """The functional Keras model of ``record`` with its weights, and its feature stages.

    Raises ``WeightsError`` if weights are missing, damaged or do not fit.
    """
    path = require(record)  # before the seconds that TensorFlow takes to import
    weights = record.weights
    if isinstance(weights, UserFile):
        try:
            return open_user_network(record, weights)
        except NotInspectedError:
            raise
        except WeightsError as error:
            problem = f"{record.name}: {error}"
            mark_unusable(record, problem)
            raise WeightsError(problem) from error
    network = record.build()
    if isinstance(weights, PackagedFile):
        by_layer = weights.read(verified_bytes(weights, path))
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
