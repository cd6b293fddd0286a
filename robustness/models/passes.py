"""Forward passes of models: by OpenVINO, by the runtime they were made for, and behind remedies.

OpenVINO compiles a converted model for the processor of this machine. TensorFlow's own interpreter
runs TensorFlow Lite files, onnxruntime runs ONNX files: those that are quantised, since OpenVINO
rounds differently, and those that OpenVINO cannot read. What OpenVINO cannot read of Keras runs in
Keras.
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
        """``model`` maps study images to probabilities and the activations of ``stages``.

        It is compiled at the first call.
        """
        self.engine = str(Choice(OPENVINO, precision))
        self.stages = stages
        self.precision = precision
        self.exact = precision == F32
        self.model = model
        takes_any_number = model.inputs[0].partial_shape[0].is_dynamic
        self._rows = ROWS_AT_ONCE if takes_any_number else 1
        self._compiling = threading.Lock()
        weights_bytes = 0
        for node in model.get_ops():
            if node.get_type_name() == "Constant":
                weights_bytes += node.get_byte_size()
        self._is_large = weights_bytes >= _LARGE
        self._for_latency: Compiled | None = None
        self._for_throughput: Compiled | None = None

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        compiled = self._compiled(len(images))
        probabilities, *features = compiled(images)
        return probabilities, dict(zip(self.stages, features, strict=True))

    def network(self, label: str) -> Network:
        return ReplayedNetwork(self.model, label)

    def _compiled(self, image_count: int) -> Compiled:
        """The compiled model that suits so many images now; compiles it if it is the first use."""
        is_alone = image_count == 1 and not PARALLEL_MODELS.get()
        if self._is_large or is_alone:
            if self._for_latency is None:
                with self._compiling:
                    self._compile_for_latency()
            assert self._for_latency
            return self._for_latency
        if self._for_throughput is None:
            with self._compiling:
                self._compile_for_throughput()
        assert self._for_throughput
        return self._for_throughput

    def _compile_for_latency(self) -> None:
        if self._for_latency is not None:  # another thread was first
            return
        model = _pooled(self.model)
        if self._is_large:
            rows = self._rows
        else:
            model = _for_one_image(model)
            rows = 1
        self._for_latency = Compiled(model, self.precision, SOONEST, rows)

    def _compile_for_throughput(self) -> None:
        if self._for_throughput is not None:  # another thread was first
            return
        model = _for_one_image(_pooled(self.model))
        self._for_throughput = Compiled(model, self.precision, MOST, 1)
        # With a single stream both ways are the same.
        if self._for_throughput.streams == 1 and self._for_latency is None:
            self._for_latency = self._for_throughput


def _for_one_image(model: Any) -> Any:
    """A copy of ``model`` for one image at a time: with fixed shapes, small networks are faster.

    Measured on two cores: 5 (EfficientNet-Lite2) to 10 percent (SqueezeNet, EfficientNetB0).
    """
    _, *image_shape = model.inputs[0].partial_shape
    single = model.clone()
    single.reshape([1, *image_shape])
    return single


def _pooled(model: Any) -> Any:
    """``model`` with each stage's activations (N, ..., D) averaged to (N, D)."""
    import openvino
    from openvino import opset15 as operations

    probabilities, *activations = (output.get_node().input_value(0) for output in model.outputs)
    results = [operations.result(probabilities)]
    for activation in activations:
        _, *grid, channels = activation.partial_shape
        if len(grid) == 2:
            # With channels first, as inside of OpenVINO, nothing is transposed; a pooling also
            # takes its blocks of channels, which a mean would have rearranged: half the cost.
            activation = operations.transpose(activation, np.array([0, 3, 1, 2])).output(0)
            window = [size.get_length() for size in grid]
            pooled = operations.avg_pool(activation, [1, 1], [0, 0], [0, 0], window, True)
            shape = np.array([-1, channels.get_length()])
            activation = operations.reshape(pooled, shape, False).output(0)
        elif grid:
            grid_axes = np.arange(1, 1 + len(grid))
            activation = operations.reduce_mean(activation, grid_axes, False).output(0)
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
    file_format = record.weights.format
    runtime = record.weights.native_runtime
    if isinstance(by_openvino, str):
        runtime = file_format.runtime
        if runtime is None or (file and file.runtime == BY_OPENVINO):
            raise WeightsError(f"{record.name} cannot be used: {by_openvino}.")
    elif runtime is None:
        return by_openvino
    if file and file_format.is_graph:
        open_session = session_maker(file.path, runtime)
    else:
        network, _ = load_network(record)
        open_session = keras_session(network, record.shape)
    return NativePass(open_session, runtime, use, by_openvino)


class NativePass:
    """The ``ForwardPass`` of a model: predictions by its runtime, the rest by OpenVINO.

    Thread-safe: each thread takes a session of its own.
    """

    exact = False
    model = None

    def __init__(
        self,
        open_session: Callable[[], RuntimeSession],
        runtime: Runtime,
        use: Use,
        features: ForwardPass | str,
    ) -> None:
        """``open_session`` opens the model in ``runtime``; ``use`` says how it is asked.

        ``features`` is the pass of the same model by OpenVINO, or why there is none: then the only
        features are the probabilities.
        """
        self.engine = f"{runtime.package} {version(runtime.package)}"
        self.stages = (STAGE,) if isinstance(features, str) else features.stages
        self._features = features
        self._use = use
        self._open_session = open_session
        self._idle = [open_session()]

    @property
    def by_openvino(self) -> ForwardPass | None:
        """The pass of the same file by OpenVINO, if there is one."""
        if isinstance(self._features, str):
            return None
        return self._features

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._open_session()
        try:
            answers = native_answers(session, images, self._use)
            probabilities = probabilities_of(answers, self._use)
        finally:
            self._idle.append(session)
        if isinstance(self._features, str):
            return probabilities, {STAGE: probabilities}
        _, features = self._features(images)
        return probabilities, features

    def network(self, label: str) -> Network:
        if isinstance(self._features, str):
            raise GradientError(
                f"{label} has no gradients: {self._features}. Attack it with Square, which needs "
                "none."
            )
        return self._features.network(label)


@dataclass(frozen=True)
class RuntimeSession:
    """A model file opened in its runtime.

    ``run`` maps one image, as the file takes it, to every output. ``sizes`` are those of the axes
    of its input, None where one is free, and ``dtype`` is the type of its numbers.
    """

    run: Callable[[Array], Sequence[Array]]
    sizes: tuple[int | None, ...]
    dtype: np.dtype[Any]

    @property
    def channels_second(self) -> bool:
        """Whether it takes images (N, 3, H, W), not (N, H, W, 3)."""
        return len(self.sizes) == 4 and self.sizes[3] != 3


def session_maker(path: Path, runtime: Runtime) -> Callable[[], RuntimeSession]:
    """A function that opens sessions of the file ``path`` in ``runtime``."""
    return partial(_SESSIONS[runtime.package], path)


def keras_session(network: Any, shape: Shape) -> Callable[[], RuntimeSession]:
    """A function that returns the session of a Keras ``network`` for images of ``shape``.

    It is the same one each time: Keras' function may be called from several threads.
    """
    session = RuntimeSession(
        run=keras_function(network, shape),
        sizes=(None, *shape, 3),
        dtype=np.dtype(np.float32),
    )
    return lambda: session


def _tflite(path: Path) -> RuntimeSession:
    interpreter = tflite_interpreter(path)
    image_input = interpreter.get_input_details()[0]
    sizes = [1, *(int(size) for size in image_input["shape"][1:])]
    interpreter.resize_tensor_input(image_input["index"], sizes)
    interpreter.allocate_tensors()
    output_indices = [details["index"] for details in interpreter.get_output_details()]

    def run(image: Array) -> Sequence[Array]:
        interpreter.set_tensor(image_input["index"], image)
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(index)) for index in output_indices]

    return RuntimeSession(run, tuple(sizes), np.dtype(image_input["dtype"]))


_ONNX_TYPES = {
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
    image_input, *other_inputs = session.get_inputs()
    if other_inputs:
        raise UnusableError(f"expected one input, the image, got {1 + len(other_inputs)}")
    # The size of a free axis is a name, or None.
    sizes = tuple(size if isinstance(size, int) else None for size in image_input.shape)
    rows = sizes[0] if sizes else 1

    def run(image: Array) -> Sequence[Array]:
        # A file for a fixed number of images gets the image as often, and one answer is kept.
        images = np.repeat(image, rows or 1, axis=0)
        answers = []
        for output in session.run(None, {image_input.name: images}):
            has_a_row_an_image = np.shape(output)[:1] == (rows,)
            answers.append(output[:1] if has_a_row_an_image else output)
        return answers

    dtype = np.dtype(_ONNX_TYPES.get(image_input.type, np.float32))
    return RuntimeSession(run, sizes, dtype)


_SESSIONS = {"tensorflow": _tflite, "onnxruntime": _onnx}


def native_facts(session: RuntimeSession, default: Shape | None) -> FileFacts:
    """Facts of the file of ``session``; ``default`` is its input's shape if that is free."""
    takes_integers = session.dtype.kind in "iu"
    shape = input_shape(session.sizes, default)
    if shape is None:
        return FileFacts(whole=takes_integers)
    sizes = (1, 3, *shape) if session.channels_second else (1, *shape, 3)
    outputs = session.run(np.zeros(sizes, session.dtype))
    return FileFacts(shape, only_count(map(np.size, outputs)), takes_integers)


def _class_values(outputs: Sequence[Array], use: Use) -> Array:
    """The values of the classes (classes,), found among the ``outputs`` for one image.

    Raises ``UnusableError`` if no output has a value for each class and nothing else.
    """
    for output in outputs:
        width = _width(output)
        if width in use.widths and np.size(output) == width:
            return output.ravel()
    if len(outputs) == 1 and np.size(outputs[0]) == _width(outputs[0]):
        raise UnusableError(other_classes(_width(outputs[0]), use.classes))
    shapes = ", ".join(str(np.shape(output)) for output in outputs)
    raise UnusableError(
        f"expected one output of {use.classes} classes, got {shapes}; export the model with that "
        "one alone"
    )


def _width(output: Array) -> int:
    """The longest axis of ``output`` after that of the images; 0 without one."""
    return max(np.shape(output)[1:], default=0)


def native_answers(session: RuntimeSession, images: Floats, use: Use) -> Array:
    """The file's own answers to ``images``, one at a time, as numbers (N, classes).

    Raises ``UnusableError`` for a file without an output of the classes.
    """
    pixels = prepared(images, use, session.channels_second, session.dtype)
    rows = [_class_values(session.run(image[None]), use) for image in pixels]
    answers = np.array(rows, np.float32)
    if use.output is None:
        return answers
    return np.asarray((answers - use.output.zero_point) * np.float32(use.output.scale))


if TYPE_CHECKING:
    from robustness.remedies import Chain


class ChainPass:
    """The ``ForwardPass`` of a model behind the remedies of ``chain``.

    ``forwards`` is the pass of the model, or the passes of several for a chain that averages or
    votes over them. The features are those of the first.
    """

    def __init__(self, forwards: Sequence[ForwardPass], chain: Chain) -> None:
        self._forwards = forwards
        self._chain = chain
        self.engine = forwards[0].engine
        self.stages = forwards[0].stages
        self.model = None
        # Predictions are those of the changed image, in 8 bits.
        self.exact = forwards[0].exact and not chain.changes_images

    def network(self, label: str) -> Network:
        """The same model without the remedies, for explanations."""
        return self._forwards[0].network(label)

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        return chain_outputs(self._chain, self._forwards, images)


Ask = Callable[[Floats], tuple[Floats, Mapping[str, Floats]]]
"""A pass: images to probabilities and features by stage."""


def chain_outputs(
    chain: Chain, asks: Sequence[Ask], images: Floats
) -> tuple[Floats, Mapping[str, Floats]]:
    """The probabilities and features for ``images`` of the models ``asks`` behind ``chain``.

    The chain takes several models or only the first; the features are always those of the first.
    """
    if chain.several_models:
        changed_images = chain.images(images)
        outputs = [ask(changed_images) for ask in asks]
        answers = np.stack([probabilities for probabilities, _ in outputs])
        _, features_of_first = outputs[0]
        return ensemble(answers, vote=chain.last.name == "vote"), features_of_first
    views = chain.views(images)
    # All views of all images are one batch, whose rows are sorted by view.
    probabilities, features = asks[0](np.concatenate(views))
    by_view = (len(views), len(images), -1)
    answers = probabilities.reshape(by_view)
    weights = chain.weights(answers)
    combined_features = {
        stage: _weighted(weights, values.reshape(by_view)) for stage, values in features.items()
    }
    return chain.tempered(_weighted(weights, answers)), combined_features


def _weighted(weights: Floats, values: Floats) -> Floats:
    """The sum over views of ``values`` (views, N, D) by ``weights`` (views, N)."""
    return np.asarray(np.einsum("vn,vnd->nd", weights, values), np.float32)


def ensemble(answers: Floats, *, vote: bool) -> Floats:
    """Combine the predictions of several models, (models, N, classes), into one, (N, classes).

    It is their mean. With ``vote`` it is, up to ``_TIE``, the share of the models that have the
    class as top-1; among equal shares the mean decides.
    """
    mean = answers.mean(axis=0)
    if not vote:
        return np.asarray(mean, np.float32)
    class_count = answers.shape[2]
    one_vote_each = np.eye(class_count, dtype=np.float32)[answers.argmax(axis=2)]
    shares = one_vote_each.mean(axis=0)
    return np.asarray((1 - _TIE) * shares + _TIE * mean, np.float32)


_TIE = 2e-4
"""Weight of the mean in a vote: it decides between equal shares and hardly changes them."""


@dataclass(frozen=True)
class ChainGradients:
    """The gradients of a model behind remedies: its slope at each view, led back to the image.

    A step without a gradient, such as a median, counts as the identity: backward pass
    differentiable approximation (Athalye, Carlini & Wagner, ICML 2018). That of several models is
    their mean: an attack on the averaged logits (Dong et al., CVPR 2018).

    ``gradients`` are those of the models. ``probabilities`` maps images to the predictions by which
    the chain weighs its views.
    """

    gradients: Sequence[Gradients | ChainGradients]
    chain: Chain
    probabilities: Callable[[Floats], Floats]

    def __call__(
        self, images: Floats, classes: Classes, rivals: Classes | None = None, **how: Any
    ) -> Slope:
        """The slope as ``Gradients`` gives it, with the same arguments."""
        if self.chain.last.temperature != 1:
            how["temperature"] = how.get("temperature", 1.0) * self.chain.last.temperature
        views = self.chain.views(images)
        slopes = [self._mean_slope(view, classes, rivals, **how) for view in views]
        if len(views) == 1:
            weights = np.ones((1, len(images)), np.float32)
        else:
            weights = self.chain.weights(np.stack([self.probabilities(view) for view in views]))
        leads = []
        scores = []
        gradients = []
        for slope, of_images in zip(slopes, weights, strict=True):
            leads.append(slope.lead * of_images)
            scores.append(slope.scores * of_images[:, None])
            gradients.append(slope.gradient * of_images[:, None, None, None])
        return Slope(
            lead=np.asarray(sum(leads)),
            scores=np.asarray(sum(scores)),
            gradient=self.chain.back(gradients),
        )

    def _mean_slope(
        self, view: Floats, classes: Classes, rivals: Classes | None, **how: Any
    ) -> Slope:
        slopes = [gradient(view, classes, rivals, **how) for gradient in self.gradients]
        return Slope(
            lead=np.mean([slope.lead for slope in slopes], axis=0),
            scores=np.mean([slope.scores for slope in slopes], axis=0),
            gradient=np.mean([slope.gradient for slope in slopes], axis=0),
        )
