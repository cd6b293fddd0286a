"""Where in a network an explanation takes hold: its last grid of features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from robustness.base.errors import ExplanationError
from robustness.models.model_record import ModelRecord, Preset, UserFile
from robustness.models.runtime import tensorflow
from robustness.models.transformers import PATCH, READ_TOKENS, SIDE

LOCAL_POOLING = {"MaxPooling2D", "AveragePooling2D"}
CHANGE_NOTHING = {"Dropout", "SpatialDropout2D", "Identity"}
PREPARE_PIXELS = {"Normalization", "BatchNormalization"}
"""Classes of layers that have weights and yet learn no features."""


@dataclass(frozen=True)
class Grip:
    """A tensor of a functional Keras model, and what is made of its values.

    ``features`` holds the last features that still have a place in the picture, and
    ``as_grid`` turns its values into (N, h, w, channels).
    """

    features: Any
    as_grid: Callable[[Any], Any]


def grip(record: ModelRecord, network: Any) -> Grip:
    """Finds it in ``network``, whose first output is probabilities (N, classes).

    Raises ``ExplanationError`` when no single grid of features leads to the answer.
    """
    if isinstance(record.weights, Preset):
        return Grip(network.get_layer(READ_TOKENS).output, _patches)
    return Grip(_last_maps(record, network.outputs[0]), lambda maps: maps)


def _patches(tokens: Any) -> Any:
    """(N, tokens, D) to (N, h, w, D), without the class token and its like in front."""
    side = SIDE // PATCH
    return tensorflow().reshape(tokens[:, -side * side :], (-1, side, side, tokens.shape[-1]))


# --- the last feature maps ------------------------------------------------------------------------


def _last_maps(record: ModelRecord, answer: Any) -> Any:
    """The feature maps (N, h, w, channels) that ``answer`` is computed of.

    The nearest ones on every way back from the answer; before local pooling, where that comes
    last, as in VGG16, whose last convolution Selvaraju et al. take.
    """
    found = [tensor for tensor in _back_from(answer, _has_places) if _has_places(tensor)]
    maps = {id(before): before for before in map(_before_pooling, found)}
    if len(maps) != 1 or not any(map(_learned, maps.values())):
        raise ExplanationError(_refusal(record))
    return next(iter(maps.values()))


def _has_places(tensor: Any) -> bool:
    """Whether it has the shape of feature maps; a size that is not fixed is None."""
    return len(tensor.shape) == 4 and 1 not in tensor.shape[1:3]


def _before_pooling(tensor: Any) -> Any:
    while _kind(tensor) in LOCAL_POOLING | CHANGE_NOTHING:
        (tensor,) = _read(tensor)
    return tensor


def _learned(tensor: Any) -> bool:
    """Whether any layer that learns features lies between the picture and ``tensor``."""
    return any(
        getattr(_operation(current), "weights", ())  # a bare operation has none
        and _kind(current) not in PREPARE_PIXELS
        for current in _back_from(tensor)
    )


def _refusal(record: ModelRecord) -> str:
    weights = record.weights
    if isinstance(weights, UserFile) and weights.path.is_dir():
        return (
            f"{record.label} is a SavedModel, whose layers cannot be reached, so where it looks "
            "cannot be shown; save it as a .keras file to see that."
        )
    return (
        f"Where {record.label} looks cannot be shown: expected a network whose answer is computed "
        "of one grid of features (N, height, width, channels), as a convolutional network's is, "
        "and found none, or several."
    )


# --- Keras' graph of tensors ----------------------------------------------------------------------


def _operation(tensor: Any) -> Any:
    """The layer or operation that gives ``tensor``."""
    return tensor._keras_history.operation


def _kind(tensor: Any) -> str:
    return type(_operation(tensor)).__name__


def _read(tensor: Any) -> list[Any]:
    """The tensors of which ``tensor`` is computed."""
    operation, node, _ = tensor._keras_history
    return list(operation._inbound_nodes[node].input_tensors)


def _back_from(tensor: Any, ends: Callable[[Any], bool] = lambda _: False) -> Iterator[Any]:
    """``tensor`` and all that it is computed of, each once; no further than one that ``ends``."""
    seen: set[int] = set()
    pending = [tensor]
    while pending:
        current = pending.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            if not ends(current):
                pending += _read(current)
