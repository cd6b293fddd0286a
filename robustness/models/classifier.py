"""A classifier: study images in; probabilities and the features of every stage out, in one pass."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.models.folding import fold_batch_normalisation
from robustness.models.gradients import Gradients
from robustness.models.graph import layer_output
from robustness.models.model_record import ModelRecord, Normalisation, Stages, UserFile
from robustness.models.places import Places
from robustness.models.runtime import keras, tensorflow
from robustness.pictures.fitting import STUDY_SIDE

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

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Outputs:
        return Outputs(
            self.probabilities[rows], {stage: f[rows] for stage, f in self.features.items()}
        )

    @staticmethod
    def join(parts: list[Outputs]) -> Outputs:
        """The outputs of consecutive batches as one."""
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

    def __init__(
        self, record: ModelRecord, network: Any, stages: Stages, *, side: int = STUDY_SIDE
    ) -> None:
        """``network`` is a functional model with its weights; ``stages`` are layers of it.

        It maps normalised pixels of the record's input size to probabilities.
        """
        tf = tensorflow()
        self.record = record
        self.side = side
        self.stages = tuple(stage for stage, _ in stages)
        if not isinstance(record.weights, UserFile):  # that may hold any layer there is
            network = fold_batch_normalisation(network)
        outputs = [layer_output(network, network.get_layer(layer)) for _, layer in stages]
        self._model = keras().Model(network.inputs, [network.output, *outputs])
        self._prepare = prepare = preparation(record.normalisation, record.input_size, side)
        self._compiling = threading.Lock()
        self._gradients: Gradients | None = None
        self._places: Places | None = None

        @tf.function(input_signature=[tf.TensorSpec((None, side, side, 3), tf.float32)])
        def forward(images: Any) -> Any:
            probabilities, *activations = self._model(prepare(images), training=False)
            pooled = [_pooled(activation) for activation in activations]
            return tf.cast(probabilities, tf.float32), dict(zip(self.stages, pooled, strict=True))

        self._compiled = forward
        # Called as traced: of several models' first calls TensorFlow warns as of one's retracing.
        self._traced = forward.get_concrete_function()
        self(np.zeros((1, side, side, 3), np.float32))  # sets up the kernels

    def __call__(self, images: Floats) -> Outputs:
        """Classifies ``images``, float32 (N, side, side, 3) in [0, 1], N >= 1.

        Raises ``ParameterError`` for another shape.
        """
        self.check_shape(images)
        return Outputs.join(
            [
                self._one_pass(images[start : start + MAX_BATCH])
                for start in range(0, len(images), MAX_BATCH)
            ]
        )

    def check_shape(self, images: Floats) -> None:
        """Raises ``ParameterError`` unless ``images`` has the shape (N, side, side, 3), N >= 1."""
        expected = (self.side, self.side, 3)
        if images.ndim != 4 or images.shape[1:] != expected or not len(images):
            raise ParameterError(
                f"{self.record.name} expects images of shape (N, {self.side}, {self.side}, 3), "
                f"got {images.shape}."
            )

    def _one_pass(self, batch: Floats) -> Outputs:
        probabilities, features = self._traced(tensorflow().constant(batch))
        return Outputs(
            probabilities.numpy(),
            {stage: features[stage].numpy() for stage in self.stages},
        )

    @property
    def gradients(self) -> Gradients:
        """The pass that attacks need, compiled when it is first asked for.

        Raises ``GradientError`` for a model that cannot be differentiated.
        """
        with self._compiling:
            if self._gradients is None:
                self._gradients = Gradients(
                    self.record,
                    lambda images: self._model(self._prepare(images), training=False)[0],
                    int(self._model.outputs[0].shape[-1]),
                    self.side,
                )
            return self._gradients

    def by_place(self, images: Floats) -> Mapping[str, NDArray[np.float64]]:
        """Coordinates of ``images`` at each stage, shallow to deep, (N, N); see ``Places``.

        ``images`` are float32 (N, side, side, 3) in [0, 1], 1 to ``MAX_BATCH`` of them: one pass,
        compiled when it is first asked for. Raises ``ParameterError`` for another shape.
        """
        self.check_shape(images)
        with self._compiling:
            if self._places is None:
                self._places = Places(
                    lambda images: self._model(self._prepare(images), training=False)[1:],
                    self.stages,
                    self.side,
                )
        return self._places(images)


def preparation(normalisation: Normalisation, size: int, side: int) -> Any:
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


def _pooled(activation: Any) -> Any:
    """(N, ..., D) to (N, D): averaged over whatever lies between."""
    between = tuple(range(1, activation.shape.rank - 1))
    tf = tensorflow()
    activation = tf.cast(activation, tf.float32)
    return tf.reduce_mean(activation, between) if between else activation
