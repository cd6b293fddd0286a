"""A forward pass compiled by OpenVINO for the processor of this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from robustness.models.run.network_and_gradients import Network
from robustness.models.run.openvino_and_engine_choice import (
    F32,
    MOST,
    OPENVINO,
    PARALLEL_MODELS,
    SOONEST,
    Choice,
    Compiled,
    Floats,
    Precision,
)
from robustness.models.run.replay.network_and_forward_pass import ReplayedNetwork

ROWS_AT_ONCE = 4
"""Images in one inference of a large network, which reads all weights each time."""

_LARGE = 200 * 10**6
"""Bytes of weights from which a network is compiled once and takes several images at once."""


class OpenVinoPass:
    """The ``ForwardPass`` of a converted model, compiled for one image at a time.

    Compiled on demand in two ways with equal results: for latency, with all cores on one image;
    and for throughput, with several images at once or other models beside it. Measured on two
    cores against inferences of two images: of 16, 3 (EfficientNetB0) to 16 (EfficientNet-Lite1)
    percent more images a second; against inferences of four: of four, 3 (DenseNet121) to 18
    percent more, but of ResNet50 6 percent fewer.
    """

    def __init__(self, model: Any, stages: tuple[str, ...], *, precision: Precision = F32) -> None:
        """``model`` maps study images to probabilities and the activations of ``stages``."""
        self.engine = str(Choice(OPENVINO, precision))
        self.stages = stages
        self.precision = precision
        self.exact = precision == F32
        self.model = model
        free = model.inputs[0].partial_shape[0].is_dynamic
        self._rows = ROWS_AT_ONCE if free else 1
        self._compiling = threading.Lock()
        constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
        self._large = sum(node.get_byte_size() for node in constants) >= _LARGE
        self._soonest: Compiled | None = None
        self._most: Compiled | None = None

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        probabilities, *features = self._for(len(images))(images)
        return probabilities, dict(zip(self.stages, features, strict=True))

    def network(self, label: str) -> Network:
        return ReplayedNetwork(self.model, label)

    def _for(self, count: int) -> Compiled:
        """The compiled model for ``count`` images now."""
        alone = self._large or (count == 1 and not PARALLEL_MODELS.get())
        compiled = self._soonest if alone else self._most
        if compiled is not None:
            return compiled
        with self._compiling:
            if alone and self._soonest is None:
                model, rows = _pooled(self.model), self._rows
                if not self._large:
                    model, rows = _alone(model), 1
                self._soonest = Compiled(model, self.precision, SOONEST, rows)
            elif not alone and self._most is None:
                self._most = Compiled(_alone(_pooled(self.model)), self.precision, MOST, 1)
                if self._most.streams == 1:  # a single stream: both are the same
                    self._soonest = self._soonest or self._most
            compiled = self._soonest if alone else self._most
        assert compiled
        return compiled


def _alone(model: Any) -> Any:
    """``model`` for one image at a time: with fixed shapes, small networks are faster.

    Measured on two cores: 5 (EfficientNet-Lite2) to 10 percent (SqueezeNet, EfficientNetB0).
    """
    _, *rest = model.inputs[0].partial_shape
    single = model.clone()
    single.reshape([1, *rest])
    return single


def _pooled(model: Any) -> Any:
    """``model`` with each stage's activations (N, ..., D) averaged to (N, D)."""
    import openvino
    from openvino import opset15 as operations

    probabilities, *activations = (output.get_node().input_value(0) for output in model.outputs)
    results = [operations.result(probabilities)]
    for activation in activations:
        _, *places, channels = activation.partial_shape
        if len(places) == 2:
            # With channels first, as inside of OpenVINO, nothing is transposed; a pooling also
            # takes its blocks of channels, which a mean would have rearranged: half the cost.
            activation = operations.transpose(activation, np.array([0, 3, 1, 2])).output(0)
            window = [size.get_length() for size in places]
            pooled = operations.avg_pool(activation, [1, 1], [0, 0], [0, 0], window, True)
            shape = np.array([-1, channels.get_length()])
            activation = operations.reshape(pooled, shape, False).output(0)
        elif places:
            between = np.arange(1, 1 + len(places))
            activation = operations.reduce_mean(activation, between, False).output(0)
        results.append(operations.result(activation))
    return openvino.Model(results, model.get_parameters(), model.get_friendly_name())
