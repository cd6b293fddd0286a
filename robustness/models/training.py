"""Training the constants of a model's graph in TensorFlow, and the graph with trained constants."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import GradientError, ParameterError
from robustness.models.classifier import Classifier
from robustness.models.engine import Floats
from robustness.models.frameworks import tensorflow
from robustness.models.graph import resizing
from robustness.models.operations import NORMALISATION, Graph, Output, Value
from robustness.models.passes import OpenVinoPass
from robustness.models.replay import ReplayedNetwork

Arrays = list[NDArray[np.float32]]

_BETA1 = 0.9
_BETA2 = 0.999
_EPSILON = 1e-7
"""Parameters of Adam: Kingma & Ba, ICLR 2015."""

_RATE = 1e-4
_RATE_OF_NORMALISATIONS = 2e-3

_CONVOLUTIONS = {"Convolution", "GroupConvolution"}
_SCALING = {"Add", "Subtract", "Multiply", "Divide"}
_SCALE = 1
_OFFSET = 2
_MEAN = 3
_VARIANCE = 4
"""The inputs of a batch normalisation, by index."""


class GraphTrainer:
    """The graph of a classifier, whose constants can be trained; not thread-safe.

    It takes images (N, S, S, 3) of the model's own side. ``stages`` are the friendly names of the
    operations that are its feature stages. ``rate`` is the largest learning rate that suits the
    trained constants. ``parent`` are their values before training.
    """

    def __init__(self, classifier: Classifier) -> None:
        """``classifier`` is loaded for images of its model's own input side.

        Raises ``ParameterError`` with the reason for a model that cannot be trained.
        """
        record = classifier.record
        self.label = record.label
        self.side = classifier.side
        if record.base:
            raise self._refusal(f"it is calibrated; train {record.base.label} and calibrate that")
        if classifier.forward.model is None:
            raise self._refusal("it runs as Python code or in its own runtime, not as a graph")
        model, self.stages = _answer_alone(classifier.forward.model, classifier.stages)
        try:
            self._network = ReplayedNetwork(model, self.label, fold_normalisations=False)
        except GradientError as error:
            raise ParameterError(f"{self.label} cannot be trained. {error}") from error
        graph = self._network.graph
        if graph.rounds:
            raise self._refusal("it is quantised; give the model in float32")
        if self._network.rows is not None:
            raise self._refusal("its graph takes a fixed number of images; export a free batch")
        self._model = graph.model
        outputs, self.rate = _trained_constants(graph, self._network.score_output)
        if not outputs:
            raise self._refusal("no constant of its graph is a weight")
        self.parent: Arrays = [np.array(graph.constants[output].array) for output in outputs]
        self._readers = [list(graph.operation(output).get_target_inputs()) for output in outputs]
        tf = tensorflow()
        self._variables = [tf.Variable(values) for values in self.parent]
        for output, variable in zip(outputs, self._variables, strict=True):
            graph.constants[output] = Value(variable)
        # Adam's running means of the gradients and of their squares.
        self._first_moments = [tf.Variable(tf.zeros_like(v)) for v in self._variables]
        self._second_moments = [tf.Variable(tf.zeros_like(v)) for v in self._variables]
        self._step = self._compiled()

    def _refusal(self, reason: str) -> ParameterError:
        return ParameterError(f"{self.label} cannot be trained: {reason}.")

    def resized(self, images: Floats) -> Floats:
        """Square ``images`` (N, T, T, 3) resized to the model's own side, in [0, 1]."""
        matrices = resizing(images.shape[1], (self.side, self.side))
        if matrices is None:
            return images
        rows, columns = matrices
        resized = np.einsum("ih,nhwc,jw->nijc", rows, images, columns, optimize=True)
        return np.clip(resized, 0, 1).astype(np.float32)  # bicubic overshoots at edges

    def _compiled(self) -> Callable[..., Any]:
        """The function of one step, compiled by TensorFlow."""
        tf = tensorflow()
        signature = [
            tf.TensorSpec((None, self.side, self.side, 3), tf.float32),
            tf.TensorSpec((None, self._network.classes), tf.float32),
            tf.TensorSpec((), tf.float32),
            tf.TensorSpec((), tf.float32),
        ]

        @tf.function(input_signature=signature, autograph=False)
        def step(images: Any, targets: Any, rate: Any, count: Any) -> Any:
            with tf.GradientTape() as tape:
                log_probabilities = tf.nn.log_softmax(self._network.scores(images))
                divergences = tf.math.xlogy(targets, targets) - targets * log_probabilities
                loss = tf.reduce_mean(tf.reduce_sum(divergences, 1))
            gradients = tape.gradient(loss, self._variables)
            step_size = rate * tf.sqrt(1 - _BETA2**count) / (1 - _BETA1**count)
            for variable, first_moment, second_moment, gradient in zip(
                self._variables,
                self._first_moments,
                self._second_moments,
                gradients,
                strict=True,
            ):
                first_moment.assign(_BETA1 * first_moment + (1 - _BETA1) * gradient)
                second_moment.assign(_BETA2 * second_moment + (1 - _BETA2) * tf.square(gradient))
                variable.assign_sub(step_size * first_moment / (tf.sqrt(second_moment) + _EPSILON))
            return loss

        return step

    def step(self, images: Floats, targets: Floats, rate: float, count: int) -> float:
        """Take one step of Adam, the ``count``-th from 1, towards the probabilities ``targets``.

        ``images`` are (N, side, side, 3), ``targets`` (N, classes), and ``rate`` is the learning
        rate. Returns the mean Kullback-Leibler divergence before the step. Raises
        ``ParameterError`` if it is not finite.
        """
        loss = float(self._step(images, targets, np.float32(rate), np.float32(count)))
        if not np.isfinite(loss):
            raise ParameterError(
                f"Training {self.label} diverged at step {count}: expected a finite loss, got "
                f"{loss}. Lower the learning rate."
            )
        return loss

    @property
    def weights(self) -> Arrays:
        """The present values of the trained constants."""
        return [variable.numpy() for variable in self._variables]

    def state(self) -> Mapping[str, NDArray[np.float32]]:
        """All that training changes, for ``restore``."""
        return {name: variable.numpy() for name, variable in self._named_variables()}

    def restore(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Continue from a ``state``; raises ``KeyError`` or ``ValueError`` for another model's."""
        for name, variable in self._named_variables():
            variable.assign(state[name])

    def _named_variables(self) -> Iterator[tuple[str, Any]]:
        """Yield each variable with its name in a ``state``, which checkpoints are saved with."""
        kinds = (self._variables, self._first_moments, self._second_moments)
        for kind, variables in enumerate(kinds):
            for index, variable in enumerate(variables):
                yield f"{kind}-{index}", variable

    def interpolated(self, share: float) -> Arrays:
        """The constants between those of the parent (``share`` 0) and the trained ones (1)."""
        arrays = []
        for before, after in zip(self.parent, self.weights, strict=True):
            arrays.append(before + np.float32(share) * (after - before))
        return arrays

    def answers(self, weights: Arrays) -> Callable[[Floats], Floats]:
        """A function that predicts with ``weights`` in place of the trained constants.

        It maps images of the model's own side to probabilities (N, classes), by OpenVINO.
        """
        forward = OpenVinoPass(self._model_with(weights).clone(), ())

        def probabilities(images: Floats) -> Floats:
            return forward(images)[0]

        return probabilities

    def save(self, weights: Arrays, file: Path) -> None:
        """Write the graph with ``weights`` as OpenVINO's ``file``, .xml and .bin.

        Raises ``OSError`` if the disk is full or cannot be written.
        """
        import openvino

        try:
            openvino.save_model(self._model_with(weights), file, compress_to_fp16=False)
        except RuntimeError as error:
            # It comes from a stream, which does not know why; most likely the disk is full.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error

    def _model_with(self, weights: Arrays) -> Any:
        """The model in OpenVINO, in which ``weights`` replace the trained constants."""
        from openvino import opset15 as operations

        for readers, values in zip(self._readers, weights, strict=True):
            constant = operations.constant(np.ascontiguousarray(values)).output(0)
            for reader in readers:
                reader.replace_source_output(constant)
        self._model.validate_nodes_and_infer_types()
        return self._model


def _answer_alone(model: Any, stages: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    """A copy of ``model`` with its first output alone, and the names of its feature stages."""
    import openvino
    from openvino import opset15 as operations

    copy = model.clone()
    answer, *features = [output.get_node().input_value(0) for output in copy.outputs]
    stage_names = []
    for stage, feature in zip(stages, features, strict=False):
        node = feature.get_node()
        while node.get_type_name() in ("Transpose", "Convert"):
            node = node.input_value(0).get_node()
        node.set_friendly_name(f"stage {stage}")
        stage_names.append(node.get_friendly_name())
    answer_model = openvino.Model([operations.result(answer)], copy.get_parameters())
    return answer_model, tuple(stage_names)


def _trained_constants(graph: Graph, scores: Output) -> tuple[list[Output], float]:
    """The constants that lead to ``scores`` and are trained, and their largest learning rate.

    If there are batch normalisations, only their factors and offsets are trained: with few images
    they gain as much as all weights, and cost less accuracy on the originals (measured in
    docs/harden.md). Otherwise it is the kernels, and the factors and offsets after the first
    kernel. Those before it prepare the image. The statistics of batch normalisations stay.
    """
    # Dictionaries, as sets in the order of the graph.
    weights: dict[Output, None] = {}
    normalisations: dict[Output, None] = {}
    statistics: set[Output] = set()
    behind_kernels: set[str] = set()
    for node in graph.in_order(graph.back_from([scores])):
        if (node.name, 0) in graph.constants:
            continue
        reads = graph.reads(node)
        constants = [read for read in reads if _is_trainable(graph, read)]
        kernels: list[Output] = []
        if node.type in _CONVOLUTIONS:
            kernels = constants
        elif node.type == "MatMul":
            kernels = [read for read in constants if graph.constants[read].rank == 2]
        weights.update(dict.fromkeys(kernels))
        if not kernels and not any(read[0] in behind_kernels for read in reads):
            continue
        behind_kernels.add(node.name)
        if node.type in _SCALING:
            weights.update(dict.fromkeys(constants))
        elif node.type == NORMALISATION:
            normalisations[reads[_SCALE]] = None
            normalisations[reads[_OFFSET]] = None
            statistics.add(reads[_MEAN])
            statistics.add(reads[_VARIANCE])
    # Operations may share a constant: one that is a statistic of any normalisation stays.
    factors = [output for output in normalisations if output not in statistics]
    if factors:
        return factors, _RATE_OF_NORMALISATIONS
    return [output for output in weights if output not in statistics], _RATE


def _is_trainable(graph: Graph, output: Output) -> bool:
    if output not in graph.constants:
        return False
    array = graph.constants[output].array
    return array.dtype == np.float32 and array.size > 1 and bool(np.isfinite(array).all())
