"""A forward pass by TensorFlow, replayed from a graph of OpenVINO, as for a GPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.in_tensorflow.gradients import Network
from robustness.models.in_tensorflow.replay.network import ReplayedNetwork
from robustness.models.in_tensorflow.runtime import tensorflow
from robustness.models.inference.choice import TENSORFLOW, Choice
from robustness.models.inference.forward_pass import F32, Floats

MOST_ROWS = 16
"""Images in one pass; larger batches gain nothing on a CPU and cost memory."""


class ReplayedPass:
    """The ``ForwardPass`` of an OpenVINO model in TensorFlow, traced and warmed up once."""

    def __init__(self, model: Any, stages: tuple[str, ...], label: str) -> None:
        """``model`` maps study images to probabilities and the activations of ``stages``.

        Raises ``GradientError`` as ``ReplayedNetwork`` does.
        """
        self.engine = str(Choice(TENSORFLOW, F32))
        self.stages = stages
        self.model = model
        self._network = ReplayedNetwork(model, label)
        self.exact = self._network.exact
        self._rows = self._network.rows or MOST_ROWS
        self._compiling = threading.Lock()
        self._products: Any = None
        self._forward = self._traced(_pooled)
        side = self._network.side
        self(np.zeros((1, side, side, 3), np.float32))  # sets up the kernels

    def network(self, label: str) -> Network:
        return self._network

    def _traced(self, reduce: Any) -> Any:
        """The outputs for images, each stage's activations ``reduce``d."""
        tf, network = tensorflow(), self._network
        images = tf.TensorSpec((network.rows, network.side, network.side, 3), tf.float32)

        @tf.function(input_signature=[images], autograph=False)
        def outputs(images: Any) -> Any:
            probabilities, *activations = network.graph.run(images, network.graph.results)
            return [probabilities.plain, *(reduce(value.plain) for value in activations)]

        # The traced function: else TensorFlow takes several models' first calls for retracing.
        return outputs.get_concrete_function()

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        tf = tensorflow()
        parts = []
        for start in range(0, len(images), self._rows):
            outputs = self._forward(tf.constant(images[start : start + self._rows], tf.float32))
            parts.append([output.numpy() for output in outputs])
        probabilities, *features = map(np.concatenate, zip(*parts, strict=True))
        return probabilities, dict(zip(self.stages, features, strict=True))

    def products(self, images: Floats) -> Mapping[str, NDArray[np.float64]]:
        with self._compiling:
            if self._products is None:
                self._products = self._traced(_flat)
        tf = tensorflow()
        parts = [
            self._products(tf.constant(images[start : start + self._rows], tf.float32))[1:]
            for start in range(0, len(images), self._rows)
        ]
        found = {}
        for stage, rows in zip(self.stages, zip(*parts, strict=True), strict=True):
            # In float64: distances are small differences of these products.
            flat = tf.cast(tf.concat(rows, 0), tf.float64)
            found[stage] = tf.matmul(flat, flat, transpose_b=True).numpy()
        return found


def _pooled(activation: Any) -> Any:
    """Averages (N, ..., D) over its inner axes to (N, D)."""
    between = tuple(range(1, activation.shape.rank - 1))
    return tensorflow().reduce_mean(activation, between) if between else activation


def _flat(activation: Any) -> Any:
    tf = tensorflow()
    return tf.reshape(activation, (tf.shape(activation)[0], -1))
