"""Batch normalisation with statistics of other images than those of the training, in OpenVINO.

Schneider et al., NeurIPS 2020: the mean and variance of each channel are a mixture of those of the
training, which count as ``PRIOR`` images, and of those of images that are perturbed alike.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from robustness.base.errors import ParameterError
from robustness.models.run.openvino import F32, MOST, SOONEST, Compiled, Floats, first_line

PRIOR = 32
"""Images that the statistics of the training count as: as many as are adapted to, so that both
have half the weight."""

_NORMALISATION = "BatchNormInference"
_MEAN, _VARIANCE = 3, 4  # inputs of that operation; the first is what it normalises


class Adaptable:
    """A network and the statistics of its batch normalisations; thread-safe.

    Statistics are one vector, the means and variances of all channels of all layers.
    """

    def __init__(self, model: Any) -> None:
        """``model`` maps study images (N, S, S, 3) first of all to probabilities (N, classes).

        Raises ``ParameterError`` for a model without batch normalisations.
        """
        self._model = model
        self._lock = threading.Lock()
        self._compiled: Compiled | None = None
        self._lengths = [
            length
            for node in _normalisations(model)
            for length in [node.input(_MEAN).get_partial_shape()[0].get_length()] * 2
        ]
        if not self._lengths:
            raise ParameterError("Expected a graph with batch normalisations, got one without.")
        shape = [size.get_length() for size in model.inputs[0].partial_shape[1:]]
        try:  # a graph may be for one image alone, or not in float32
            self._measuring((2, *shape))
            self._with_input(shape)
        except RuntimeError as error:
            raise ParameterError(
                f"Expected a graph in float32 of any batch ({first_line(error)})."
            ) from error

    def statistics(self, sets: Iterable[Floats]) -> Iterator[Floats]:
        """The statistics adapted to each of ``sets`` of images, (N, S, S, 3) in [0, 1].

        Each layer's are of activations that the adapted layers before it give. Sets of one size
        share a compiled network, which holds the activations of all their images.
        """
        measure: Compiled | None = None
        for images in sets:
            if measure is None or measure.rows != len(images):
                measure = Compiled(self._measuring(images.shape), F32, SOONEST, len(images))
            yield np.concatenate(measure(images)).astype(np.float32)

    def _measuring(self, shape: tuple[int, ...]) -> Any:
        """The network for a batch of ``shape`` that outputs its adapted statistics."""
        from openvino import opset15 as operations

        model = self._model.clone()
        model.reshape(list(shape))
        share, results = shape[0] / (PRIOR + shape[0]), []
        for node in _normalisations(model):
            values = node.input_value(0)
            axes = [0, *range(2, len(values.get_partial_shape()))]
            mean = operations.reduce_mean(values, axes, True)
            squared = operations.squared_difference(values, mean)
            own = (operations.squeeze(mean, axes), operations.reduce_mean(squared, axes, False))
            for place, fresh in zip((_MEAN, _VARIANCE), own, strict=True):
                trained = operations.multiply(node.input_value(place), np.float32(1 - share))
                mixed = operations.add(trained, operations.multiply(fresh, np.float32(share)))
                node.input(place).replace_source_output(mixed.output(0))
                results.append(operations.result(mixed))
        return _model(results, model.get_parameters())

    def probabilities(self, images: Floats, statistics: Floats) -> Floats:
        """For ``images`` (N, S, S, 3), with ``statistics``: (N, classes)."""
        with self._lock:
            if self._compiled is None:
                self._compiled = Compiled(self._with_input(images.shape[1:]), F32, MOST, 1)
        return self._compiled(images, statistics)[0]

    def _with_input(self, shape: Sequence[int]) -> Any:
        """The model for one image, with the statistics as a second input."""
        import openvino
        from openvino import opset15 as operations

        model = self._model.clone()
        model.reshape([1, *shape])
        statistics = operations.parameter([sum(self._lengths)], openvino.Type.f32)
        parts = operations.variadic_split(statistics, 0, self._lengths)
        for place, node in enumerate(_normalisations(model)):
            node.input(_MEAN).replace_source_output(parts.output(2 * place))
            node.input(_VARIANCE).replace_source_output(parts.output(2 * place + 1))
        probabilities = model.outputs[0].get_node().input_value(0)
        results = [operations.result(probabilities)]
        return _model(results, [*model.get_parameters(), statistics])

    def adapted(self, statistics: Floats) -> Any:
        """The model with ``statistics`` in place of its own."""
        from openvino import opset15 as operations

        model = self._model.clone()
        parts = iter(np.split(statistics, np.cumsum(self._lengths)[:-1]))
        for node in _normalisations(model):
            for place in (_MEAN, _VARIANCE):
                constant = operations.constant(np.ascontiguousarray(next(parts)))
                node.input(place).replace_source_output(constant.output(0))
        model.validate_nodes_and_infer_types()
        return model


def _model(results: Any, parameters: Any) -> Any:
    import openvino

    return openvino.Model(results, parameters)


def _normalisations(model: Any) -> list[Any]:
    """The batch normalisations of ``model``, in an order that its clones share."""
    nodes = [node for node in model.get_ops() if node.get_type_name() == _NORMALISATION]
    return sorted(nodes, key=lambda node: str(node.get_friendly_name()))
