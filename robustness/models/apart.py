"""Models are converted by a process of its own, so that TensorFlow stays out of this one."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress

from robustness.base import own_process
from robustness.base.errors import RobustnessError, WeightsError
from robustness.models.inference.choice import OPENVINO, chosen
from robustness.models.inference.kept import place
from robustness.models.model_record import ModelRecord
from robustness.models.weights.ready import default_names, digest

_POLL_SECONDS = 0.05


class Apart:
    """Converts models for this process; one process at a time does, for all who wait."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def convert(self, record: ModelRecord, side: int) -> None:
        """Returns once ``record`` is converted for ``side``, or has turned out not to be.

        The default models are converted along with it, as they are wanted next. Raises
        ``WeightsError`` once this was stopped.
        """
        while not _is_kept(record, side):
            with self._starting:
                if self._stopped:
                    raise WeightsError(f"{record.name} is not loaded: the server is ending.")
                running = self._process is not None and self._process.poll() is None
                if not running:
                    self._process = _started(record, side)
            process = self._process
            while process and process.poll() is None and not _is_kept(record, side):
                time.sleep(_POLL_SECONDS)
            if not running and not self._stopped:  # begun for it: loading it meets what went wrong
                return

    def stop(self) -> None:
        """Ends the conversion and all waiting for it: a thread that waits keeps a server alive."""
        with self._starting:
            self._stopped = True
            if self._process is not None:
                self._process.terminate()


def _started(record: ModelRecord, side: int) -> subprocess.Popen[bytes]:
    names = [record.name]
    with suppress(RobustnessError):  # where no model is ready
        names += [name for name in default_names() if name != record.name]
    return own_process.start(["models", "convert", f"--side={side}", *names])


def _is_kept(record: ModelRecord, side: int) -> bool:
    return place(record, digest(record), side).exists()


APART = Apart()


def convert_apart(record: ModelRecord, side: int) -> None:
    """As ``Apart.convert`` of this process; at once where nothing is to be converted."""
    if chosen().engine == OPENVINO and not getattr(record.weights, "kind", ""):
        APART.convert(record, side)
