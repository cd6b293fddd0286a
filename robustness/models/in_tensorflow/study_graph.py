"""A network over study images in TensorFlow, for gradients, explanations and conversion."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from robustness.models.in_tensorflow.folding import (
    fold_batch_normalisation,
    fuse_batch_normalisation,
)
from robustness.models.in_tensorflow.gradients import Gradients, logits
from robustness.models.in_tensorflow.internals import layer_output
from robustness.models.in_tensorflow.runtime import keras, tensorflow
from robustness.models.model_record import ModelRecord, Normalisation, Stages
from robustness.models.preparation import factors, resizing
from robustness.pictures.fitting import STUDY_SIDE


class StudyGraph:
    """A Keras network with the preparation that study images of ``side`` pixels need before it.

    ``model`` maps normalised pixels of the record's input size to probabilities and the
    activations of each of ``stages``, shallow to deep; ``prepare`` makes those pixels in the graph.
    """

    def __init__(
        self,
        record: ModelRecord,
        network: Any,
        stages: Stages,
        *,
        side: int = STUDY_SIDE,
        folded: bool = True,
    ) -> None:
        """``network`` is a functional model with its weights; ``stages`` are layers of it.

        Unless ``folded``, the statistics of batch normalisations stay apart from other weights.
        """
        self.record = record
        self.label = record.label
        self.side = side
        self.rows: int | None = None
        self.stages = tuple(stage for stage, _ in stages)
        self.folded = folded
        if not folded:
            network = fuse_batch_normalisation(network)
        elif not record.weights.own:  # which may contain any layer
            network = fold_batch_normalisation(network)
        outputs = [layer_output(network, network.get_layer(layer)) for _, layer in stages]
        self.model = keras().Model(network.inputs, [network.output, *outputs])
        self.prepare = preparation(record.normalisation, record.shape, side)
        self._compiling = threading.Lock()
        self._gradients: Gradients | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.model.outputs[0].shape[-1])

    @property
    def exact(self) -> bool:
        """Its scores are those of the model."""
        return True

    def scores(self, images: Any) -> Any:
        """In the graph: logits, or the logarithms of probabilities, (N, classes)."""
        return logits(self.model(self.prepare(images), training=False)[0])

    def answers(self, images: Any) -> tuple[Any, list[Any]]:
        """In the graph, of study images: probabilities, and each stage's activations; float32."""
        tf = tensorflow()
        found = self.model(self.prepare(images), training=False)
        probabilities, *activations = [tf.cast(tensor, tf.float32) for tensor in found]
        return probabilities, activations

    @property
    def gradients(self) -> Gradients:
        """The pass that attacks need, compiled when it is first asked for.

        Raises ``GradientError`` for a model that cannot be differentiated.
        """
        with self._compiling:
            if self._gradients is None:
                self._gradients = Gradients(self)
            return self._gradients


def preparation(normalisation: Normalisation, shape: tuple[int, int], side: int) -> Any:
    """A function in the graph from study images to normalised pixels of ``shape``.

    Resizing, the order of channels and the normalisation are products with constant matrices:
    faster than TensorFlow's own operations for them, and every engine supports them.
    """
    tf = tensorflow()
    scale, offset = factors(normalisation)
    channels = np.diag(scale)
    if normalisation.order == "BGR":
        channels = channels[::-1]
    (height, width), resize = shape, resizing(side, shape)

    def prepare(images: Any) -> Any:
        if resize is not None:
            rows = tf.matmul(resize[0], tf.reshape(images, (-1, side, side * 3)))
            # Channels before columns, so that both products are large ones: a product with three
            # columns took a fifth of a pass.
            planes = tf.transpose(tf.reshape(rows, (-1, height, side, 3)), (0, 1, 3, 2))
            planes = tf.matmul(tf.reshape(planes, (-1, side)), resize[1].T)
            images = tf.transpose(tf.reshape(planes, (-1, height, 3, width)), (0, 1, 3, 2))
            images = tf.clip_by_value(images, 0.0, 1.0)  # bicubic overshoots at edges
        pixels = tf.matmul(tf.reshape(images, (-1, 3)), channels) + offset
        return tf.reshape(pixels, (-1, height, width, 3))

    return prepare
