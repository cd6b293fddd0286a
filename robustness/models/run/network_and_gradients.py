"""Gradients of a model's scores with respect to pixels, in one compiled pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import GradientError
from robustness.models.tensorflow_and_keras_import import tensorflow

Floats = NDArray[np.float32]
Classes = NDArray[np.int32]

ALL_OTHERS, BEST_OTHER = -1, -2
"""Rivals: all other classes together, or the most probable other class."""

MOST_ROWS = 16
"""Images in one pass of TensorFlow: larger batches gain nothing on a CPU and cost memory."""


@dataclass(frozen=True)
class Slope:
    """For N study images: the rivals' lead over a class, and its gradient.

    ``lead`` is (N,), in natural-log units; ``scores`` (N, classes) are logits, or logarithms of
    probabilities for a model without a softmax; ``gradient`` (N, S, S, 3) is the lead's change per
    unit of pixel value, 0 where it is not finite.
    """

    lead: Floats
    scores: Floats
    gradient: Floats


class Network(Protocol):
    """A model over study images of ``side`` pixels in TensorFlow's graph.

    ``label`` is the model's display name. It takes ``rows`` images at once, any number if None.
    ``exact`` is whether its scores equal those of the model's predictions.
    """

    label: str
    side: int
    rows: int | None

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def exact(self) -> bool: ...

    @property
    def gradients(self) -> Gradients:
        """The pass that attacks need; raises ``GradientError`` if there is none."""

    def scores(self, images: Any) -> Any:
        """In the graph: logits, or the logarithms of probabilities, (N, classes)."""


class Gradients:
    """The pass of one model, traced once for any number of images, classes and rivals."""

    def __init__(self, network: Network) -> None:
        """Raises ``GradientError`` if no gradient leads from the scores back to the pixels."""
        tf = tensorflow()
        side, classes, rows = network.side, network.classes, network.rows
        some = tf.TensorSpec((rows,), tf.int32)
        spec = (
            *(tf.TensorSpec((rows, side, side, 3), tf.float32), some, some),
            tf.TensorSpec((), tf.bool),
            tf.TensorSpec((), tf.float32),
        )

        @tf.function(input_signature=spec, autograph=False)
        def slope(images: Any, own: Any, rivals: Any, scaled: Any, temperature: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(images)
                scores = network.scores(images) / temperature
                masked = tf.where(tf.one_hot(own, classes, True, False), -np.inf, scores)
                others = tf.reduce_logsumexp(masked, -1)
                single = tf.gather(scores, tf.maximum(rivals, 0), batch_dims=1)
                ahead = tf.where(rivals == ALL_OTHERS, others, single)
                ahead = tf.where(rivals == BEST_OTHER, tf.reduce_max(masked, -1), ahead)
                lead = ahead - tf.gather(scores, own, batch_dims=1)
                if classes >= 4:
                    lead = tf.where(scaled, lead / _spread(scores, rivals), lead)
            gradient = tape.gradient(lead, images)
            if gradient is None:
                raise LookupError("no differentiable way from the pixels to the answer")
            # One pixel without a slope, such as of a root at 0, would spoil the whole gradient.
            return lead, scores, tf.where(tf.math.is_finite(gradient), gradient, 0.0)

        self._rows = rows or MOST_ROWS
        self._compiled = slope
        try:
            self._traced = slope.get_concrete_function()
        except (LookupError, NotImplementedError) as error:
            raise GradientError(
                f"{network.label} gives no gradients, as its graph has a step that cannot be "
                "differentiated. Use the black-box attack 'square'."
            ) from error

    def __call__(
        self,
        images: Floats,
        classes: Classes,
        rivals: Classes | None = None,
        *,
        scaled: bool = False,
        temperature: float = 1.0,
    ) -> Slope:
        """The slope at ``images`` (N, S, S, 3) of the lead of ``rivals`` over ``classes``, (N,).

        A rival is one class, the ``BEST_OTHER``, or ``ALL_OTHERS`` together (the default): then
        the lead is the log-odds log((1 - p) / p) of the class, and its gradient points where that
        of the cross-entropy log(1 + exp(lead)) does. Unlike that one it does not vanish as p nears
        1. ``scaled`` divides the lead by a spread of the scores, which makes it the difference of
        logits ratio (DLR) of Croce & Hein, ICML 2020: equation 6 for the ``BEST_OTHER``, 7 for one
        class. A model with fewer than four classes has no such spread; its lead is not scaled.
        The ``temperature`` divides the scores.
        """
        tf = tensorflow()
        if rivals is None:
            rivals = np.full(len(images), ALL_OTHERS, np.int32)
        parts = []
        for start in range(0, len(images), self._rows):
            rows = slice(start, start + self._rows)
            gradients = self._traced(
                tf.constant(images[rows], tf.float32),
                tf.constant(classes[rows], tf.int32),
                tf.constant(rivals[rows], tf.int32),
                tf.constant(scaled),
                tf.constant(temperature, tf.float32),
            )
            parts.append([part.numpy() for part in gradients])
        return Slope(*map(np.concatenate, zip(*parts, strict=True)))


def _spread(scores: Any, rivals: Any) -> Any:
    """The highest score minus the third, or for a single rival minus the mean of third and fourth.

    The 1e-12 is that of the authors' code.
    """
    tf = tensorflow()
    top = tf.math.top_k(scores, 4).values
    low = tf.where(rivals == BEST_OTHER, top[:, 2], (top[:, 2] + top[:, 3]) / 2)
    return top[:, 0] - low + 1e-12
