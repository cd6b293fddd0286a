"""A model in Python: its facts, and calls of it within limits.

Its answers are checked and cached; a warning says if they change from call to call.
"""

from __future__ import annotations

import inspect
import queue
import threading
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ModelWarning
from robustness.base.text import some
from robustness.models.model_record import Normalisation
from robustness.models.python_models.call_record import CallOptions

Floats = NDArray[np.float32]
Ask = Callable[[Floats], Any]
"""Maps normalised pixels (N, H, W, 3) to answers (N, classes)."""

Answer = Floats | str
"""The values of one image, or the reason why there are none."""

Export = Callable[[Path, tuple[int, int]], Path]
"""Writes the model to a folder, for images of a height and width, and returns its file."""

FIRST_WAIT = 0.5
"""Seconds before the first retry; each further one waits twice as long."""

_CACHE_BYTES = 64 * 2**20
_TIMES = 1000
"""Number of recent calls to keep the durations of."""

_REASON = 300
"""Characters of an error that are quoted."""

_STEADY = 0.01
"""Accepted difference between answers to one image, as a share of the largest value; float16 on a
graphics card stays below it."""


@dataclass(frozen=True)
class LiveModel:
    """A model in Python. What it does not tell is empty or None.

    ``shape`` is the height and width of its input.
    ``ask`` maps normalised pixels (N, H, W, 3) to answers (N, classes). ``export`` is None for a
    model whose graph cannot be had; ``limit`` then says why, as a clause. ``content`` is the digest
    of what is exported, for a format whose files hold the time as well. ``output`` is "logits"
    where the format says so.
    """

    kind: str
    ask: Ask
    labels: tuple[str, ...] = ()
    shape: tuple[int, int] | None = None
    normalisation: Normalisation | None = None
    output: str | None = None
    export: Export | None = None
    content: Callable[[], str] | None = None
    limit: str = "a function shows no graph"


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
        replies: list[Answer | None] = [self._cached(key) for key in keys]
        missing = [place for place, answer in enumerate(replies) if answer is None]
        parts = [
            missing[start : start + self._options.batch]
            for start in range(0, len(missing), self._options.batch)
        ]
        if parts:
            pixels_by_digest = dict(zip(missing, pixels(missing), strict=True))
            batches = [np.stack([pixels_by_digest[place] for place in part]) for part in parts]
            with ThreadPoolExecutor(min(self._options.concurrency, len(parts)), "call") as pool:
                for part, rows in zip(parts, pool.map(self._rows, batches), strict=True):
                    for place, row in zip(part, rows, strict=True):
                        replies[place] = row
                        self._keep(keys[place], row)
        return [answer for answer in replies if answer is not None]

    def _rows(self, pixels: Floats) -> list[Answer]:
        """The answers to ``pixels``; a batch that fails is retried image by image."""
        try:
            return list(self._retry(pixels))
        except Exception as error:  # a function of the user's raises anything
            reason = _reason(error)
            if len(pixels) == 1 or isinstance(error, TimeoutError):
                return [reason] * len(pixels)
        return [self._rows(image[None])[0] for image in pixels]

    def _retry(self, pixels: Floats) -> Floats:
        for attempt in range(self._options.retries + 1):
            try:
                return self._call(pixels)
            except Exception:
                if attempt == self._options.retries:
                    raise
                time.sleep(FIRST_WAIT * 2**attempt)
        raise AssertionError("unreachable")

    def _call(self, pixels: Floats) -> Floats:
        reply: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                reply.put((self._ask(pixels), None))
            except BaseException as error:
                reply.put((None, error))
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
            value, error = reply.get(timeout=self._options.timeout)
        except queue.Empty:  # the call goes on, and keeps its place until it ends
            with self._changing:
                self._late.append(thread)
            raise TimeoutError(f"no answer within {self._options.timeout:g} s") from None
        if error is not None:
            raise error
        answers, seconds = as_array(value), time.monotonic() - started
        if problem := self._check(answers, len(pixels)):
            several = isinstance(value, tuple)
            raise BadAnswerError(_not_an_array(value) if several else problem)
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

    def _cached(self, key: str) -> Floats | None:
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
    """``values`` as a float32 array, copied from a graphics card if need be.

    Raises ``BadAnswerError`` for what is no array of numbers.
    """
    if inspect.iscoroutine(values):
        values.close()
        raise BadAnswerError(
            "expected an array, got a coroutine; wrap the async function in asyncio.run"
        )
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    rows = [as_array(row) for row in values] if isinstance(values, list | tuple) else values
    try:
        return np.asarray(rows, np.float32)
    except (TypeError, ValueError) as error:
        raise BadAnswerError(_not_an_array(values)) from error


def _not_an_array(values: Any) -> str:
    content = ""
    if isinstance(values, Mapping):
        content = f" of {some(list(map(repr, values)), 3)}"
    elif isinstance(values, list | tuple):
        content = f" of {len(values)}"
    return (
        f"expected one array with a row for each image, got a {type(values).__name__}{content}; "
        "return the array of answers alone"
    )


def _reason(error: BaseException) -> str:
    text = next(filter(None, map(str.strip, str(error).splitlines())), "")[:_REASON]
    explained = isinstance(error, TimeoutError | BadAnswerError) and text
    return text if explained else f"{type(error).__name__}: {text}".rstrip(": ")


def warn_if_unsteady(
    name: str,
    ask: Ask,
    calls: CallOptions,
    check: Callable[[Floats, int], str],
    pixels: Floats,
    answers: Floats,
) -> None:
    """Warn if ``ask`` answers each image of ``pixels`` alone otherwise than in ``answers``.

    These are its answers (N, classes) in one batch; ``check`` is that of ``Caller``.
    """
    caller = Caller(ask, replace(calls, batch=1, cache=False), check)
    keys = [str(place) for place in range(len(pixels))]

    def alone() -> list[Floats | str]:
        return caller.answers(keys, lambda places: pixels[places])

    def difference(some: list[Floats | str], others: list[Floats | str]) -> float:
        pairs = [pair for pair in zip(some, others, strict=True) if str not in map(type, pair)]
        most = max((np.abs(np.subtract(*pair)).max() for pair in pairs), default=0.0)
        return float(most / max(np.abs(answers).max(), 1e-12))

    first = alone()
    if failed := next((answer for answer in first if isinstance(answer, str)), ""):
        said = f"fails on a single image ({failed}), but calls may have one image"
    elif (change := difference(first, [*answers])) <= _STEADY:
        return
    elif (repeated := difference(first, alone())) > _STEADY:
        said = (
            f"is random: its prediction for the same image changes by up to {repeated:.0%} of the "
            "largest value from call to call. Turn off dropout and random augmentation"
        )
    else:
        said = (
            f"predicts an image differently alone and in a batch, by up to {change:.0%} of the "
            "largest value. Use the evaluation mode of its batch normalisation, or say batch=1"
        )
    warnings.warn(f"{name} {said}.", ModelWarning, stacklevel=6)
