"""Converts models in another process, so that TensorFlow stays out of this one."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress

from robustness.base import processes
from robustness.base.errors import RobustnessError, WeightsError
from robustness.models.inference.choice import OPENVINO, chosen
from robustness.models.inference.kept import place
from robustness.models.model_record import ModelRecord
from robustness.models.weights.ready import default_names, digest

_POLL_SECONDS = 0.05


class Apart:
    """Converts models for this process, in one other process at a time for everyone who waits."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def convert(self, record: ModelRecord, side: int) -> None:
        """Waits until ``record`` is converted for ``side``, or the conversion has failed.

        Also converts the default models, which are needed next. Raises ``WeightsError`` after
        ``stop``.
        """
        while not _is_kept(record, side):
            with self._starting:
                if self._stopped:
                    raise WeightsError(f"{record.name} is not loaded: the server is ending.")
                running = self._process is not None and self._process.poll() is None
                if not running:
                    if _is_kept(record, side):  # by the process that has just ended
                        return
                    self._process = _started(record, side)
            process = self._process
            while process and process.poll() is None and not _is_kept(record, side):
                time.sleep(_POLL_SECONDS)
            if not running and not self._stopped:  # started for it: loading shows the error
                return

    def stop(self) -> None:
        """Ends the conversion and all waiting, which would keep the server alive."""
        with self._starting:
            self._stopped = True
            if self._process is not None:
                self._process.terminate()


def _started(record: ModelRecord, side: int) -> subprocess.Popen[bytes]:
    names = [record.name]
    with suppress(RobustnessError):  # no model is ready
        names += [name for name in default_names() if name != record.name]
    return processes.start(["models", "convert", f"--side={side}", *names])


def _is_kept(record: ModelRecord, side: int) -> bool:
    return place(record, digest(record), side).exists()


APART = Apart()


def convert_apart(record: ModelRecord, side: int) -> None:
    """As ``Apart.convert`` of this process; at once where nothing is to be converted."""
    own = record.weights.own
    if chosen().engine == OPENVINO and not (own and own.kind):
        APART.convert(record, side)
