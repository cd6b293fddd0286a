"""OpenVINO: its runtime, the choice of engine and precision, and compiled models.

Gradients of a model's scores with respect to pixels, in one compiled pass.
"""

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
from numpy.typing import NDArray

from robustness.base import settings
from robustness.base.errors import GradientError, ParameterError
from robustness.models.frameworks import has_gpu, tensorflow

Floats = NDArray[np.float32]
Classes = NDArray[np.int32]

ALL_OTHERS = -1
BEST_OTHER = -2
"""Rivals: all other classes together, or the most probable other class."""

MOST_ROWS = 16
"""Images in one pass of TensorFlow: larger batches gain nothing on a CPU and cost memory."""


@dataclass(frozen=True)
class Slope:
    """For N study images: the rivals' lead over a class, and its gradient.

    ``lead`` is (N,), in natural-log units; ``scores`` (N, classes) are logits, or logarithms of
    probabilities for a model without a softmax; ``gradient`` (N, S, S, 3) is the lead's change per
    unit of pixel value, 0 where it is not finite.
    """

    lead: Floats
    scores: Floats
    gradient: Floats


class Network(Protocol):
    """A model over study images of ``side`` pixels in TensorFlow's graph.

    ``label`` is the model's display name. It takes ``rows`` images at once, any number if None.
    ``exact`` is whether its scores equal those of the model's predictions.
    """

    label: str
    side: int
    rows: int | None

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def exact(self) -> bool: ...

    @property
    def gradients(self) -> Gradients:
        """The pass that attacks need; raises ``GradientError`` if there is none."""

    def scores(self, images: Any) -> Any:
        """In the graph: logits, or the logarithms of probabilities, (N, classes)."""


class Gradients:
    """The pass of one model, traced once for any number of images, classes and rivals."""

    def __init__(self, network: Network) -> None:
        """Raises ``GradientError`` if no gradient leads from the scores back to the pixels."""
        tf = tensorflow()
        side = network.side
        classes = network.classes
        rows = network.rows
        some = tf.TensorSpec((rows,), tf.int32)
        spec = (
            tf.TensorSpec((rows, side, side, 3), tf.float32),
            some,
            some,
            tf.TensorSpec((), tf.bool),
            tf.TensorSpec((), tf.float32),
        )

        @tf.function(input_signature=spec, autograph=False)
        def slope(images: Any, own: Any, rivals: Any, scaled: Any, temperature: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(images)
                scores = network.scores(images) / temperature
                masked = tf.where(tf.one_hot(own, classes, True, False), -np.inf, scores)
                others = tf.reduce_logsumexp(masked, -1)
                single = tf.gather(scores, tf.maximum(rivals, 0), batch_dims=1)
                ahead = tf.where(rivals == ALL_OTHERS, others, single)
                ahead = tf.where(rivals == BEST_OTHER, tf.reduce_max(masked, -1), ahead)
                lead = ahead - tf.gather(scores, own, batch_dims=1)
                if classes >= 4:
                    lead = tf.where(scaled, lead / _spread(scores, rivals), lead)
            gradient = tape.gradient(lead, images)
            if gradient is None:
                raise LookupError("no differentiable way from the pixels to the answer")
            # One pixel without a slope, such as of a root at 0, would spoil the whole gradient.
            return lead, scores, tf.where(tf.math.is_finite(gradient), gradient, 0.0)

        self._rows = rows or MOST_ROWS
        self._compiled = slope
        try:
            self._traced = slope.get_concrete_function()
        except (LookupError, NotImplementedError) as error:
            raise GradientError(
                f"{network.label} gives no gradients, as its graph has a step that cannot be "
                "differentiated. Use the black-box attack 'square'."
            ) from error

    def __call__(
        self,
        images: Floats,
        classes: Classes,
        rivals: Classes | None = None,
        *,
        scaled: bool = False,
        temperature: float = 1.0,
    ) -> Slope:
        """The slope at ``images`` (N, S, S, 3) of the lead of ``rivals`` over ``classes``, (N,).

        A rival is one class, the ``BEST_OTHER``, or ``ALL_OTHERS`` together (the default): then
        the lead is the log-odds log((1 - p) / p) of the class, and its gradient points where that
        of the cross-entropy log(1 + exp(lead)) does. Unlike that one it does not vanish as p nears
        1. ``scaled`` divides the lead by a spread of the scores, which makes it the difference of
        logits ratio (DLR) of Croce & Hein, ICML 2020: equation 6 for the ``BEST_OTHER``, 7 for one
        class. A model with fewer than four classes has no such spread; its lead is not scaled.
        The ``temperature`` divides the scores.
        """
        tf = tensorflow()
        if rivals is None:
            rivals = np.full(len(images), ALL_OTHERS, np.int32)
        parts = []
        for start in range(0, len(images), self._rows):
            rows = slice(start, start + self._rows)
            gradients = self._traced(
                tf.constant(images[rows], tf.float32),
                tf.constant(classes[rows], tf.int32),
                tf.constant(rivals[rows], tf.int32),
                tf.constant(scaled),
                tf.constant(temperature, tf.float32),
            )
            parts.append([part.numpy() for part in gradients])
        return Slope(*map(np.concatenate, zip(*parts, strict=True)))


def _spread(scores: Any, rivals: Any) -> Any:
    """The highest score minus the third, or for a single rival minus the mean of third and fourth.

    The 1e-12 is that of the authors' code.
    """
    tf = tensorflow()
    top = tf.math.top_k(scores, 4).values
    low = tf.where(rivals == BEST_OTHER, top[:, 2], (top[:, 2] + top[:, 3]) / 2)
    return top[:, 0] - low + 1e-12


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


OPENVINO = "openvino"
TENSORFLOW = "tensorflow"


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
