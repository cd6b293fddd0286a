"""A model in Python, and the forward pass of its function: calls of it within limits.

Its answers are checked; a warning says if they change from call to call.
"""

from __future__ import annotations

import inspect
import queue
import re
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robustness.base.errors import AnswerError, GradientError, ModelWarning, WeightsError
from robustness.base.text import some
from robustness.models.conversion import use_of
from robustness.models.engine import Floats, Network
from robustness.models.graph import Use, is_distribution, prepared, probabilities_of, trial_images
from robustness.models.passes import STAGE
from robustness.models.record import CallOptions, ModelRecord, PythonCall

Ask = Callable[[Floats], Any]
"""Maps normalised pixels (N, H, W, 3) to answers (N, classes)."""

Export = Callable[[Path, tuple[int, int]], Path]
"""Writes the model to a folder, for images of a height and width, and returns its file."""


@dataclass(frozen=True)
class LiveModel:
    """A model in Python. What it does not tell is empty or None.

    ``ask`` maps normalised pixels (N, H, W, 3) to answers (N, classes). ``entry`` is what it says
    of itself by the keys of ``models.toml``, beside its ``labels``. ``export`` is None for a model
    whose graph cannot be had; ``limit`` then says why, as a clause. ``content`` is the digest of
    what is exported, for a format whose files hold the time as well.
    """

    kind: str
    ask: Ask
    labels: tuple[str, ...] = ()
    entry: Mapping[str, Any] = field(default_factory=dict)
    export: Export | None = None
    content: Callable[[], str] | None = None
    limit: str = "a function shows no graph"


Answer = Floats | str
"""The values of one image, or the reason why there are none."""

_TIMES = 1000
"""Number of recent calls whose durations are kept."""

_REASON = 300
"""Characters of an error that are quoted."""

_STEADY = 0.01
"""Accepted difference between answers to one image, as a share of the largest value; float16 on a
graphics card stays below it."""


class FunctionPass:
    """The ``ForwardPass`` of a function; its one feature stage is its answer."""

    exact = False
    model = None
    stages: tuple[str, ...] = (STAGE,)

    def __init__(self, record: ModelRecord, kind: str, call: PythonCall, side: int) -> None:
        """Ask the function about two images: ``trial_answers`` (2, classes), as it gives them.

        Raises ``WeightsError`` if it does not answer.
        """
        self.engine = f"Python, {kind}"
        self._record = record
        self._call = call
        self._use = use_of(record, side)
        self._caller = Caller(call.ask, call.options, partial(problem, self._use))
        self._trial = model_pixels(trial_images(side), self._use)
        answers = self._caller.answers(self._trial)
        for answer in answers:
            if isinstance(answer, str):
                hint = ""
                if re.search("Error: .*(shape|size|dimension)", answer):
                    hint = f" Check input_size, which is {record.input_text}."
                raise WeightsError(f"{record.name} cannot be used: {answer}.{hint}")
        self.trial_answers: Floats = np.array(answers)

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        """Raise ``AnswerError`` if an image has no answer."""
        answers = self._caller.answers(model_pixels(images, self._use))
        reasons = [answer for answer in answers if isinstance(answer, str)]
        if reasons:
            raise AnswerError(
                f"{self._record.name} gave no answer for {len(reasons)} of {len(images)} versions "
                f"of an image: {reasons[0]}."
            )
        probabilities = probabilities_of(np.array(answers), self._use)
        return probabilities, {STAGE: probabilities}

    def warn_if_unsteady(self) -> None:
        """Warn if the function answers each image alone otherwise than two at once."""
        one_by_one = self._call.options.model_copy(update={"batch": 1})
        caller = Caller(self._call.ask, one_by_one, partial(problem, self._use))
        alone = caller.answers(self._trial)
        failures = [answer for answer in alone if isinstance(answer, str)]
        if failures:
            self._warn(f"fails on a single image ({failures[0]}), but calls may have one image")
            return
        difference = self._largest_difference(alone, list(self.trial_answers))
        if difference <= _STEADY:
            return
        # The same call once more tells chance from the influence of the other images.
        repeated = self._largest_difference(alone, caller.answers(self._trial))
        if repeated > _STEADY:
            self._warn(
                f"is random: its prediction for the same image changes by up to {repeated:.0%} of "
                "the largest value from call to call. Turn off dropout and random augmentation"
            )
        else:
            self._warn(
                f"predicts an image differently alone and in a batch, by up to {difference:.0%} of "
                "the largest value. Use the evaluation mode of its batch normalisation, or say "
                "batch=1"
            )

    def _largest_difference(self, answers: list[Answer], others: list[Answer]) -> float:
        """As a share of the largest value; images without an answer in both do not count."""
        most = 0.0
        for answer, other in zip(answers, others, strict=True):
            if not isinstance(answer, str) and not isinstance(other, str):
                most = max(most, float(np.abs(np.subtract(answer, other)).max()))
        return most / max(float(np.abs(self.trial_answers).max()), 1e-12)

    def _warn(self, finding: str) -> None:
        warnings.warn(f"{self._record.name} {finding}.", ModelWarning, stacklevel=6)

    @property
    def call_seconds(self) -> tuple[float, ...]:
        """Seconds per image of the latest calls."""
        return self._caller.call_seconds

    def network(self, label: str) -> Network:
        raise GradientError(
            f"{label} has no gradients, since {self._call.limit}: attack it with Square, which "
            "needs none."
        )


def model_pixels(images: Floats, use: Use) -> Floats:
    """Study images as the model sees them: resized and normalised, float32 (N, H, W, 3)."""
    return np.asarray(prepared(images, use, False, np.dtype(np.float32)), np.float32)


def problem(use: Use, answers: Floats, count: int) -> str:
    """What is wrong with ``answers`` to ``count`` images; empty if nothing is."""
    if answers.ndim != 2 or len(answers) != count or answers.shape[1] not in use.widths:
        return (
            f"expected answers of shape ({count}, {use.classes}), one row for each image and one "
            f"column for each class, got {answers.shape}"
        )
    if not np.isfinite(answers).all():
        return "expected finite numbers, got NaN or infinity"
    if not use.logits and not is_distribution(answers):
        return (
            f"expected probabilities, got values that sum to {answers[0].sum():.3g} (the least is "
            f'{answers.min():.3g}); if these are logits, say output="logits"'
        )
    return ""


# --- calls ---------------------------------------------------------------------------------------


class BadAnswerError(ValueError):
    """An answer is not what was expected; the message says how."""


class Caller:
    """Calls one function, one call at a time; safe between threads."""

    def __init__(
        self, ask: Ask, options: CallOptions, check: Callable[[Floats, int], str] = lambda *_: ""
    ) -> None:
        """``check(answers, count)`` says what is wrong with the answers to ``count`` images."""
        self._ask = ask
        self._options = options
        self._check = check
        self._free = threading.Lock()
        self._late: threading.Thread | None = None
        self._times: deque[float] = deque(maxlen=_TIMES)

    @property
    def call_seconds(self) -> tuple[float, ...]:
        """Seconds per image of the latest successful calls."""
        return tuple(self._times)

    def answers(self, pixels: Floats) -> list[Answer]:
        """The answer for each of ``pixels`` (N, H, W, 3), or the reason why there is none.

        Images without an answer are asked about again, until that gives no further answer.
        """
        answers = self._once(pixels)
        failed = _failed(answers)
        while failed:
            for index, answer in zip(failed, self._once(pixels[failed]), strict=True):
                answers[index] = answer
            still_failed = _failed(answers)
            if len(still_failed) == len(failed):
                break
            failed = still_failed
        return answers

    def _once(self, pixels: Floats) -> list[Answer]:
        size = self._options.batch
        answers: list[Answer] = []
        for start in range(0, len(pixels), size):
            answers += self._batch(pixels[start : start + size])
        return answers

    def _batch(self, pixels: Floats) -> list[Answer]:
        """The answers to ``pixels``; after a batch that fails, image by image."""
        try:
            return list(self._call(pixels))
        except Exception as error:  # a function of the user's raises anything
            # Each image alone would wait as long again.
            is_late = isinstance(error, TimeoutError)
            if len(pixels) == 1 or is_late:
                return [_reason(error)] * len(pixels)
        answers: list[Answer] = []
        for image in pixels:
            answers += self._batch(image[None])
        return answers

    def _call(self, pixels: Floats) -> Floats:
        """The checked answers to ``pixels`` by one call, in a thread that may be left behind.

        Raises ``TimeoutError`` after the seconds of the options, ``BadAnswerError``, or whatever
        the function raises.
        """
        reply: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                reply.put((self._ask(pixels), None))
            except BaseException as error:
                reply.put((None, error))
            finally:
                self._free.release()

        while not self._free.acquire(timeout=self._options.timeout):
            if self._late is not None and self._late.is_alive():
                raise TimeoutError(
                    f"no answer within {self._options.timeout:g} s, as a call that timed out still "
                    "runs"
                )
        thread = threading.Thread(target=run, name="call", daemon=True)
        started = time.monotonic()
        try:
            thread.start()
        except BaseException:
            self._free.release()
            raise
        try:
            value, error = reply.get(timeout=self._options.timeout)
        except queue.Empty:  # the call goes on, and keeps its place until it ends
            self._late = thread
            raise TimeoutError(f"no answer within {self._options.timeout:g} s") from None
        if isinstance(error, SystemExit):
            raise BadAnswerError("the function asked Python to exit") from error
        if error is not None:
            raise error
        answers = as_array(value)
        seconds = time.monotonic() - started
        problem = self._check(answers, len(pixels))
        if problem and isinstance(value, tuple):  # several outputs, of which one may be the right
            raise BadAnswerError(_not_an_array(value))
        if problem:
            raise BadAnswerError(problem)
        self._times.append(seconds / len(pixels))
        return answers


def _failed(answers: Sequence[Answer]) -> list[int]:
    """The indices of the images without an answer."""
    return [index for index, answer in enumerate(answers) if isinstance(answer, str)]


def _reason(error: Exception) -> str:
    """The first line of ``error``, after its type where the line does not explain itself."""
    lines = [line.strip() for line in str(error).splitlines()]
    first_line = next(filter(None, lines), "")[:_REASON]
    if first_line and isinstance(error, TimeoutError | BadAnswerError):
        return first_line
    return f"{type(error).__name__}: {first_line}".rstrip(": ")


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
    array = values
    if isinstance(values, list | tuple):
        array = [as_array(row) for row in values]
    try:
        return np.asarray(array, np.float32)
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
