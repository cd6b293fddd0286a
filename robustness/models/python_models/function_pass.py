"""The forward pass of a function, which only gives probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from robustness.base.errors import AnswerError, GradientError, WeightsError
from robustness.models.graph.inspection import use_of
from robustness.models.graph.output_kind import is_distribution
from robustness.models.graph.study_model import Use
from robustness.models.model_record import ModelRecord
from robustness.models.python_models.call_record import PythonCall
from robustness.models.python_models.calls import Caller, warn_if_unsteady
from robustness.models.run.gradients import Network
from robustness.models.run.native_runtimes import STAGE, native_probabilities, prepared
from robustness.models.run.openvino import Floats


class FunctionPass:
    """The ``ForwardPass`` of a function; its one feature stage is its answer."""

    exact = False
    model = None
    stages: tuple[str, ...] = (STAGE,)

    def __init__(self, record: ModelRecord, kind: str, call: PythonCall, side: int) -> None:
        """Call the function on two images and check its answers.

        Raises ``WeightsError`` if there are none. A function that ``models.toml`` names gets a
        warning if they change; one of this process got it when it was added.
        """
        self.engine = f"Python, {kind}"
        self._record = record
        self._limit = call.limit
        self._use = use_of(record, side)
        check = partial(problem, self._use)
        self._caller = Caller(call.ask, call.options, check)
        images = trial_images(side)
        try:
            answers = self._answers(images)
        except AnswerError as error:
            raise WeightsError(str(error)) from error
        if call.reference:
            pixels = model_pixels(images, self._use)
            warn_if_unsteady(record.name, call.ask, call.options, check, pixels, answers)

    def __call__(self, images: Floats) -> tuple[Floats, Mapping[str, Floats]]:
        """Raise ``AnswerError`` if an image has no answer."""
        probabilities = native_probabilities(self._answers(images), self._use)
        return probabilities, {STAGE: probabilities}

    def _answers(self, images: Floats) -> Floats:
        answers = self._caller.answers(model_pixels(images, self._use))
        reasons = [answer for answer in answers if isinstance(answer, str)]
        if reasons:
            raise AnswerError(
                f"{self._record.name} gave no answer for {len(reasons)} of {len(images)} versions "
                f"of an image: {reasons[0]}."
            )
        return np.stack([answer for answer in answers if not isinstance(answer, str)])

    @property
    def call_seconds(self) -> tuple[float, ...]:
        """Seconds per image of the latest calls."""
        return self._caller.call_seconds

    def network(self, label: str) -> Network:
        raise GradientError(
            f"{label} has no gradients, since {self._limit}: attack it with Square, which needs "
            "none."
        )


def model_pixels(images: Floats, use: Use) -> Floats:
    """Study images as the model sees them: resized and normalised, float32 (N, H, W, 3)."""
    return np.asarray(prepared(images, use, False, np.dtype(np.float32)), np.float32)


def trial_images(side: int) -> Floats:
    """Noise, and an image of one colour: two study images, (2, ``side``, ``side``, 3)."""
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)) / np.float32(255)
    images[1] = images[1, :1, :1]
    return images.astype(np.float32)


def problem(use: Use, answers: Floats, count: int) -> str:
    """What is wrong with ``answers`` to ``count`` images; empty if nothing is."""
    classes = {use.classes, use.classes + 1} if use.background else {use.classes}
    if answers.ndim != 2 or len(answers) != count or answers.shape[1] not in classes:
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
