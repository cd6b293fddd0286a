"""TensorFlow and Keras, imported on demand and set up once.

The import takes seconds, so no module imports them at its top: call ``tensorflow()`` or
``keras()``. Then ``--help`` and a page's first paint never wait for them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from robustness.base import memory_allocator

_importing = threading.Lock()
_START_UP_NOISE = re.compile(rb"^(WARNING: All log messages before absl|[IWE]0000 )")
_DONE_WITHOUT = frozenset({"cv2", "matplotlib", "pandas", "scipy", "sklearn"})
"""Optional packages that TensorFlow and Keras try to import and no network needs."""


def tensorflow() -> Any:
    """The ``tensorflow`` module; quiet, with Keras on its TensorFlow backend."""
    loaded = sys.modules.get("tensorflow")
    if loaded is not None and not _importing.locked():
        return loaded
    with _importing:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ["KERAS_BACKEND"] = "tensorflow"
        if "tensorflow" in sys.modules:
            return sys.modules["tensorflow"]
        # Its own pool for oneDNN never shrinks: after VGG16 was released, 1.6 GB stayed. The
        # system's allocator returns memory, but by default maps and unmaps every large activation,
        # which made a pass up to three times as slow; kept in one heap until it is given back, it
        # is as fast.
        if memory_allocator.keep_everything():
            os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
        with _without_start_up_noise(), _fast_import():
            import tensorflow as tf

            tf.config.list_logical_devices()  # looks for accelerators and logs about them
        return tf


@cache
def has_gpu() -> bool:
    """Whether TensorFlow sees a GPU; asked only where there is a device, as that is slow."""
    devices = [*Path("/dev").glob("nvidia[0-9]*"), *Path("/dev").glob("kfd")]
    if not devices or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return bool(tensorflow().config.list_physical_devices("GPU"))


def keras() -> Any:
    """The ``keras`` module on its TensorFlow backend."""
    tensorflow()
    import keras as keras_module

    return keras_module


def tflite_interpreter(path: Path) -> Any:
    """TensorFlow Lite's interpreter of the file ``path``, on all cores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its replacement
        return tensorflow().lite.Interpreter(str(path), num_threads=os.cpu_count() or 1)


class _Refused:
    """An importer that hides ``_DONE_WITHOUT``, unless imported already, from this thread."""

    def __init__(self) -> None:
        self._packages = _DONE_WITHOUT.difference(sys.modules)
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        package = name.partition(".")[0]
        if package in self._packages and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextlib.contextmanager
def _fast_import() -> Iterator[None]:
    """Hides optional packages, up to half of TensorFlow's import time, and pauses garbage
    collection, an eighth, which finds nothing."""
    refused, collects = _Refused(), gc.isenabled()
    sys.meta_path.insert(0, refused)
    gc.disable()
    try:
        yield
    finally:
        sys.meta_path.remove(refused)
        if collects:
            gc.enable()


@contextlib.contextmanager
def _without_start_up_noise() -> Iterator[None]:
    """Drops the lines that TensorFlow's C++ code writes to stderr at start-up.

    It writes them before it reads its log level, so no setting silences them. Other lines are
    passed on afterwards.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            capture.seek(0)
            for line in capture:
                if not _START_UP_NOISE.match(line):
                    os.write(2, line)
