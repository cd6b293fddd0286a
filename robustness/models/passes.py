"""A forward pass compiled by OpenVINO for the processor of this machine.

Passes of models by the runtime they were made for.

TensorFlow's own interpreter runs TensorFlow Lite files, onnxruntime runs ONNX files: those that are
quantised, since OpenVINO rounds differently, and those that OpenVINO cannot read. What OpenVINO
cannot read of Keras runs in Keras.

The forward pass and the gradients of a model behind remedies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robustness.base.errors import GradientError, WeightsError
from robustness.models.engine import (
    F32,
    MOST,
    OPENVINO,
    PARALLEL_MODELS,
    SOONEST,
    Choice,
    Classes,
    Compiled,
    Floats,
    ForwardPass,
    Gradients,
    Network,
    Precision,
    Slope,
    thread_share,
)
from robustness.models.formats import BY_OPENVINO, Runtime, UnusableError
from robustness.models.frameworks import tflite_interpreter
from robustness.models.graph import (
    Array,
    FileFacts,
    Shape,
    Use,
    input_shape,
    only_count,
    other_classes,
    prepared,
    probabilities_of,
)
from robustness.models.keras import keras_function, load_network
from robustness.models.record import ModelRecord
from robustness.models.replay import ReplayedNetwork

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
                model = _pooled(self.model)
                rows = self._rows
                if not self._large:
                    model = _alone(model)
                    rows = 1
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


STAGE = "answer"
"""The only features of a model without a graph are its probabilities."""


def native_pass(record: ModelRecord, use: Use, by_openvino: ForwardPass | str) -> ForwardPass:
    """The pass of ``record`` by the runtime it was made for, if that is not OpenVINO.

    ``by_openvino`` is its pass by OpenVINO, or why there is none. Raises ``WeightsError`` where
    there is none and its description asks for OpenVINO.
    """
    file = record.weights.own
    kind = record.weights.format
    runtime = record.weights.native_runtime
    if isinstance(by_openvino, str):
        runtime = kind.runtime
        if runtime is None or (file and file.runtime == BY_OPENVINO):
            raise WeightsError(f"{record.name} cannot be used: {by_openvino}.")
    elif runtime is None:
        return by_openvino
    if file and kind.is_graph:
        make = session_maker(file.path, runtime)
    else:
        make = keras_session(load_network(record)[0], record.shape)
    return NativePass(make, runtime, use, by_openvino)


class NativePass:
    """The ``ForwardPass`` of a model: predictions by its runtime, the rest by OpenVINO.

    Thread-safe: each thread takes a session of its own.
    """

    exact = False
    model = None

    def __init__(
        self,
        make: Callable[[], RuntimeSession],
        runtime: Runtime,
        use: Use,
        features: ForwardPass | str,
    ) -> None:
        """``make`` gives sessions in ``runtime``; ``features`` is the pass of the same
        model by OpenVINO, or why there is none."""
        self.engine = f"{runtime.package} {version(runtime.package)}"
        self.stages = (STAGE,) if isinstance(features, str) else features.stages
        self._features = features
        self._use = use
        self._make = make
        self._idle = [self._make()]

    @property
    def by_openvino(self) -> ForwardPass | None:
        """The pass of the same file by OpenVINO, if there is one."""
        return None if isinstance(self._features, str) else self._features

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._make()
        try:
            probabilities = probabilities_of(native_answers(session, images, self._use), self._use)
        finally:
            self._idle.append(session)
        if isinstance(self._features, str):
            return probabilities, {STAGE: probabilities}
        return probabilities, self._features(images)[1]

    def network(self, label: str) -> Network:
        if isinstance(self._features, str):
            raise GradientError(
                f"{label} has no gradients: {self._features}. Attack it with Square, which needs "
                "none."
            )
        return self._features.network(label)


@dataclass(frozen=True)
class RuntimeSession:
    """A file in its runtime: ``run`` gives every output for one image, as the file takes it.

    ``sizes`` are those of its input's axes, None where one is free; ``kind`` is its numbers'.
    """

    run: Callable[[Array], Sequence[Array]]
    sizes: tuple[int | None, ...]
    kind: np.dtype[Any]

    @property
    def channels_second(self) -> bool:
        return len(self.sizes) == 4 and self.sizes[3] != 3


def session_maker(path: Path, runtime: Runtime) -> Callable[[], RuntimeSession]:
    """A function that opens sessions of the file ``path`` in ``runtime``."""
    return partial(_SESSIONS[runtime.package], path)


def keras_session(network: Any, shape: Shape) -> Callable[[], RuntimeSession]:
    """A function that returns the shared session of a Keras ``network`` for images of ``shape``."""
    session = RuntimeSession(
        keras_function(network, shape), (None, *shape, 3), np.dtype(np.float32)
    )
    return lambda: session


def _tflite(path: Path) -> RuntimeSession:
    interpreter = tflite_interpreter(path)
    (first, *_) = interpreter.get_input_details()
    shape = [1, *(int(size) for size in first["shape"][1:])]
    interpreter.resize_tensor_input(first["index"], shape)
    interpreter.allocate_tensors()
    outputs = [details["index"] for details in interpreter.get_output_details()]

    def run(image: Array) -> Sequence[Array]:
        interpreter.set_tensor(first["index"], image)
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(index)) for index in outputs]

    return RuntimeSession(run, tuple(shape), np.dtype(first["dtype"]))


_ONNX_KINDS = {
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}


def _onnx(path: Path) -> RuntimeSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it raises what it logs
    options.intra_op_num_threads = thread_share()
    options.add_session_config_entry("session.load_model_format", "ONNX")
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    first, *others = session.get_inputs()
    if others:
        raise UnusableError(f"expected one input, the image, got {1 + len(others)}")
    sizes = tuple(size if isinstance(size, int) else None for size in first.shape)
    rows = sizes[0] if sizes else 1

    def run(image: Array) -> Sequence[Array]:
        outputs = session.run(None, {first.name: np.repeat(image, rows or 1, axis=0)})
        return [output[:1] if np.shape(output)[:1] == (rows,) else output for output in outputs]

    return RuntimeSession(run, sizes, np.dtype(_ONNX_KINDS.get(first.type, np.float32)))


_SESSIONS = {"tensorflow": _tflite, "onnxruntime": _onnx}


def native_facts(session: RuntimeSession, default: Shape | None) -> FileFacts:
    """Facts of the file of ``session``; ``default`` is its input's shape if that is free."""
    whole = session.kind.kind in "iu"
    shape = input_shape(session.sizes, default)
    if shape is None:
        return FileFacts(None, None, whole)
    sizes = (1, 3, *shape) if session.channels_second else (1, *shape, 3)
    outputs = session.run(np.zeros(sizes, session.kind))
    return FileFacts(shape, only_count(map(np.size, outputs)), whole)


def _of_classes(outputs: Sequence[Array], use: Use) -> Array:
    """The output with the classes, of the ``outputs`` for one image."""
    counts = [max(shape[1:], default=0) for shape in map(np.shape, outputs)]
    for output, count in zip(outputs, counts, strict=True):
        if count in use.widths and np.size(output) == count:
            return output.ravel()
    if len(outputs) == 1 and np.size(outputs[0]) == counts[0]:
        raise UnusableError(other_classes(counts[0], use.classes))
    shapes = ", ".join(str(np.shape(output)) for output in outputs)
    raise UnusableError(
        f"expected one output of {use.classes} classes, got {shapes}; export the model with that "
        "one alone"
    )


def native_answers(session: RuntimeSession, images: Floats, use: Use) -> Array:
    """The file's own answers to ``images``, one at a time, as numbers (N, classes)."""
    pixels = prepared(images, use, session.channels_second, session.kind)
    rows = np.array([_of_classes(session.run(image[None]), use) for image in pixels], np.float32)
    if use.output is None:
        return rows
    return np.asarray((rows - use.output.zero_point) * np.float32(use.output.scale))


if TYPE_CHECKING:
    from robustness.remedies import Chain


class RemediedPass:
    """The pass of ``forwards`` behind ``chain``; see ``ForwardPass``.

    Several ``forwards`` are for a chain that averages or votes over models. The features are those
    of the first.
    """

    def __init__(self, forwards: Sequence[ForwardPass], chain: Chain) -> None:
        self._forwards = forwards
        self._chain = chain
        self.engine = forwards[0].engine
        self.stages = forwards[0].stages
        self.model = None
        # Predictions are those of the remedied image, in 8 bits.
        self.exact = forwards[0].exact and not chain.changes_images

    def network(self, label: str) -> Network:
        """The same model without the remedies, for explanations."""
        return self._forwards[0].network(label)

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        return remedied_outputs(self._chain, self._forwards, images)


Ask = Callable[[Floats], tuple[Floats, Mapping[str, Floats]]]
"""A pass: images to probabilities and features by stage."""


def remedied_outputs(
    chain: Chain, asks: Sequence[Ask], images: Floats
) -> tuple[Floats, Mapping[str, Floats]]:
    """The probabilities and features for ``images`` of the models ``asks`` behind ``chain``.

    The chain takes several models or only the first; the features are always those of the first.
    """
    if chain.several_models:
        before = chain.images(images)
        outputs = [ask(before) for ask in asks]
        answers = np.stack([probabilities for probabilities, _ in outputs])
        return ensemble(answers, vote=chain.last.name == "vote"), outputs[0][1]
    views = chain.views(images)
    probabilities, features = asks[0](np.concatenate(views))
    answers = probabilities.reshape(len(views), len(images), -1)
    weights = chain.weights(answers)
    return (
        chain.tempered(_weighted(weights, answers)),
        {
            stage: _weighted(weights, values.reshape(len(views), len(images), -1))
            for stage, values in features.items()
        },
    )


def _weighted(weights: Floats, values: Floats) -> Floats:
    """The sum over views of ``values`` (views, N, D) by ``weights`` (views, N)."""
    return np.asarray(np.einsum("vn,vnd->nd", weights, values), np.float32)


def ensemble(answers: Floats, *, vote: bool) -> Floats:
    """One prediction, (N, classes), from those of several models, (models, N, classes).

    Their mean; with ``vote`` the share of the models whose top-1 class it is, up to ``_TIE``. Among
    equal shares the mean decides.
    """
    mean = answers.mean(axis=0)
    if not vote:
        return np.asarray(mean, np.float32)
    votes = np.eye(answers.shape[2], dtype=np.float32)[answers.argmax(axis=2)].mean(axis=0)
    return np.asarray((1 - _TIE) * votes + _TIE * mean, np.float32)


_TIE = 2e-4
"""Weight of the mean in a vote: it decides between equal shares and hardly changes them."""


@dataclass(frozen=True)
class RemediedGradients:
    """The slope of a model at the views of an image, passed back to the image.

    A step without a gradient, such as a median, counts as the identity: backward pass
    differentiable approximation (Athalye, Carlini & Wagner, ICML 2018). That of several models is
    their mean: an attack on the averaged logits (Dong et al., CVPR 2018).
    """

    gradients: Sequence[Gradients | RemediedGradients]
    chain: Chain
    probabilities: Callable[[Floats], Floats]

    def __call__(
        self, images: Floats, classes: Classes, rivals: Classes | None = None, **how: Any
    ) -> Slope:
        """As ``Gradients`` does."""
        if self.chain.last.temperature != 1:
            how["temperature"] = how.get("temperature", 1.0) * self.chain.last.temperature
        views = self.chain.views(images)
        slopes = [self._mean(view, classes, rivals, **how) for view in views]
        weights = np.ones((1, len(images)), np.float32)
        if len(views) > 1:
            weights = self.chain.weights(np.stack([self.probabilities(view) for view in views]))
        back = self.chain.back(
            [
                slope.gradient * own[:, None, None, None]
                for slope, own in zip(slopes, weights, strict=True)
            ]
        )
        lead = sum(slope.lead * own for slope, own in zip(slopes, weights, strict=True))
        scores = sum(
            slope.scores * own[:, None] for slope, own in zip(slopes, weights, strict=True)
        )
        return Slope(np.asarray(lead), np.asarray(scores), back)

    def _mean(self, view: Floats, classes: Classes, rivals: Classes | None, **how: Any) -> Slope:
        gradients = [gradient(view, classes, rivals, **how) for gradient in self.gradients]
        fields = ("lead", "scores", "gradient")
        return Slope(
            *(np.mean([getattr(slope, name) for slope in gradients], 0) for name in fields)
        )
