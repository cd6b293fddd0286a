"""The compiled pass from study images to Grad-CAM heat maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.in_tensorflow.grid import grip
from robustness.models.in_tensorflow.replay.network import ReplayedNetwork
from robustness.models.in_tensorflow.runtime import tensorflow

Floats = NDArray[np.float32]


class Explainer:
    """The compiled pass from images and class indices to heat maps, of one network."""

    def __init__(self, network: ReplayedNetwork, most_rows: int) -> None:
        """``most_rows`` is the batch size if ``network`` takes any number of images.

        Raises ``ExplanationError`` for a network whose features have no positions.
        """
        tf = tensorflow()
        held, side = grip(network.label, network.graph), network.side
        self.rows = network.rows or most_rows
        signature = [
            tf.TensorSpec((network.rows, side, side, 3), tf.float32),
            tf.TensorSpec((network.rows,), tf.int32),
        ]

        @tf.function(input_signature=signature, autograph=False)
        def maps(images: Any, classes: Any) -> Any:
            scores, (features,) = network.with_scores(images, [held.output])
            chosen = tf.gather(scores, classes, batch_dims=1)
            # Images do not mix, so the gradient of the sum contains each one's. Unlike a tape,
            # tf.gradients goes back no further than to the features.
            (gradient,) = tf.gradients(chosen, features.tensor)
            if gradient is None:
                raise LookupError("no differentiable way from the features to the answer")
            grid, slopes = (held.as_grid(t, features.order) for t in (features.tensor, gradient))
            weights = tf.reduce_mean(slopes, (1, 2), keepdims=True)
            found = tf.nn.relu(tf.reduce_sum(weights * grid, -1))
            larger = tf.image.resize(found[..., None], (side, side), "bilinear")
            return larger[..., 0], tf.shape(found)[1:]

        self._compiled = maps
        self._traced = maps.get_concrete_function()

    def __call__(self, images: Floats, classes: NDArray[np.int32]) -> tuple[Floats, Any]:
        """The maps (N, S, S) of one batch, and the height and width of their grid."""
        tf = tensorflow()
        values, cells = self._traced(tf.constant(images), tf.constant(classes))
        height, width = cells.numpy()
        return values.numpy(), (int(height), int(width))
