"""The engines: the choice of engine and precision, OpenVINO's compiled models, and gradients.

OpenVINO predicts by default. Gradients with respect to pixels are computed by TensorFlow.
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
"""The most images in one pass of TensorFlow: more gain nothing on a CPU and cost memory."""

# --- gradients ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slope:
    """The lead of rivals over a class for N study images, and its gradient.

    ``lead`` is (N,), in natural-log units. ``scores`` (N, classes) are logits, or logarithms of
    probabilities for a model without a softmax. ``gradient`` (N, S, S, 3) is the change of the lead
    per unit of pixel value, 0 where it is not finite.
    """

    lead: Floats
    scores: Floats
    gradient: Floats


class Network(Protocol):
    """A model in TensorFlow's graph that takes study images of ``side`` pixels.

    ``label`` is the model's display name. The network takes ``rows`` images at once, any number if
    None. ``exact`` is whether its scores equal those of the model's predictions.
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
        """The pass that gives gradients for attacks; raises ``GradientError`` if there is none."""

    def scores(self, images: Any) -> Any:
        """In the graph: logits, or the logarithms of probabilities, (N, classes)."""


class Gradients:
    """The pass that gives the gradients of a model, traced once for any classes and rivals."""

    def __init__(self, network: Network) -> None:
        """Raises ``GradientError`` if no gradient leads from the scores back to the pixels."""
        tf = tensorflow()
        side = network.side
        class_count = network.classes
        rows = network.rows
        signature = (
            tf.TensorSpec((rows, side, side, 3), tf.float32),
            tf.TensorSpec((rows,), tf.int32),
            tf.TensorSpec((rows,), tf.int32),
            tf.TensorSpec((), tf.bool),
            tf.TensorSpec((), tf.float32),
        )

        @tf.function(input_signature=signature, autograph=False)
        def slope(images: Any, classes: Any, rivals: Any, scaled: Any, temperature: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(images)
                scores = network.scores(images) / temperature
                is_class = tf.one_hot(classes, class_count, True, False)
                other_scores = tf.where(is_class, -np.inf, scores)
                all_others = tf.reduce_logsumexp(other_scores, -1)
                best_other = tf.reduce_max(other_scores, -1)
                # The two rivals that are not a class have negative numbers.
                one_class = tf.gather(scores, tf.maximum(rivals, 0), batch_dims=1)
                rival_score = tf.where(rivals == ALL_OTHERS, all_others, one_class)
                rival_score = tf.where(rivals == BEST_OTHER, best_other, rival_score)
                lead = rival_score - tf.gather(scores, classes, batch_dims=1)
                if class_count >= 4:
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
        """The lead of ``rivals`` over ``classes`` at ``images``, and its gradient.

        ``images`` are (N, S, S, 3); ``classes`` and ``rivals`` are (N,). A rival is one class, the
        ``BEST_OTHER``, or ``ALL_OTHERS`` together (the default). For all others the lead is the
        log-odds log((1 - p) / p) of the class. Its gradient has the direction of that of the
        cross-entropy, log(1 + exp(lead)), but does not vanish as p nears 1.

        ``scaled`` divides the lead by a spread of the scores, which makes it the difference of
        logits ratio (DLR) of Croce & Hein, ICML 2020: equation 6 for the ``BEST_OTHER``, 7 for one
        class. A model with fewer than four classes has no such spread; its lead is not scaled.
        The ``temperature`` divides the scores.
        """
        tf = tensorflow()
        if rivals is None:
            rivals = np.full(len(images), ALL_OTHERS, np.int32)
        batches = []
        for start in range(0, len(images), self._rows):
            rows = slice(start, start + self._rows)
            results = self._traced(
                tf.constant(images[rows], tf.float32),
                tf.constant(classes[rows], tf.int32),
                tf.constant(rivals[rows], tf.int32),
                tf.constant(scaled),
                tf.constant(temperature, tf.float32),
            )
            batches.append([result.numpy() for result in results])
        lead, scores, gradient = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        return Slope(lead, scores, gradient)


def _spread(scores: Any, rivals: Any) -> Any:
    """The denominators of the DLR, (N,), as in the equations that ``Gradients`` names.

    They are the highest score minus the third, or, for a single rival, minus the mean of the third
    and the fourth.
    """
    tf = tensorflow()
    top = tf.math.top_k(scores, 4).values
    low = tf.where(rivals == BEST_OTHER, top[:, 2], (top[:, 2] + top[:, 3]) / 2)
    return top[:, 0] - low + 1e-12  # as in the authors' code


# --- OpenVINO -------------------------------------------------------------------------------------

# OpenVINO reports every import to Google Analytics unless this module is missing.
_modules: dict[str, Any] = sys.modules
_modules.setdefault("openvino_telemetry", None)

_first_call = threading.Lock()


def core() -> Any:
    """OpenVINO's core, one for this process."""
    with _first_call:
        return _core()


@cache
def _core() -> Any:
    import openvino

    # OpenVINO 2026.4 fills a table in the first of these calls and lets go of the GIL meanwhile. A
    # second thread that enters it then waits for the table with the GIL: the process stands still.
    openvino.Type.f32.to_dtype()
    return openvino.Core()


_LOCATIONS = (
    "Check ",
    "Converting ",
    "Exception from ",
    "FrontEnd API failed",
    "Loading input model",
)
"""Beginnings of the lines of an error that say where it was raised."""


def first_line(error: Exception) -> str:
    """The line of an OpenVINO error that says what is wrong, in at most 200 characters."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if line and not line.startswith(_LOCATIONS)]
    # OpenVINO lists missing operations with dashes.
    listed = [line.removeprefix("-- ") for line in reasons if line.startswith("-- ")]
    if listed:
        reason = listed[-1]
    elif reasons:
        reason = reasons[0]
    else:
        reason = type(error).__name__
    return reason[:200].replace("std::bad_alloc", "out of memory")


Precision = Literal["f32", "bf16"]
F32: Precision = "f32"
BF16: Precision = "bf16"

PARALLEL_MODELS: ContextVar[bool] = ContextVar("beside others", default=False)
"""True while as many models as cores run at once: each pass then leaves the other cores free."""


class ForwardPass(Protocol):
    """The pass of one model over any number of study images. Several threads may call it at once.

    The prediction for an image does not depend on the rest of its batch. ``stages`` are the feature
    stages, shallow to deep. ``engine`` names the engine with its version and precision. ``exact``
    is whether it computes in float32, as gradients do. ``model`` is the OpenVINO model, None where
    another runtime predicts.
    """

    engine: str
    stages: tuple[str, ...]
    exact: bool
    model: Any

    def network(self, label: str) -> Network:
        """Build the same model in TensorFlow's graph, for gradients and explanations.

        ``label`` is its display name. Raises ``GradientError`` for a model without gradients.
        """

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        """The probabilities (N, classes), and the features (N, D) by stage, of ``images``.

        ``images`` are (N, S, S, 3) in [0, 1]. Features are the activations of the stage, averaged
        over all axes between those of images and channels.
        """


# --- the choice of engine -------------------------------------------------------------------------


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
    """The engine and precision that the settings choose.

    The default is OpenVINO in float32, or TensorFlow if it sees a GPU. Raises ``ParameterError``
    for an unknown engine or precision, or one that the engine or processor lacks.
    """
    engine = settings.value(settings.ENGINE)
    precision = settings.value(settings.PRECISION) or F32
    if engine is None:
        if has_gpu():
            engine = TENSORFLOW
        else:
            engine = OPENVINO
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

# --- compiled models ------------------------------------------------------------------------------


def thread_share() -> int:
    """The threads that one inference may take; 0 for all. Ray sets it to the share of a worker."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if not threads.isdecimal():
        return 0
    return int(threads)


class Compiled:
    """A compiled model whose only input is images. Several threads may call it at once.

    ``rows`` is the number of images in one inference, ``streams`` that of inferences at once.
    """

    def __init__(
        self, model: Any, precision: Precision, options: Mapping[str, object], rows: int
    ) -> None:
        properties = {**options, "INFERENCE_PRECISION_HINT": precision}
        threads = thread_share()
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
        self._model = core().compile_model(model, "CPU", properties)
        self.rows = rows
        self._idle_requests: list[Any] = []
        self.streams = int(self._model.get_property("NUM_STREAMS"))

    def __call__(self, images: Floats) -> list[Floats]:
        """The outputs of the model, in its order, each for all ``images``."""
        chunks = []
        for start in range(0, len(images), self.rows):
            chunks.append(np.ascontiguousarray(images[start : start + self.rows], np.float32))
        requests = [self._request() for _ in chunks[: self.streams]]
        parts: list[list[Floats]] = []
        # The requests take turns: each is read before it starts again, so parts stay in order.
        for index, chunk in enumerate(chunks):
            request = requests[index % len(requests)]
            if index >= len(requests):
                parts.append(_outputs(request))
            request.start_async([chunk], share_inputs=True)
        for index in range(len(parts), len(chunks)):
            parts.append(_outputs(requests[index % len(requests)]))
        self._idle_requests += requests
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _request(self) -> Any:
        """A request for this call alone, as a request holds its results."""
        # Not checked before, as another thread may take the last one in between.
        try:
            return self._idle_requests.pop()
        except IndexError:
            return self._model.create_infer_request()


def _outputs(request: Any) -> list[Floats]:
    """Wait for ``request``, and copy its results."""
    request.wait()
    return [np.array(tensor.data) for tensor in request.output_tensors]
