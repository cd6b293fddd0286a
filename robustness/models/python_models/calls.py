"""Call a user's function in batches, within limits; check and cache its answers."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.python_models.record import CallOptions

Floats = NDArray[np.float32]
Ask = Callable[[Floats], Any]
"""Maps normalised pixels (N, H, W, 3) to answers (N, classes)."""

Answer = Floats | str
"""The values of one image, or the reason why there are none."""

FIRST_WAIT = 0.5
"""Seconds before the first retry; each further one waits twice as long."""

_CACHE_BYTES = 64 * 2**20
_TIMES = 1000
"""Number of recent calls to keep the durations of."""

_REASON = 300
"""Characters of an error that are quoted."""


class BadAnswerError(ValueError):
    """An answer is not what was expected; the message says how."""


class Caller:
    """Calls one function within its limits; safe between threads."""

    def __init__(
        self, ask: Ask, options: CallOptions, check: Callable[[Floats, int], str] = lambda *_: ""
    ) -> None:
        """``check(answers, count)`` says what is wrong with the answers to ``count`` images."""
        self._ask = ask
        self._options = options
        self._check = check
        self._free = threading.BoundedSemaphore(options.concurrency)
        self._changing = threading.Lock()
        self._late: list[threading.Thread] = []
        self._next_call = 0.0
        self._cache: OrderedDict[str, Floats] = OrderedDict()
        self._bytes = 0
        self._times: deque[float] = deque(maxlen=_TIMES)

    @property
    def call_seconds(self) -> tuple[float, ...]:
        """Seconds per image of the latest successful calls."""
        return tuple(self._times)

    def answers(self, keys: Sequence[str], pixels: Callable[[list[int]], Floats]) -> list[Answer]:
        """The answer for each image, or the reason why there is none.

        ``keys`` identify the images; ``pixels`` gives those at some places. An image that was
        answered before is not asked about again.
        """
        found: list[Answer | None] = [self._lookup(key) for key in keys]
        missing = [place for place, answer in enumerate(found) if answer is None]
        parts = [
            missing[start : start + self._options.batch]
            for start in range(0, len(missing), self._options.batch)
        ]
        if parts:
            shown = dict(zip(missing, pixels(missing), strict=True))
            batches = [np.stack([shown[place] for place in part]) for part in parts]
            with ThreadPoolExecutor(min(self._options.concurrency, len(parts)), "call") as pool:
                for part, rows in zip(parts, pool.map(self._rows, batches), strict=True):
                    for place, row in zip(part, rows, strict=True):
                        found[place] = row
                        self._keep(keys[place], row)
        return [answer for answer in found if answer is not None]

    def _rows(self, pixels: Floats) -> list[Answer]:
        """The answers to ``pixels``; a batch that fails is retried image by image."""
        try:
            return list(self._predict(pixels))
        except Exception as error:  # a function of the user's raises anything
            reason = _reason(error)
            if len(pixels) == 1 or isinstance(error, TimeoutError):
                return [reason] * len(pixels)
        return [self._rows(image[None])[0] for image in pixels]

    def _predict(self, pixels: Floats) -> Floats:
        for attempt in range(self._options.retries + 1):
            try:
                return self._call(pixels)
            except Exception:
                if attempt == self._options.retries:
                    raise
                time.sleep(FIRST_WAIT * 2**attempt)
        raise AssertionError("unreachable")

    def _call(self, pixels: Floats) -> Floats:
        found: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                found.put((self._ask(pixels), None))
            except BaseException as error:
                found.put((None, error))
            finally:
                self._free.release()

        self._await_place()
        thread = threading.Thread(target=run, name="call", daemon=True)
        try:
            self._await_turn()
            started = time.monotonic()
            thread.start()
        except BaseException:
            self._free.release()
            raise
        try:
            value, error = found.get(timeout=self._options.timeout)
        except queue.Empty:  # the call goes on, and keeps its place until it ends
            with self._changing:
                self._late.append(thread)
            raise TimeoutError(f"no answer within {self._options.timeout:g} s") from None
        if error is not None:
            raise error
        answers, seconds = as_array(value), time.monotonic() - started
        if problem := self._check(answers, len(pixels)):
            raise BadAnswerError(problem)
        self._times.append(seconds / len(pixels))
        return answers

    def _await_place(self) -> None:
        """Wait until one more call may run.

        Raises ``TimeoutError`` where all that run are late.
        """
        seconds = self._options.timeout
        while not self._free.acquire(timeout=seconds):
            with self._changing:
                self._late = [thread for thread in self._late if thread.is_alive()]
                late = len(self._late)
            if late >= self._options.concurrency:
                raise TimeoutError(
                    f"no answer within {seconds:g} s, as calls that timed out still run ({late})"
                )

    def _await_turn(self) -> None:
        if self._options.per_second is None:
            return
        with self._changing:
            turn = max(time.monotonic(), self._next_call)
            self._next_call = turn + 1 / self._options.per_second
        time.sleep(max(0.0, turn - time.monotonic()))

    def _lookup(self, key: str) -> Floats | None:
        with self._changing:
            if key in self._cache:
                self._cache.move_to_end(key)
            return self._cache.get(key)

    def _keep(self, key: str, answer: Answer) -> None:
        if isinstance(answer, str) or not self._options.cache:
            return
        with self._changing:
            if key not in self._cache:
                self._cache[key] = answer
                self._bytes += answer.nbytes
            while self._bytes > _CACHE_BYTES:
                self._bytes -= self._cache.popitem(last=False)[1].nbytes


def as_array(values: Any) -> Floats:
    """``values`` as a float32 array, copied from a graphics card if need be."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    elif isinstance(values, list | tuple):
        values = [as_array(row) for row in values]
    return np.asarray(values, np.float32)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:_REASON]
    told = isinstance(error, TimeoutError | BadAnswerError) and text
    return text if told else f"{type(error).__name__}: {text}".rstrip(": ")
