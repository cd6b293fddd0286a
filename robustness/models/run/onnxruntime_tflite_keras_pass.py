"""Passes of models by the runtime they were made for.

TensorFlow's own interpreter runs TensorFlow Lite files, onnxruntime runs ONNX files: those that are
quantised, since OpenVINO rounds differently, and those that OpenVINO cannot read. What OpenVINO
cannot read of Keras runs in Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from robustness.base.errors import GradientError, WeightsError
from robustness.models.file_formats.format_and_runtime_record import Runtime, UnusableError
from robustness.models.file_formats.formats import BY_OPENVINO
from robustness.models.graph.graph_preprocessing_and_facts import FileFacts, input_shape, only_count
from robustness.models.graph.keras_reading_and_conversion import keras_function, load_network
from robustness.models.graph.preprocessing_and_probabilities import (
    Array,
    Shape,
    Use,
    other_classes,
    prepared,
    probabilities_of,
)
from robustness.models.model_and_weights_record import ModelRecord
from robustness.models.run.network_and_gradients import Network
from robustness.models.run.openvino_and_engine_choice import Floats, ForwardPass, thread_share
from robustness.models.tensorflow_and_keras_import import tflite_interpreter

STAGE = "answer"
"""The only features of a model without a graph are its probabilities."""


def native_pass(record: ModelRecord, use: Use, by_openvino: ForwardPass | str) -> ForwardPass:
    """The pass of ``record`` by the runtime it was made for, if that is not OpenVINO.

    ``by_openvino`` is its pass by OpenVINO, or why there is none. Raises ``WeightsError`` where
    there is none and its description asks for OpenVINO.
    """
    file = record.weights.own
    kind, runtime = record.weights.format, record.weights.native_runtime
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
    whole, shape = session.kind.kind in "iu", input_shape(session.sizes, default)
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
