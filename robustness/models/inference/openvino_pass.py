"""A forward pass compiled by OpenVINO for the processor of this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.inference.choice import OPENVINO, Choice
from robustness.models.inference.forward_pass import F32, Floats, Precision
from robustness.models.inference.openvino_core import core

ROWS_AT_ONCE = 4
"""Images in one inference: their activations stay in the processor's caches. Measured on two cores,
16 at once took 18 (SqueezeNet) and 8 (EfficientNet-Lite0) percent longer a picture, 1 at once up to
36, and 16 kept 240 MB of activations a model where 4 keep 60."""

_SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    # Pinned to cores, two models that are asked at once would share the first core.
    "ENABLE_CPU_PINNING": False,
}


class OpenVinoPass:
    """The ``ForwardPass`` of a converted model, compiled once for any number of pictures."""

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
        self._model = model
        self._held = held
        self.precision = precision
        self._compiling = threading.Lock()
        self._idle: list[Any] = []
        self._whole: Any = None
        self._compiled = self._compile(_pooled(model))

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        try:
            request = self._idle.pop()  # a request holds its results, so each caller has its own
        except IndexError:
            request = self._compiled.create_infer_request()
        probabilities, *features = _inferred(request, images)
        self._idle.append(request)
        return probabilities, dict(zip(self.stages, features, strict=True))

    def products(self, images: Floats) -> Mapping[str, NDArray[np.float64]]:
        with self._compiling:
            if self._whole is None:
                self._whole = self._compile(self._model)
        _, *activations = _inferred(self._whole.create_infer_request(), images)
        found = {}
        for stage in self.stages:
            # In float64: distances are small differences of these products.
            flat = activations.pop(0).reshape(len(images), -1).astype(np.float64)
            found[stage] = flat @ flat.T
        return found

    def _compile(self, model: Any) -> Any:
        options = {**_SETTINGS, "INFERENCE_PRECISION_HINT": self.precision}
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdecimal() and int(threads) > 0:  # as Ray sets it for a worker's share
            options["INFERENCE_NUM_THREADS"] = int(threads)
        return core().compile_model(model, "CPU", options)


def _inferred(request: Any, images: Floats) -> list[Floats]:
    """Every output of the model for all of ``images``."""
    parts = []
    for start in range(0, len(images), ROWS_AT_ONCE):
        rows = np.ascontiguousarray(images[start : start + ROWS_AT_ONCE], np.float32)
        found = request.infer([rows], share_inputs=True, share_outputs=True)
        parts.append([np.array(found[place]) for place in range(len(found))])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


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
