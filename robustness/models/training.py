"""Training the constants of a model's graph in TensorFlow, and the graph with trained constants."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
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

_BETAS = (0.9, 0.999)
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
"""Inputs of a batch normalisation."""


class GraphTrainer:
    """The graph of a classifier whose constants can be trained; not thread-safe.

    It takes images (N, S, S, 3) of the model's own side. ``stages`` name operations of the graph.
    ``rate`` is the largest learning rate that suits what is trained.
    """

    def __init__(self, classifier: Classifier) -> None:
        """``classifier`` is loaded at its model's own input side.

        Raises ``ParameterError`` for a model that cannot be trained, with the reason.
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
        outputs, self.rate = _weights(graph, self._network.score_output)
        if not outputs:
            raise self._refusal("no constant of its graph is a weight")
        self.parent: Arrays = [np.array(graph.constants[output].array) for output in outputs]
        self._readers = [list(graph.operation(output).get_target_inputs()) for output in outputs]
        tf = tensorflow()
        self._variables = [tf.Variable(values) for values in self.parent]
        pairs = zip(outputs, self._variables, strict=True)
        graph.constants.update({output: Value(variable) for output, variable in pairs})
        self._moments = [[tf.Variable(tf.zeros_like(v)) for v in self._variables] for _ in range(2)]
        self._step = self._compiled()

    def _refusal(self, reason: str) -> ParameterError:
        return ParameterError(f"{self.label} cannot be trained: {reason}.")

    def resized(self, images: Floats) -> Floats:
        """Square images as the model's own input side has them."""
        matrices = resizing(images.shape[1], (self.side, self.side))
        if matrices is None:
            return images
        rows, columns = matrices
        enlarged = np.einsum("ih,nhwc,jw->nijc", rows, images, columns, optimize=True)
        return np.clip(enlarged, 0, 1).astype(np.float32)

    def _compiled(self) -> Callable[..., Any]:
        tf = tensorflow()
        side = self.side
        images = tf.TensorSpec((None, side, side, 3), tf.float32)
        targets = tf.TensorSpec((None, self._network.classes), tf.float32)
        number = tf.TensorSpec((), tf.float32)

        @tf.function(input_signature=[images, targets, number, number], autograph=False)
        def step(images: Any, targets: Any, rate: Any, count: Any) -> Any:
            with tf.GradientTape() as tape:
                scores = tf.nn.log_softmax(self._network.scores(images))
                surprise = tf.math.xlogy(targets, targets) - targets * scores
                loss = tf.reduce_mean(tf.reduce_sum(surprise, 1))
            gradients = tape.gradient(loss, self._variables)
            first, second = _BETAS
            size = rate * tf.sqrt(1 - second**count) / (1 - first**count)
            for variable, mean, square, slope in zip(
                self._variables, *self._moments, gradients, strict=True
            ):
                mean.assign(first * mean + (1 - first) * slope)
                square.assign(second * square + (1 - second) * tf.square(slope))
                variable.assign_sub(size * mean / (tf.sqrt(square) + _EPSILON))
            return loss

        return step

    def step(self, images: Floats, targets: Floats, rate: float, count: int) -> float:
        """One step of Adam, the ``count``-th from 1, towards the probabilities ``targets``.

        Returns the mean Kullback-Leibler divergence before the step. Raises ``ParameterError`` if
        it is not finite.
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
        """The trained constants."""
        return [variable.numpy() for variable in self._variables]

    def state(self) -> Mapping[str, NDArray[np.float32]]:
        """All that training changes, for ``restore``."""
        kinds = (self._variables, *self._moments)
        return {
            f"{kind}-{place}": variable.numpy()
            for kind, variables in enumerate(kinds)
            for place, variable in enumerate(variables)
        }

    def restore(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Continue from a ``state``; raises ``KeyError`` or ``ValueError`` for another model's."""
        for kind, variables in enumerate((self._variables, *self._moments)):
            for place, variable in enumerate(variables):
                variable.assign(state[f"{kind}-{place}"])

    def interpolated(self, share: float) -> Arrays:
        """The constants between the parent's (0) and the trained ones (1)."""
        pairs = zip(self.parent, self.weights, strict=True)
        return [before + np.float32(share) * (after - before) for before, after in pairs]

    def answers(self, weights: Arrays) -> Callable[[Floats], Floats]:
        """The probabilities (N, classes) that ``weights`` give to images of the model's own side,
        by OpenVINO."""
        forward = OpenVinoPass(self._with(weights).clone(), ())
        return lambda images: forward(images)[0]

    def save(self, weights: Arrays, file: Path) -> None:
        """Write the graph with ``weights`` as OpenVINO's ``file``.xml and .bin.

        Raises ``OSError`` if the disk does not take it.
        """
        import openvino

        try:
            openvino.save_model(self._with(weights), file, compress_to_fp16=False)
        except RuntimeError as error:  # of a stream, which does not know why
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error

    def _with(self, weights: Arrays) -> Any:
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
    answer, *features = (output.get_node().input_value(0) for output in copy.outputs)
    names = []
    for stage, feature in zip(stages, features, strict=False):
        node = feature.get_node()
        while node.get_type_name() in ("Transpose", "Convert"):
            node = node.input_value(0).get_node()
        node.set_friendly_name(f"stage {stage}")
        names.append(node.get_friendly_name())
    return openvino.Model([operations.result(answer)], copy.get_parameters()), tuple(names)


def _weights(graph: Graph, last: Output) -> tuple[list[Output], float]:
    """The constants that lead to ``last`` and are trained, and their largest learning rate.

    The factors and offsets of batch normalisations alone, where there are any: with few images
    they gain as much as all weights and cost the originals less (measured in docs/harden.md).
    Otherwise kernels, and the factors and offsets after the first kernel: what comes before it
    prepares the image. The statistics of batch normalisations stay.
    """
    weights: dict[Output, None] = {}
    normalisations: dict[Output, None] = {}
    statistics: set[Output] = set()
    after: set[str] = set()
    for node in graph.in_order(graph.back_from([last])):
        if (node.name, 0) in graph.constants:
            continue
        reads = graph.reads(node)
        constants = [read for read in reads if _is_trainable(graph, read)]
        if node.type in _CONVOLUTIONS:
            kernels = constants
        elif node.type == "MatMul":
            kernels = [read for read in constants if graph.constants[read].rank == 2]
        else:
            kernels = []
        if kernels or any(read[0] in after for read in reads):
            after.add(node.name)
        chosen = kernels
        if node.name in after and node.type in _SCALING:
            chosen = constants
        elif node.name in after and node.type == NORMALISATION:
            normalisations.update({reads[_SCALE]: None, reads[_OFFSET]: None})
            statistics.update((reads[_MEAN], reads[_VARIANCE]))
        weights.update(dict.fromkeys(chosen))
    if outputs := [output for output in normalisations if output not in statistics]:
        return outputs, _RATE_OF_NORMALISATIONS
    return [output for output in weights if output not in statistics], _RATE


def _is_trainable(graph: Graph, output: Output) -> bool:
    if output not in graph.constants:
        return False
    array = graph.constants[output].array
    return array.dtype == np.float32 and array.size > 1 and bool(np.isfinite(array).all())
