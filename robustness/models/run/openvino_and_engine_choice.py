"""OpenVINO: its runtime, the choice of engine and precision, and compiled models."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, Protocol

import numpy as np

from robustness.base import settings
from robustness.base.errors import ParameterError
from robustness.models.run.network_and_gradients import Floats, Network
from robustness.models.tensorflow_and_keras_import import has_gpu

# OpenVINO reports every import to Google Analytics unless this module is missing.
_modules: dict[str, Any] = sys.modules
_modules.setdefault("openvino_telemetry", None)

_WHERE = (
    "Check ",
    "Converting ",
    "Exception from ",
    "FrontEnd API failed",
    "Loading input model",
)


_first = threading.Lock()


def core() -> Any:
    """OpenVINO's core, one for this process."""
    with _first:
        return _core()


@cache
def _core() -> Any:
    import openvino

    # OpenVINO 2026.4 fills a table in the first of these calls and lets go of the GIL meanwhile. A
    # second thread that enters it then waits for the table with the GIL: the process stands still.
    openvino.Type.f32.to_dtype()
    return openvino.Core()


def first_line(error: Exception) -> str:
    """The line of an OpenVINO error that says what is wrong.

    OpenVINO puts source locations first and lists missing operations with dashes.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if line and not line.startswith(_WHERE)]
    listed = [line.removeprefix("-- ") for line in reasons if line.startswith("-- ")]
    text = (listed[-1:] or reasons or [type(error).__name__])[0][:200]
    return text.replace("std::bad_alloc", "out of memory")


Precision = Literal["f32", "bf16"]
F32: Precision = "f32"
BF16: Precision = "bf16"

PARALLEL_MODELS: ContextVar[bool] = ContextVar("beside others", default=False)
"""Set while as many models as cores run at once: each pass then leaves the other cores free."""


class ForwardPass(Protocol):
    """One model's pass over any number of study images; thread-safe.

    An image's prediction does not depend on the rest of its batch. ``stages`` are the feature
    stages, shallow to deep; ``engine`` names engine, version and precision. ``exact`` is whether it
    computes in float32, as gradients do. ``model`` is the OpenVINO model that it is a pass of, None
    where another runtime predicts.
    """

    engine: str
    stages: tuple[str, ...]
    exact: bool
    model: Any

    def network(self, label: str) -> Network:
        """Builds the same model in TensorFlow's graph, for gradients and explanations.

        ``label`` is its display name. Raises ``GradientError`` for a model without gradients.
        """

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        """For (N, S, S, 3) in [0, 1]: probabilities (N, classes), and features (N, D) by stage.

        Features are the stage's activations averaged over all axes between images and channels.
        """


OPENVINO, TENSORFLOW = "openvino", "tensorflow"


@dataclass(frozen=True)
class Choice:
    """An engine by name, and its precision."""

    engine: str
    precision: Precision

    def __str__(self) -> str:
        """The engine with version and precision, as in manifests; imports nothing."""
        return f"{self.engine} {version(self.engine)}, {self.precision}"


def chosen() -> Choice:
    """The choice that the settings ``engine`` and ``precision`` make.

    By default OpenVINO in float32, or TensorFlow if it sees a GPU. Raises ``ParameterError`` for
    an unknown engine or precision, or one that the engine or processor lacks.
    """
    engine = settings.value(settings.ENGINE)
    precision = settings.value(settings.PRECISION) or F32
    if engine is None:
        engine = TENSORFLOW if has_gpu() else OPENVINO
    if engine == TENSORFLOW and precision != F32:
        raise ParameterError(
            f"Expected no setting 'precision', or 'f32', with the engine 'tensorflow', got "
            f"{precision!r}. Set 'engine' to 'openvino', or leave 'precision' out."
        )
    if precision == BF16 and not _has_bf16():
        raise ParameterError(
            "Expected a processor with bfloat16 for the setting 'precision' = 'bf16', got one "
            "without it. Leave the setting out for float32."
        )
    return Choice(engine, precision)


@cache
def _has_bf16() -> bool:
    """Whether OpenVINO finds bfloat16 in this processor; on others it may fail."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


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
    """A model whose only input is images; thread-safe."""

    def __init__(
        self, model: Any, precision: Precision, options: Mapping[str, object], rows: int
    ) -> None:
        """``rows`` is the number of images in one inference."""
        settings = {**options, "INFERENCE_PRECISION_HINT": precision}
        if threads := thread_share():
            settings["INFERENCE_NUM_THREADS"] = threads
        self._model = core().compile_model(model, "CPU", settings)
        self.rows = rows
        self._idle: list[Any] = []
        self.streams = int(self._model.get_property("NUM_STREAMS"))

    def __call__(self, images: Floats) -> list[Floats]:
        """Every output for all ``images``, in the model's order."""
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
            request.start_async([chunk], share_inputs=True)
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
