"""How a model's answer changes with the pixels: one compiled pass forward and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import GradientError
from robustness.models.in_tensorflow.runtime import tensorflow

Floats = NDArray[np.float32]
Classes = NDArray[np.int32]

ALL_OTHERS, BEST_OTHER = -1, -2
"""As a rival: all classes but the one in question, together; and the most probable one of them."""

_MOST_ROWS = 16
"""Images in one pass forward and back: larger batches gain nothing on a CPU and cost memory."""

_TRANSPARENT = {"Identity", "Cast", "StopGradient", "Reshape", "Squeeze"}
"""Operations after a softmax that leave the distribution what it is."""


@dataclass(frozen=True)
class Slope:
    """Of N study images: how far the rivals lead over a class, and the gradient of that lead.

    ``lead`` is (N,), in natural-log units; ``scores`` (N, classes) are logits, or the logarithms
    of probabilities where a model has no softmax; ``gradient`` is (N, S, S, 3), the change of the
    lead for each unit of a pixel's value; 0 where that is not finite.
    """

    lead: Floats
    scores: Floats
    gradient: Floats


class Network(Protocol):
    """A model over study images of ``side`` pixels in TensorFlow's graph.

    ``label`` is the model's name for people. It takes ``rows`` images at once, any number if that
    is None. ``exact`` is whether its scores are those that the model answers with.
    """

    label: str
    side: int
    rows: int | None

    @property
    def classes(self) -> int:
        """How many the model tells apart."""

    @property
    def exact(self) -> bool: ...

    @property
    def gradients(self) -> Gradients:
        """The pass that attacks need; raises ``GradientError`` where there is none."""

    def scores(self, images: Any) -> Any:
        """In the graph: logits, or the logarithms of probabilities, (N, classes)."""


class Gradients:
    """The pass of one model, traced once for any number of images, classes and rivals."""

    def __init__(self, network: Network) -> None:
        """Raises ``GradientError`` where no gradient leads from the answer back to the pixels."""
        tf = tensorflow()
        side, classes, rows = network.side, network.classes, network.rows
        some = tf.TensorSpec((rows,), tf.int32)
        spec = (
            *(tf.TensorSpec((rows, side, side, 3), tf.float32), some, some),
            tf.TensorSpec((), tf.bool),
        )

        @tf.function(input_signature=spec, autograph=False)
        def slope(images: Any, own: Any, rivals: Any, scaled: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(images)
                scores = network.scores(images)
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
            # One pixel of no slope, such as that of a root at 0, would spoil the whole change.
            return lead, scores, tf.where(tf.math.is_finite(gradient), gradient, 0.0)

        self._rows = rows or _MOST_ROWS
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
    ) -> Slope:
        """The slope at ``images`` (N, S, S, 3) of the lead of ``rivals`` over ``classes``, (N,).

        A rival is one class, the ``BEST_OTHER``, or ``ALL_OTHERS`` together (the default): then
        the lead is the log-odds log((1 - p) / p) of the class, and its gradient points where that
        of the cross-entropy log(1 + exp(lead)) does. Unlike that one it does not vanish as p nears
        1. ``scaled`` divides the lead by a spread of the scores, which makes it the difference of
        logits ratio (DLR) of Croce & Hein, ICML 2020: equation 6 for the ``BEST_OTHER``, 7 for one
        class. A model of fewer than four classes has no such spread, and its lead stays as it is.
        """
        tf = tensorflow()
        if rivals is None:
            rivals = np.full(len(images), ALL_OTHERS, np.int32)
        parts = []
        for start in range(0, len(images), self._rows):
            rows = slice(start, start + self._rows)
            found = self._traced(
                tf.constant(images[rows], tf.float32),
                tf.constant(classes[rows], tf.int32),
                tf.constant(rivals[rows], tf.int32),
                tf.constant(scaled),
            )
            parts.append([part.numpy() for part in found])
        return Slope(*map(np.concatenate, zip(*parts, strict=True)))


def _spread(scores: Any, rivals: Any) -> Any:
    """From the highest score to the third, or for a single rival to the mean of third and fourth.

    The 1e-12 is that of the authors' code.
    """
    tf = tensorflow()
    top = tf.math.top_k(scores, 4).values
    low = tf.where(rivals == BEST_OTHER, top[:, 2], (top[:, 2] + top[:, 3]) / 2)
    return top[:, 0] - low + 1e-12


def logits(probabilities: Any) -> Any:
    """The logits under a closing softmax; where there is none, the logarithms of probabilities.

    The softmax of a confident answer rounds to 0 and 1, and no gradient passes through that.
    """
    tf = tensorflow()
    tensor = probabilities
    while tensor.op.type in _TRANSPARENT:
        tensor = tensor.op.inputs[0]
    if tensor.op.type == "Softmax":
        return tf.cast(tf.reshape(tensor.op.inputs[0], tf.shape(probabilities)), tf.float32)
    floor = np.finfo(np.float32).tiny
    return tf.math.log(tf.maximum(tf.cast(probabilities, tf.float32), floor))
