"""An OpenVINO model compiled for this processor; thread-safe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from robustness.models.inference.forward_pass import Floats, Precision
from robustness.models.inference.openvino_core import core

_SHARED = {
    # Pinned to cores, two models running at once would share the first core.
    "ENABLE_CPU_PINNING": False,
}
SOONEST: Mapping[str, object] = {**_SHARED, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
"""All cores work on one inference: the lowest latency for one image."""

MOST: Mapping[str, object] = {**_SHARED, "PERFORMANCE_HINT": "THROUGHPUT"}
"""Several inferences at once, each on few cores: the most images a second."""


def thread_share() -> int:
    """The threads that one inference may take; 0 for all. Ray sets it to a worker's share."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() else 0


class Compiled:
    """A model whose first input is images; thread-safe."""

    def __init__(
        self, model: Any, precision: Precision, options: Mapping[str, object], rows: int
    ) -> None:
        """``rows`` is the number of images in one inference."""
        asked = {**options, "INFERENCE_PRECISION_HINT": precision}
        if threads := thread_share():
            asked["INFERENCE_NUM_THREADS"] = threads
        self._model = core().compile_model(model, "CPU", asked)
        self.rows = rows
        self._idle: list[Any] = []
        self.streams = int(self._model.get_property("NUM_STREAMS"))

    def __call__(self, images: Floats, *extra_inputs: Floats) -> list[Floats]:
        """Every output for all ``images``, in the model's order; also takes ``extra_inputs``."""
        chunks = [
            np.ascontiguousarray(images[start : start + self.rows], np.float32)
            for start in range(0, len(images), self.rows)
        ]
        requests = [self._request() for _ in chunks[: self.streams]]
        parts: list[list[Floats]] = []
        for place, chunk in enumerate(chunks):
            request = requests[place % len(requests)]
            if place >= len(requests):
                parts.append(_outputs(request))
            request.start_async([chunk, *extra_inputs], share_inputs=True)
        left = range(len(parts), len(chunks))
        parts += [_outputs(requests[place % len(requests)]) for place in left]
        self._idle += requests
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _request(self) -> Any:
        """A request for this caller alone, as it holds the results."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._model.create_infer_request()


def _outputs(request: Any) -> list[Floats]:
    """Waits for ``request`` and copies its results."""
    request.wait()
    return [np.array(tensor.data) for tensor in request.output_tensors]
