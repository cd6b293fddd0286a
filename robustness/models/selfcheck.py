"""The self-check: predictions for known images against the expected ones, and their latency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.timing import Timing, in_turns
from robustness.models.classifier import Classifier
from robustness.models.labels import imagenet
from robustness.models.loaded_models import LOADED, load
from robustness.models.model_record import (
    OWN,
    REGISTRY,
    CheckPicture,
    ModelRecord,
    Normalisation,
)
from robustness.models.own.describe import value_of
from robustness.models.own.propose import clearly_better, renormalise, samples, trials
from robustness.models.run.openvino import F32, Floats, chosen
from robustness.pictures.fitting import read_file, study_image
from robustness.pictures.samples import sample_bytes

TOLERANCE = 0.02
"""Largest difference of a probability from its reference. Right weights on another processor
differ by less than 0.001; a wrong channel order, scale or mean differed by 0.03 or more."""

PHOTOGRAPH = "chelsea"
"""The sample that is timed."""


@dataclass(frozen=True)
class Answer:
    """A model's prediction for a known image, and the expected one.

    ``expected`` are class names, any of which is as expected, be it what the image shows or
    not; ``expected_probability`` is the reference probability of the top-1 class, None where none
    is known.
    """

    picture: str
    expected: tuple[str, ...]
    expected_probability: float | None
    top1: str
    probability: float

    @property
    def right(self) -> bool:
        if self.top1 not in self.expected:
            return False
        reference = self.expected_probability
        return reference is None or abs(self.probability - reference) <= TOLERANCE


@dataclass(frozen=True)
class SelfCheck:
    """The self-check of one model; ``milliseconds`` is the median of single-image passes.

    ``better`` says which normalisation suits the model clearly better than its own, with how both
    did, for a model of the user's and ImageNet's classes; empty where none does.
    ``rounding`` is the largest difference of a probability of the known images from float32's,
    where the setting ``precision`` asks for less; else None. ``problem`` is the sentence that says
    why there are no answers, else empty.
    """

    model: str
    answers: tuple[Answer, ...] = ()
    milliseconds: float | None = None
    rounding: float | None = None
    problem: str = ""
    better: str = ""

    @property
    def right(self) -> bool | None:
        """Whether every known image was answered as expected; None where none is known."""
        if self.problem:
            return False
        return all(answer.right for answer in self.answers) if self.answers else None

    def as_row(self) -> dict[str, Any]:
        """The check as one JSON-ready row."""
        answers = [{**asdict(answer), "right": answer.right} for answer in self.answers]
        return {
            "model": self.model,
            "right": self.right,
            "milliseconds": self.milliseconds,
            "rounding": self.rounding,
            "answers": answers,
            "problem": self.problem,
            "better": self.better,
        }


def self_check(name: str) -> SelfCheck:
    """Runs the model called ``name`` on its known images, at its own input size.

    Raises what ``load`` raises, ``ImageError`` for an image that cannot be read, and
    ``ParameterError`` for an expected class that the model does not have.
    """
    record = REGISTRY[name]
    names = set(record.labels().names)
    for picture in record.check_pictures:
        strangers = [label for label in picture.classes if label not in names]
        if strangers:
            raise ParameterError(f"{name} has no class called {strangers[0]!r} to check.")
    classifier = load(name, side=record.input_size)
    pictures = [_image(record, picture) for picture in record.check_pictures]
    return SelfCheck(
        name,
        tuple(map(partial(_answer, classifier), record.check_pictures, pictures)),
        latencies({name: classifier})[name].median,
        _rounding(classifier, pictures),
        better=_better(classifier) if record.group == OWN else "",
    )


def self_checks(names: Iterable[str]) -> Iterator[SelfCheck]:
    """The self-check of each model in turn; one that cannot run says why, and the next goes on."""
    for name in names:
        try:
            yield self_check(name)
        except RobustnessError as error:
            yield SelfCheck(name, problem=str(error))


def _image(record: ModelRecord, check_picture: CheckPicture) -> Floats:
    source = check_picture.source
    data = read_file(source) if isinstance(source, Path) else sample_bytes(source)
    return study_image(data, name=str(source), fit=record.own_fit, side=record.input_size)


def _answer(classifier: Classifier, check_picture: CheckPicture, image: Floats) -> Answer:
    source = check_picture.source
    probabilities = classifier(image[None]).probabilities[0]
    top1 = int(probabilities.argmax())
    return Answer(
        picture=source.name if isinstance(source, Path) else source,
        expected=check_picture.classes,
        expected_probability=check_picture.probability,
        top1=classifier.record.class_name(top1),
        probability=float(probabilities[top1]),
    )


def _better(classifier: Classifier) -> str:
    """The sentence of ``SelfCheck.better``: the trial of ``models add``, on the bundled images."""
    own = classifier.record.normalisation
    if classifier.record.labels() != imagenet() or classifier.record.input_shape:
        return ""
    photographs = samples(classifier.side)

    def ask(images: Floats, by: Normalisation) -> Floats:
        return classifier.unchecked(renormalise(images, by, own)).probabilities

    tried, images = trials(ask, photographs, own=own), len(photographs.classes)
    best = clearly_better(tried, value_of(own), images)
    if best is None:
        return ""
    mine = next(trial for trial in tried if trial.value == value_of(own))
    return (
        f"Normalisation {best.name} is clearly better: {best.correct} of {images} bundled images "
        f"correct at {best.confidence:.1%} confidence, against {mine.correct} at "
        f"{mine.confidence:.1%}."
    )


def _rounding(classifier: Classifier, pictures: Sequence[Floats]) -> float | None:
    precise = replace(chosen(), precision=F32)
    if precise == chosen() or not pictures:
        return None
    exact = LOADED.get(classifier.record, classifier.side, precise)
    batch = np.stack(pictures)
    return float(np.abs(classifier(batch).probabilities - exact(batch).probabilities).max())


def latencies(classifiers: Mapping[str, Classifier]) -> dict[str, Timing]:
    """The timing of a pass over one image by each of ``classifiers``, measured in turns.

    A function may be a paid service: its earlier calls tell; without any it is left out.
    """

    def task(classifier: Classifier) -> Callable[[], object]:
        side = classifier.side
        image = study_image(sample_bytes(PHOTOGRAPH), side=side)[None]
        return lambda: classifier(image)

    calls = {name: classifier.call_seconds for name, classifier in classifiers.items()}
    passes = {
        name: task(classifier) for name, classifier in classifiers.items() if calls[name] is None
    }
    functions = {name: Timing.of(seconds) for name, seconds in calls.items() if seconds}
    return {**in_turns(passes), **functions}
