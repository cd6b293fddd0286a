"""A model in TensorFlow, replayed from its graph in OpenVINO: scores, and a pass."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robustness.base.errors import GradientError
from robustness.models.engine import (
    F32,
    MOST_ROWS,
    TENSORFLOW,
    Choice,
    Floats,
    Gradients,
    Network,
    core,
)
from robustness.models.frameworks import tensorflow
from robustness.models.graph import trial_images
from robustness.models.operations import (
    Graph,
    Node,
    Output,
    UnknownOperationError,
    Value,
    replayed,
    simplified,
)

_PRESERVING = {"Result", "Convert", "FakeQuantize", "Round", "Clamp"}
"""Operations after a softmax that hardly change probabilities."""

_ARRANGING = {"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "StridedSlice"}
"""Operations that only select and arrange values, so they apply to scores as well."""

_SCALING = {"Multiply", "Divide", "Add", "Subtract"}

TOLERANCE = 1e-4
COARSE_TOLERANCE = 1e-3
"""The largest accepted differences from OpenVINO, as shares of the largest probability.

The coarse one is for graphs in float16 or integers. Measured: 1e-6 for 70 networks of three
libraries, and 1e-4 for EfficientNet-Lite0 in 8 bits."""


class ReplayedNetwork:
    """An OpenVINO model over study images (N, S, S, 3), computed by TensorFlow.

    It takes ``rows`` images at once, any number if None.
    """

    def __init__(self, model: Any, label: str, *, fold_normalisations: bool = True) -> None:
        """The first output of ``model`` is probabilities (N, classes).

        ``fold_normalisations`` is that of ``simplified``. Raises ``GradientError`` for an unknown
        operation, or if the replay's outputs differ from OpenVINO's.
        """
        self.label = label
        input_shape = model.inputs[0].partial_shape
        batch = input_shape[0]
        self.rows = None if batch.is_dynamic else batch.get_length()
        self.side = input_shape[1].get_length()
        self.classes = model.outputs[0].partial_shape[1].get_length()
        self._compiling = threading.Lock()
        self._gradients: Gradients | None = None
        try:
            self.graph = Graph(simplified(model, fold_normalisations=fold_normalisations))
            self._check()
        except UnknownOperationError as error:
            raise GradientError(
                f"{label} gives no gradients, as its graph has an operation that cannot be "
                f"differentiated here: {error}. Use the black-box attack 'square'."
            ) from error
        self._arrangements: list[Node] = []
        self._logits = self._find_logits()

    @property
    def exact(self) -> bool:
        """Whether the scores equal the model's; those of a quantised model may be one step off."""
        return not self.graph.rounds

    def scores(self, images: Any) -> Any:
        """In TensorFlow's graph: logits, or the logarithms of probabilities, (N, classes)."""
        return self.with_scores(images)[0]

    def with_scores(
        self, images: Any, intermediates: Sequence[Output] = ()
    ) -> tuple[Any, list[Value]]:
        """In TensorFlow's graph: the scores, and the values ``intermediates`` that lead to them.

        Scores (N, classes) are logits where the graph has them: confident probabilities round to 0
        and 1, which no gradient passes through. Otherwise they are logarithms of probabilities.
        Either way the scores of two classes differ as the logarithms of their probabilities do.
        """
        tf = tensorflow()
        scores, *values = self.graph.run(images, [self.score_output, *intermediates])
        if self._logits is None:
            smallest = np.finfo(np.float32).tiny
            return tf.math.log(tf.maximum(scores.plain, smallest)), values
        for node in self._arrangements:
            reads = self.graph.reads(node)
            (scores,) = replayed(node, reads, {**self.graph.constants, reads[0]: scores})
        return scores.plain, values

    @property
    def score_output(self) -> Output:
        """The value in the graph that the scores are computed from."""
        return self._logits or self.graph.results[0]

    def _find_logits(self) -> Output | None:
        """Find what the last softmax reads; None if the probabilities do not come from one.

        Notes the operations after the softmax that arrange its values, in order of evaluation.
        """
        output = self.graph.results[0]
        while True:
            node = self.graph.nodes[output[0]]
            if node.type in ("Softmax", "Exp"):
                return node.reads[0]
            if node.type in _SCALING:
                scaled = self._scaled(node)
                if scaled is None:
                    return None
                output = scaled
                continue
            if node.type in _ARRANGING:
                self._arrangements.insert(0, node)
            elif node.type not in _PRESERVING:
                return None
            output = node.reads[0]

    def _scaled(self, node: Node) -> Output | None:
        """What ``node``, one of ``_SCALING``, scales or shifts by one number for all classes.

        None if it does anything else, or if it reverses the order of classes, as 1 - p does.
        """
        first, second = node.reads
        first_constant = self.graph.constants.get(first)
        second_constant = self.graph.constants.get(second)
        if first_constant is None and second_constant is not None and _is_number(second_constant):
            if node.type in ("Add", "Subtract") or second_constant.array.item() > 0:
                return first
            return None
        if second_constant is None and first_constant is not None and _is_number(first_constant):
            if node.type == "Add":
                return second
            if node.type == "Multiply" and first_constant.array.item() > 0:
                return second
            return None
        divisor_shape = self.graph.nodes[second[0]].shapes[second[1]]
        if node.type == "Divide" and divisor_shape and divisor_shape[-1] == 1:
            # As by the sum of the probabilities of each image.
            return first
        return None

    @property
    def gradients(self) -> Gradients:
        """The pass that gives gradients for attacks, compiled on first access.

        Raises ``GradientError`` if no gradient leads back to the pixels.
        """
        with self._compiling:
            if self._gradients is None:
                self._gradients = Gradients(self)
            return self._gradients

    def _check(self) -> None:
        """Raise ``GradientError`` unless its outputs match OpenVINO's.

        Both run without rounding, where the last bit could decide a whole step.
        """
        batches = trial_images(self.side)[:, None]
        if self.rows not in (None, 1):
            batches = batches.repeat(self.rows, axis=1)
        try:
            compiled = core().compile_model(
                self.graph.smoothed(), "CPU", {"INFERENCE_PRECISION_HINT": F32}
            )
        except RuntimeError as error:  # OpenVINO 2026.4 does not compile every graph of integers
            raise GradientError(
                f"{self.label} gives no gradients, as OpenVINO cannot compute its graph without "
                "rounding. Use the black-box attack 'square'."
            ) from error
        tolerance = TOLERANCE
        if self.graph.rounds or any("f16" in node.kinds for node in self.graph.nodes.values()):
            tolerance = COARSE_TOLERANCE
        for batch in batches:
            expected = np.array(compiled(batch)[0])
            (probabilities,) = self.graph.run(
                tensorflow().constant(batch), self.graph.results[:1], smooth=True
            )
            largest_difference = np.abs(probabilities.plain.numpy() - expected).max()
            difference = largest_difference / np.abs(expected).max()
            if not difference <= tolerance:  # also true for NaN
                raise GradientError(
                    f"{self.label} gives no gradients: expected TensorFlow to compute what "
                    f"OpenVINO does, and they differ by {difference:.1g} of the largest "
                    "probability. Use the black-box attack 'square'."
                )


def _is_number(value: Value) -> bool:
    return value.array.size == 1


class ReplayedPass:
    """The ``ForwardPass`` of an OpenVINO model in TensorFlow, traced and warmed up once."""

    def __init__(self, model: Any, stages: tuple[str, ...], label: str) -> None:
        """``model`` maps study images to probabilities and the activations of ``stages``.

        Raises ``GradientError`` as ``ReplayedNetwork`` does.
        """
        self.engine = str(Choice(TENSORFLOW, F32))
        self.stages = stages
        self.model = model
        network = ReplayedNetwork(model, label)
        self._network = network
        self.exact = network.exact
        self._rows = network.rows or MOST_ROWS
        tf = tensorflow()
        side = network.side
        images_spec = tf.TensorSpec((network.rows, side, side, 3), tf.float32)

        @tf.function(input_signature=[images_spec], autograph=False)
        def outputs(images: Any) -> Any:
            probabilities, *activations = network.graph.run(images, network.graph.results)
            features = []
            for activation in activations:  # (N, ..., D) to (N, D)
                inner_axes = tuple(range(1, activation.plain.shape.rank - 1))
                features.append(tf.reduce_mean(activation.plain, inner_axes))
            return [probabilities.plain, *features]

        # The traced function: else TensorFlow takes several models' first calls for retracing.
        self._forward = outputs.get_concrete_function()
        self(np.zeros((1, side, side, 3), np.float32))  # sets up the kernels

    def network(self, label: str) -> Network:
        return self._network

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        tf = tensorflow()
        batches = []
        for start in range(0, len(images), self._rows):
            batch = tf.constant(images[start : start + self._rows], tf.float32)
            batches.append([output.numpy() for output in self._forward(batch)])
        probabilities, *features = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        return probabilities, dict(zip(self.stages, features, strict=True))
