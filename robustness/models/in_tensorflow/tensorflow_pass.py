"""A forward pass compiled by TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import GradientError
from robustness.models.in_tensorflow.conversion import RefusalError, convert
from robustness.models.in_tensorflow.gradients import Network
from robustness.models.in_tensorflow.runtime import tensorflow
from robustness.models.in_tensorflow.study_graph import StudyGraph
from robustness.models.inference.choice import TENSORFLOW, Choice
from robustness.models.inference.forward_pass import F32, Floats

MOST_ROWS = 16
"""Images in one pass; larger batches gain nothing on a CPU and cost memory."""


class TensorFlowPass:
    """The ``ForwardPass`` of a graph, traced and warmed up once for any number of images."""

    def __init__(self, graph: StudyGraph) -> None:
        tf = tensorflow()
        self.engine = str(Choice(TENSORFLOW, F32))
        self.stages = graph.stages
        self.exact = True
        self.graph = graph
        self._compiling = threading.Lock()
        self._products: Any = None
        self._signature = [tf.TensorSpec((None, graph.side, graph.side, 3), tf.float32)]

        @tf.function(input_signature=self._signature, autograph=False)
        def forward(images: Any) -> Any:
            probabilities, activations = graph.answers(images)
            return probabilities, [_pooled(activation) for activation in activations]

        self._compiled = forward
        # The traced function: else TensorFlow takes several models' first calls for retracing.
        self._traced = forward.get_concrete_function()
        self(np.zeros((1, graph.side, graph.side, 3), np.float32))  # sets up the kernels

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        tf = tensorflow()
        parts = []
        for start in range(0, len(images), MOST_ROWS):
            probabilities, pooled = self._traced(tf.constant(images[start : start + MOST_ROWS]))
            parts.append([probabilities.numpy(), *(stage.numpy() for stage in pooled)])
        probabilities, *features = map(np.concatenate, zip(*parts, strict=True))
        return probabilities, dict(zip(self.stages, features, strict=True))

    def network(self, label: str) -> Network:
        """The network replayed from OpenVINO, or the graph itself if OpenVINO refuses it."""
        try:
            return convert(self.graph)[1].network(label)
        except (RefusalError, GradientError):
            return self.graph

    def products(self, images: Floats) -> Mapping[str, NDArray[np.float64]]:
        tf = tensorflow()
        with self._compiling:
            if self._products is None:
                self._products = self._trace_products()
        found = self._products(tf.constant(images))
        return {stage: found[place].numpy() for place, stage in enumerate(self.stages)}

    def _trace_products(self) -> Any:
        tf = tensorflow()

        @tf.function(input_signature=self._signature, autograph=False)
        def products(images: Any) -> Any:
            found = []
            for activation in self.graph.answers(images)[1]:
                # In float64: distances are small differences of these products.
                flat = tf.cast(tf.reshape(activation, (tf.shape(activation)[0], -1)), tf.float64)
                found.append(tf.matmul(flat, flat, transpose_b=True))
            return found

        return products.get_concrete_function()


def _pooled(activation: Any) -> Any:
    """Averages (N, ..., D) over its inner axes to (N, D)."""
    between = tuple(range(1, activation.shape.rank - 1))
    return tensorflow().reduce_mean(activation, between) if between else activation
