"""A forward pass compiled by OpenVINO for the processor of this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.inference.choice import OPENVINO, Choice
from robustness.models.inference.compiled import MOST, SOONEST, Compiled
from robustness.models.inference.forward_pass import F32, Floats, Precision

ROWS_AT_ONCE = 4
"""Images in one inference: their activations stay in the processor's caches. Measured on two cores,
16 at once took 18 (SqueezeNet) and 8 (EfficientNet-Lite0) percent longer a picture, 1 at once up to
36, and 16 kept 240 MB of activations a model where 4 keep 60."""

MANY = 8
"""Images from which on several inferences at once pay, of ``ROWS_OF_MANY`` images and few cores
each. Measured on two cores: 3 (SqueezeNet) to 17 (EfficientNet-Lite1) percent more images a
second."""

ROWS_OF_MANY = 2

_LARGE = 200 * 10**6
"""Bytes of weights from which on that does not pay: each inference reads all of them, and they are
in memory once more."""


class OpenVinoPass:
    """The ``ForwardPass`` of a converted model, compiled for one picture.

    And once more for some, and for many, when these come; all of them answer the same.
    """

    def __init__(
        self,
        model: Any,
        stages: tuple[str, ...],
        *,
        precision: Precision = F32,
        held: object = None,
    ) -> None:
        """``model`` maps study images to probabilities and the activations of ``stages``.

        ``held`` is whatever the memory of its weights belongs to.
        """
        self.engine = str(Choice(OPENVINO, precision))
        self.stages = stages
        self.precision = precision
        self._model = model
        self._held = held
        self._compiling = threading.Lock()
        self._large = _weights_bytes(model) >= _LARGE
        self._of_few: Compiled | None = None
        self._of_many: Compiled | None = None
        self._whole: Compiled | None = None
        self._of_one = (
            self._for_few()
            if self._large
            else Compiled(_alone(_pooled(model)), precision, SOONEST, 1)
        )

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        probabilities, *features = self._for(len(images))(images)
        return probabilities, dict(zip(self.stages, features, strict=True))

    def _for(self, count: int) -> Compiled:
        if count == 1:
            return self._of_one
        with self._compiling:
            return self._for_few() if self._large or count < MANY else self._for_many()

    def _for_few(self) -> Compiled:
        if self._of_few is None:
            pooled = _pooled(self._model)
            self._of_few = Compiled(pooled, self.precision, SOONEST, ROWS_AT_ONCE)
        return self._of_few

    def _for_many(self) -> Compiled:
        if self._of_many is None:
            found = Compiled(_pooled(self._model), self.precision, MOST, ROWS_OF_MANY)
            self._of_many = found if found.streams > 1 else self._for_few()
        return self._of_many

    def products(self, images: Floats) -> Mapping[str, NDArray[np.float64]]:
        with self._compiling:
            if self._whole is None:
                self._whole = Compiled(self._model, self.precision, SOONEST, ROWS_AT_ONCE)
        _, *activations = self._whole(images)
        found = {}
        for stage in self.stages:
            # In float64: distances are small differences of these products.
            flat = activations.pop(0).reshape(len(images), -1).astype(np.float64)
            found[stage] = flat @ flat.T
        return found


def _weights_bytes(model: Any) -> int:
    constants = (node for node in model.get_ops() if node.get_type_name() == "Constant")
    return sum(node.get_byte_size() for node in constants)


def _alone(model: Any) -> Any:
    """``model`` for one image at a time: with every shape known, small networks answer sooner.

    Measured on two cores: 5 (EfficientNet-Lite2) to 10 percent (SqueezeNet, EfficientNetB0).
    """
    _, *rest = model.inputs[0].partial_shape
    found = model.clone()
    found.reshape([1, *rest])
    return found


def _pooled(model: Any) -> Any:
    """``model`` with each stage's activations (N, ..., D) averaged to (N, D)."""
    import openvino
    from openvino import opset15 as operations

    probabilities, *activations = (output.get_node().input_value(0) for output in model.outputs)
    results = [operations.result(probabilities)]
    for activation in activations:
        rank = len(activation.partial_shape)
        if rank == 4:  # OpenVINO has channels first inside: averaged so, nothing is transposed
            activation = operations.transpose(activation, np.array([0, 3, 1, 2])).output(0)
        between = np.arange(2, 4) if rank == 4 else np.arange(1, rank - 1)
        if rank > 2:
            activation = operations.reduce_mean(activation, between, False).output(0)
        results.append(operations.result(activation))
    return openvino.Model(results, model.get_parameters(), model.get_friendly_name())
