"""A model in TensorFlow's graph, replayed from its graph in OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from robustness.base.errors import GradientError
from robustness.models.in_tensorflow.gradients import Gradients
from robustness.models.in_tensorflow.replay.ending import Ending
from robustness.models.in_tensorflow.replay.graph import (
    Graph,
    Output,
    UnknownOperationError,
    simplified,
)
from robustness.models.in_tensorflow.replay.value import Value
from robustness.models.in_tensorflow.runtime import tensorflow
from robustness.models.inference.forward_pass import F32
from robustness.models.inference.openvino_core import core
from robustness.pictures.eight_bits import LEVELS

TOLERANCE, COARSE_TOLERANCE = 1e-4, 1e-3
"""Accepted difference from OpenVINO, as a share of the largest probability; the second one for
graphs in float16 or integers. Measured: 1e-6 of 70 networks of three libraries, and 1e-4 of
EfficientNet-Lite0 in 8 bits."""


class ReplayedNetwork:
    """An OpenVINO model over study images (N, S, S, 3), computed by TensorFlow.

    It takes ``rows`` images at once, any number if None.
    """

    def __init__(self, model: Any, label: str) -> None:
        """``model`` maps study images to probabilities (N, classes) and optionally to more.

        Raises ``GradientError`` for an unknown operation, or if the replay's outputs differ from
        OpenVINO's.
        """
        self.label = label
        batch, self.side = (model.inputs[0].partial_shape[axis] for axis in (0, 1))
        self.side = self.side.get_length()
        self.rows = None if batch.is_dynamic else batch.get_length()
        self.classes = model.outputs[0].partial_shape[1].get_length()
        self._compiling = threading.Lock()
        self._gradients: Gradients | None = None
        try:
            self.graph = Graph(simplified(model))
            self._check()
        except UnknownOperationError as error:
            raise GradientError(
                f"{label} gives no gradients, as its graph has an operation that cannot be "
                f"differentiated here: {error}. Use the black-box attack 'square'."
            ) from error
        self._ending = Ending(self.graph)

    @property
    def exact(self) -> bool:
        """Whether its scores equal the model's; a quantised model may be one step off."""
        return not self.graph.rounds

    def scores(self, images: Any) -> Any:
        """In TensorFlow's graph: logits, or the logarithms of probabilities, (N, classes)."""
        return self.with_scores(images)[0]

    def with_scores(
        self, images: Any, intermediates: Sequence[Output] = ()
    ) -> tuple[Any, list[Value]]:
        """In TensorFlow's graph: the scores, and the values ``intermediates`` that lead to them."""
        return self._ending.of(images, intermediates)

    @property
    def gradients(self) -> Gradients:
        """The pass that attacks need, compiled when it is first asked for.

        Raises ``GradientError`` if no gradient leads back to the pixels.
        """
        with self._compiling:
            if self._gradients is None:
                self._gradients = Gradients(self)
            return self._gradients

    def _check(self) -> None:
        """Raises ``GradientError`` unless its outputs match OpenVINO's.

        Both run without rounding, where the last bit could decide a whole step.
        """
        images = np.random.default_rng(0).integers(0, LEVELS + 1, (2, self.side, self.side, 3))
        images[1] = images[1, :1, :1]  # one colour
        pictures = (images / LEVELS).astype(np.float32)[:, None]
        if self.rows not in (None, 1):
            pictures = pictures.repeat(self.rows, 1)
        try:
            compiled = core().compile_model(
                self.graph.smoothed(), "CPU", {"INFERENCE_PRECISION_HINT": F32}
            )
        except RuntimeError as error:  # OpenVINO 2026.4 does not compile every graph of integers
            raise GradientError(
                f"{self.label} gives no gradients, as OpenVINO cannot compute its graph without "
                "rounding. Use the black-box attack 'square'."
            ) from error
        coarse = self.graph.rounds or any("f16" in n.kinds for n in self.graph.nodes.values())
        for picture in pictures:
            expected = np.array(compiled(picture)[0])
            (found,) = self.graph.run(
                tensorflow().constant(picture), self.graph.results[:1], smooth=True
            )
            difference = np.abs(found.plain.numpy() - expected).max() / np.abs(expected).max()
            if not difference <= (COARSE_TOLERANCE if coarse else TOLERANCE):
                raise GradientError(
                    f"{self.label} gives no gradients: expected TensorFlow to compute what "
                    f"OpenVINO does, and they differ by {difference:.1g} of the largest "
                    "probability. Use the black-box attack 'square'."
                )
