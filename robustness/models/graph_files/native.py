"""Passes of quantised files by the runtime they were made for, since OpenVINO rounds differently.

TensorFlow's own interpreter runs TensorFlow Lite files; onnxruntime, if installed, runs ONNX files.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.file_formats.kinds import ONNXRUNTIME, TENSORFLOW, runtime
from robustness.models.file_formats.tflite_file import Quantisation
from robustness.models.graph_files.study_model import Use
from robustness.models.in_tensorflow.gradients import Network
from robustness.models.in_tensorflow.runtime import tflite_interpreter
from robustness.models.inference.forward_pass import Floats, ForwardPass
from robustness.models.model_record import UserFile
from robustness.models.preparation import factors, resizing

_TINY = 1e-12

Array = NDArray[Any]


class NativePass:
    """The ``ForwardPass`` of a quantised file: predictions by its runtime, the rest by OpenVINO.

    Thread-safe: each thread takes an interpreter of its own.
    """

    exact = False

    def __init__(self, file: UserFile, use: Use, features: ForwardPass) -> None:
        """``features`` is the pass of the same file by OpenVINO."""
        package = runtime(file.path, file.runtime)
        self.engine = f"{package} {version(package)}"
        self.stages = features.stages
        self._features = features
        self._use = use
        self._make = session_maker(file.path, package, use)
        self._idle = [self._make()]

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        _, features = self._features(images)
        return native_probabilities(self._asked(images), self._use), features

    def _asked(self, images: Floats) -> Array:
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._make()
        try:
            return native_answers(session, images, self._use)
        finally:
            self._idle.append(session)

    def products(self, images: Floats) -> Mapping[str, NDArray[np.float64]]:
        return self._features.products(images)

    def network(self, label: str) -> Network:
        return self._features.network(label)


Session = tuple[Callable[[Array], Array], bool, np.dtype[Any]]
"""Answers to one image as the file takes it, whether its channels come second, and its numbers."""


def session_maker(path: Path, package: str, use: Use) -> Callable[[], Session]:
    """What makes sessions of the file ``path`` in the runtime ``package``."""
    make = _tflite if package == TENSORFLOW else _onnx
    return lambda: make(path, use)


def _tflite(path: Path, use: Use) -> Session:
    interpreter = tflite_interpreter(path)
    (first, *_) = interpreter.get_input_details()
    shape = [1, *(int(size) for size in first["shape"][1:])]
    interpreter.resize_tensor_input(first["index"], shape)
    interpreter.allocate_tensors()
    outputs = [details["index"] for details in interpreter.get_output_details()]

    def ask(image: Array) -> Array:
        interpreter.set_tensor(first["index"], image)
        interpreter.invoke()
        return _of_classes([np.array(interpreter.get_tensor(index)) for index in outputs], use)

    return ask, shape[3] != 3, np.dtype(first["dtype"])


def _onnx(path: Path, use: Use) -> Session:
    onnxruntime = importlib.import_module(ONNXRUNTIME)  # optional
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    (first,) = session.get_inputs()
    kinds = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}

    def ask(image: Array) -> Array:
        return _of_classes(session.run(None, {first.name: image}), use)

    return ask, first.shape[3] != 3, np.dtype(kinds.get(first.type, np.float32))


def _of_classes(outputs: Sequence[Array], use: Use) -> Array:
    """The one of ``outputs`` about one image that holds the classes."""
    wanted = {use.classes, use.classes + 1} if use.background else {use.classes}
    return next(output.ravel() for output in outputs if output.size in wanted)


def native_answers(session: Session, images: Floats, use: Use) -> Array:
    """The file's own answers to ``images``, one at a time, as numbers (N, classes)."""
    ask, second, kind = session
    pixels = prepared(images, use, second, kind)
    rows = np.array([ask(image[None]) for image in pixels], np.float32)
    return rows if use.output is None else _real(rows, use.output)


def _real(integers: Array, by: Quantisation) -> Array:
    return np.asarray((integers - by.zero_point) * np.float32(by.scale))


def prepared(images: Floats, use: Use, second: bool, kind: np.dtype[Any]) -> Array:
    """Study images (N, S, S, 3) as the file takes them, as ``study_model`` prepares them."""
    pixels = images.transpose(0, 3, 1, 2)
    if (resize := resizing(use.side, use.shape)) is not None:
        pixels = (resize[0] @ pixels @ resize[1].T).clip(0, 1)
    if use.normalisation.order == "BGR":
        pixels = pixels[:, ::-1]
    scale, offset = (each.reshape(3, 1, 1) for each in factors(use.normalisation))
    pixels = pixels * scale + offset
    if kind.kind in "iu":
        if use.input is not None:
            pixels = pixels * np.float32(1 / use.input.scale) + np.float32(use.input.zero_point)
        limits = np.iinfo(kind)
        pixels = np.rint(pixels).clip(limits.min, limits.max)
    if not second:
        pixels = pixels.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels, kind)


def native_probabilities(answers: Array, use: Use) -> Floats:
    """Answers (N, classes) of the file as probabilities of the classes, without the background."""
    found = np.asarray(answers, np.float32)
    background = use.background and found.shape[1] == use.classes + 1
    found = found[:, 1:] if background else found
    if use.logits:
        found = np.exp(found - found.max(axis=1, keepdims=True))
    elif not background and not use.quantised:
        return found
    found = found + np.float32(_TINY)
    return np.asarray(found / found.sum(axis=1, keepdims=True), np.float32)
