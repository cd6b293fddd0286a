"""A classifier: study images in; probabilities and the features of every stage out, in one pass."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.errors import ParameterError, WeightsError
from robustness.images import STUDY_SIDE
from robustness.models.conversion import layer_weights
from robustness.models.folding import fold_batch_normalisation
from robustness.models.record import REGISTRY, ModelRecord, Normalisation, PackagedFile
from robustness.models.runtime import keras, tensorflow
from robustness.models.weights import require

Floats = NDArray[np.float32]

MAX_BATCH = 16
"""Images in one forward pass; larger batches gain nothing on a CPU and cost memory."""


@dataclass(frozen=True)
class Outputs:
    """What a classifier says of N images.

    ``probabilities`` is (N, classes), rows summing to 1; ``features`` maps each stage, shallow to
    deep, to (N, D): the stage's activations averaged over height and width.
    """

    probabilities: Floats
    features: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, rows: slice) -> Outputs:
        return Outputs(
            self.probabilities[rows], {stage: f[rows] for stage, f in self.features.items()}
        )

    @staticmethod
    def join(parts: list[Outputs]) -> Outputs:
        """The outputs of consecutive batches as one."""
        if len(parts) == 1:
            return parts[0]
        return Outputs(
            np.concatenate([part.probabilities for part in parts]),
            {
                stage: np.concatenate([part.features[stage] for part in parts])
                for stage in parts[0].features
            },
        )


class Classifier:
    """One compiled pass over study images, traced once for any batch size.

    Resizing from ``side`` to the model's input size and normalisation are inside the graph.
    Calls are safe, and give equal results, from several threads at once.
    """

    def __init__(self, record: ModelRecord, network: Any, *, side: int = STUDY_SIDE) -> None:
        """``network`` is what ``record.build()`` returns, with its weights set."""
        tf = tensorflow()
        self.record = record
        self.side = side
        self._model = _with_stages(fold_batch_normalisation(network), record)
        prepare = _preparation(record.normalisation, record.input_size, side)
        stages = [stage for stage, _ in record.stages]

        @tf.function(input_signature=[tf.TensorSpec((None, side, side, 3), tf.float32)])
        def forward(images: Any) -> Any:
            probabilities, *activations = self._model(prepare(images), training=False)
            pooled = [a if a.shape.rank == 2 else tf.reduce_mean(a, (1, 2)) for a in activations]
            return probabilities, dict(zip(stages, pooled, strict=True))

        self._forward = forward
        # Called as traced: of several models' first calls TensorFlow warns as of one's retracing.
        self._traced = forward.get_concrete_function()
        self(np.zeros((1, side, side, 3), np.float32))  # sets up the kernels

    def __call__(self, images: Floats) -> Outputs:
        """Classifies ``images``, float32 (N, side, side, 3) in [0, 1], N >= 1.

        Raises ``ParameterError`` for another shape.
        """
        expected = (self.side, self.side, 3)
        if images.ndim != 4 or images.shape[1:] != expected or not len(images):
            raise ParameterError(
                f"{self.record.name} expects images of shape (N, {self.side}, {self.side}, 3), "
                f"got {images.shape}."
            )
        return Outputs.join(
            [
                self._one_pass(images[start : start + MAX_BATCH])
                for start in range(0, len(images), MAX_BATCH)
            ]
        )

    def _one_pass(self, batch: Floats) -> Outputs:
        probabilities, features = self._traced(tensorflow().constant(batch))
        return Outputs(
            probabilities.numpy(),
            {stage: features[stage].numpy() for stage, _ in self.record.stages},
        )

    @property
    def trace_count(self) -> int:
        """How often the pass was traced; 1, whatever was asked of it."""
        return int(self._forward.experimental_get_tracing_count())


def _preparation(normalisation: Normalisation, size: int, side: int) -> Any:
    """A function in the graph: study images to normalised pixels of ``size``."""
    tf = tensorflow()
    mean, std = np.array(normalisation.mean), np.array(normalisation.std)
    factor = (normalisation.scale / std).astype(np.float32)
    offset = (-mean / std).astype(np.float32)

    def prepare(images: Any) -> Any:
        if side != size:
            images = tf.image.resize(images, (size, size), "bicubic", antialias=side > size)
            images = tf.clip_by_value(images, 0.0, 1.0)  # bicubic overshoots at edges
        if normalisation.order == "BGR":
            images = tf.reverse(images, [-1])
        return images * factor + offset

    return prepare


def _with_stages(network: Any, record: ModelRecord) -> Any:
    outputs = [network.get_layer(layer).output for _, layer in record.stages]
    return keras().Model(network.inputs, [network.output, *outputs])


def _load_weights(record: ModelRecord, network: Any) -> None:
    if isinstance(record.weights, PackagedFile):
        weights = layer_weights(record, record.weights)
        for layer in network.layers:
            if layer.weights:
                layer.set_weights(weights[layer.name])
        return
    path = require(record)
    try:
        network.load_weights(str(path))
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(
            f"The weight file {path} does not fit {record.name} ({type(error).__name__}): "
            "delete it and download it again."
        ) from error


_loading = threading.Lock()


@cache
def _loaded(name: str, side: int) -> Classifier:
    record = REGISTRY[name]
    require(record)  # before the seconds that TensorFlow takes to import
    network = record.build()
    _load_weights(record, network)
    return Classifier(record, network, side=side)


def load(name: str, *, side: int = STUDY_SIDE) -> Classifier:
    """The classifier called ``name`` for study images of ``side`` pixels, loaded once a process.

    Raises ``UnknownNameError`` for an unknown name and ``WeightsError`` when its weights are
    missing or damaged.
    """
    with _loading:  # two sessions that ask at once build it once
        return _loaded(name, side)
