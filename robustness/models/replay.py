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

_LEAVING = {"Result", "Convert", "FakeQuantize", "Round", "Clamp"}
"""Operations after a softmax that hardly change probabilities."""

_MOVING = {"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "StridedSlice"}
"""Operations that only select and arrange values, so they apply to scores as well."""

_SCALING = {"Multiply", "Divide", "Add", "Subtract"}


TOLERANCE = 1e-4
COARSE_TOLERANCE = 1e-3
"""Accepted difference from OpenVINO, as a share of the largest probability; the second one for
graphs in float16 or integers. Measured: 1e-6 of 70 networks of three libraries, and 1e-4 of
EfficientNet-Lite0 in 8 bits."""


class ReplayedNetwork:
    """An OpenVINO model over study images (N, S, S, 3), computed by TensorFlow.

    It takes ``rows`` images at once, any number if None.
    """

    def __init__(self, model: Any, label: str, *, fold_normalisations: bool = True) -> None:
        """``model`` maps study images to probabilities (N, classes) and optionally to more.

        ``fold_normalisations`` is that of ``simplified``. Raises ``GradientError`` for an unknown
        operation, or if the replay's outputs differ from OpenVINO's.
        """
        self.label = label
        batch, self.side = (model.inputs[0].partial_shape[axis] for axis in (0, 1))
        self.side = self.side.get_length()
        self.rows = None if batch.is_dynamic else batch.get_length()
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
        self._moves: list[Node] = []
        self._softmax = self._under(self.graph.results[0])

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
        """In TensorFlow's graph: the scores, and the values ``intermediates`` that lead to them.

        Scores (N, classes) differ as the log probabilities of the classes do. Confident
        probabilities round to 0 and 1, which no gradient passes through.
        """
        tf = tensorflow()
        scores, *others = self.graph.run(images, [self.score_output, *intermediates])
        if self._softmax is None:
            return tf.math.log(tf.maximum(scores.plain, np.finfo(np.float32).tiny)), others
        for node in reversed(self._moves):
            reads = self.graph.reads(node)
            (scores,) = replayed(node, reads, {**self.graph.constants, reads[0]: scores})
        return scores.plain, others

    @property
    def score_output(self) -> Output:
        """The value in the graph that the scores are read from."""
        return self._softmax or self.graph.results[0]

    def _under(self, output: Output) -> Output | None:
        """The input of the last softmax before ``output``; None if there is none."""
        while True:
            node = self.graph.nodes[output[0]]
            if node.type in ("Softmax", "Exp"):
                return node.reads[0]
            if node.type in _MOVING:
                self._moves.append(node)
            elif node.type in _SCALING:
                (way,) = self._way_through(node) or (None,)
                if way is None:
                    return None
                output = way
                continue
            elif node.type not in _LEAVING:
                return None
            output = node.reads[0]

    def _way_through(self, node: Node) -> list[Output]:
        """Values that ``node`` scales by one number for all classes of an image; maybe none.

        What is greater before it is greater after it: 1 - p is on no such way.
        """
        first, second = node.reads
        sizes: dict[Output, Value | None] = {
            way: self.graph.constants.get(way) for way in node.reads
        }
        for way, other in ((first, second), (second, first)):
            size = sizes[other]
            if sizes[way] is None and size is not None and size.array.size == 1:
                shifts = {"Add", "Subtract"}
                swaps = {"Add", "Multiply"}
                rises = node.type in shifts or size.array.item() > 0
                return [way] if rises and (way == first or node.type in swaps) else []
        source = self.graph.nodes[second[0]].shapes[second[1]]
        return [first] if node.type == "Divide" and source and source[-1] == 1 else []

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
        pictures = trial_images(self.side)[:, None]
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
            (replayed,) = self.graph.run(
                tensorflow().constant(picture), self.graph.results[:1], smooth=True
            )
            difference = np.abs(replayed.plain.numpy() - expected).max() / np.abs(expected).max()
            if not difference <= (COARSE_TOLERANCE if coarse else TOLERANCE):
                raise GradientError(
                    f"{self.label} gives no gradients: expected TensorFlow to compute what "
                    f"OpenVINO does, and they differ by {difference:.1g} of the largest "
                    "probability. Use the black-box attack 'square'."
                )


class ReplayedPass:
    """The ``ForwardPass`` of an OpenVINO model in TensorFlow, traced and warmed up once."""

    def __init__(self, model: Any, stages: tuple[str, ...], label: str) -> None:
        """``model`` maps study images to probabilities and the activations of ``stages``.

        Raises ``GradientError`` as ``ReplayedNetwork`` does.
        """
        self.engine = str(Choice(TENSORFLOW, F32))
        self.stages = stages
        self.model = model
        self._network = network = ReplayedNetwork(model, label)
        self.exact = network.exact
        self._rows = network.rows or MOST_ROWS
        tf = tensorflow()
        side = network.side
        images = tf.TensorSpec((network.rows, side, side, 3), tf.float32)

        @tf.function(input_signature=[images], autograph=False)
        def outputs(images: Any) -> Any:
            probabilities, *activations = network.graph.run(images, network.graph.results)
            features = [value.plain for value in activations]  # (N, ..., D) to (N, D)
            places = [tuple(range(1, each.shape.rank - 1)) for each in features]
            pairs = zip(features, places, strict=True)
            return [probabilities.plain, *(tf.reduce_mean(each, at) for each, at in pairs)]

        # The traced function: else TensorFlow takes several models' first calls for retracing.
        self._forward = outputs.get_concrete_function()
        self(np.zeros((1, side, side, 3), np.float32))  # sets up the kernels

    def network(self, label: str) -> Network:
        return self._network

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        tf = tensorflow()
        parts = []
        for start in range(0, len(images), self._rows):
            outputs = self._forward(tf.constant(images[start : start + self._rows], tf.float32))
            parts.append([output.numpy() for output in outputs])
        probabilities, *features = map(np.concatenate, zip(*parts, strict=True))
        return probabilities, dict(zip(self.stages, features, strict=True))
