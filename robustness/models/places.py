"""How far apart pictures lie in a stage's whole activations, place by place: one compiled pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.runtime import tensorflow

Floats = NDArray[np.float32]


class Places:
    """The pass of one model, traced once for any number of images.

    Activations of the first stages are millions of numbers a picture. What leaves the graph are
    their inner products, which hold every angle and every distance between the pictures.
    """

    def __init__(
        self, activations: Callable[[Any], Sequence[Any]], stages: Sequence[str], side: int
    ) -> None:
        """``activations`` maps study images to those of each of ``stages``, in the graph."""
        tf = tensorflow()

        @tf.function(input_signature=[tf.TensorSpec((None, side, side, 3), tf.float32)])
        def products(images: Any) -> Any:
            found = {}
            for stage, activation in zip(stages, activations(images), strict=True):
                # In float64: distances are small differences of these products.
                flat = tf.cast(tf.reshape(activation, (tf.shape(activation)[0], -1)), tf.float64)
                found[stage] = tf.matmul(flat, flat, transpose_b=True)
            return found

        self._compiled = products
        self._traced = products.get_concrete_function()

    def __call__(self, images: Floats) -> Mapping[str, NDArray[np.float64]]:
        """Of N ``images`` (N, S, S, 3) in [0, 1] each stage's coordinates, (N, N).

        Their rows have the lengths, angles and distances of the flattened activations.
        """
        found = self._traced(tensorflow().constant(images))
        return {stage: _coordinates(product.numpy()) for stage, product in found.items()}


def _coordinates(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows whose inner products are ``products`` (N, N), as in classical multidimensional scaling.

    Torgerson, Psychometrika 1952, without its centring.
    """
    values, vectors = np.linalg.eigh(products)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
