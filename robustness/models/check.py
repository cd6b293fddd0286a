"""The check of a model: its weights, its graph, predictions for known images, and latency.

The cache keeps the last check of each model: all who share the cache see it.

What runs a model, and what a model of the user's cannot do, for people.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robustness.base import settings
from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.files import write_whole
from robustness.base.turns import in_turns
from robustness.base.validation import read_json
from robustness.images.decoding import sample_bytes
from robustness.images.framing import STUDY_FRAMING, STUDY_SIDE, Framing, read_file, study_image
from robustness.models.classifier import Classifier
from robustness.models.conversion import conversion
from robustness.models.engine import F32, TENSORFLOW, Floats, chosen
from robustness.models.formats import BY_OPENVINO, is_quantised
from robustness.models.loaded import LOADED, load
from robustness.models.metadata import value_of
from robustness.models.record import OWN, REGISTRY, ModelRecord, Normalisation, imagenet
from robustness.models.trials import clearly_better, renormalise, samples, trials
from robustness.models.weights import digest, state

TOLERANCE = 0.02
"""Largest difference of a probability from its reference. Right weights on another processor
differ by less than 0.001; a wrong channel order, scale or mean differed by 0.03 or more."""

PHOTOGRAPH = "chelsea"
"""The sample that is timed."""

OK: Literal["ok"] = "ok"
MISSING: Literal["missing"] = "missing"
DAMAGED: Literal["damaged"] = "damaged"
FAILED: Literal["failed"] = "failed"
WRONG: Literal["wrong"] = "wrong"


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

    @property
    def text(self) -> str:
        """Expected and predicted in one sentence."""
        expected = " or ".join(self.expected)
        if self.expected_probability is not None:
            expected += f" {self.expected_probability:.1%}"
        return f"{self.picture}: expected {expected}, got {self.top1} {self.probability:.1%}."


@dataclass(frozen=True)
class ModelCheck:
    """The check of one model.

    ``state``: its weights are MISSING, or the package that it needs; they are DAMAGED; it FAILED to
    load or to predict; it predicts known images otherwise than expected, WRONG; or it is OK.
    ``problem`` is the sentence on the first three. ``engine`` is what runs it; ``in_cache`` is
    whether its graph is there, None for a model in Python. ``milliseconds`` is the median of
    single-image passes. ``rounding`` is the largest difference of a probability of the known images
    from float32's, where the setting ``precision`` asks for less; else None. ``better`` says which
    normalisation suits a model of the user's with ImageNet's classes clearly better than its own;
    empty where none does.
    """

    model: str
    state: Literal["ok", "missing", "damaged", "failed", "wrong"]
    engine: str | None = None
    in_cache: bool | None = None
    answers: tuple[Answer, ...] = ()
    milliseconds: float | None = None
    rounding: float | None = None
    better: str = ""
    problem: str = ""

    @property
    def images_text(self) -> str:
        """How many known images were predicted as expected."""
        right = sum(answer.right for answer in self.answers)
        return f"{right} of {len(self.answers)}" if self.answers else "none"

    @property
    def notes(self) -> list[str]:
        """Sentences on what else is wrong, or worth knowing."""
        notes = [answer.text for answer in self.answers if not answer.right]
        if self.better:
            notes.append(self.better)
        if self.in_cache is False:
            notes.append(
                "Its graph is not kept, so every start converts it: let this account write to the "
                "cache folder."
            )
        if self.rounding is not None:
            notes.append(
                "The setting 'precision' is below float32: probabilities of known images change by "
                f"up to {self.rounding:.1%}."
            )
        return notes

    def as_row(self) -> dict[str, Any]:
        """The check as one JSON-ready row."""
        answers = [{**asdict(answer), "right": answer.right} for answer in self.answers]
        return {**asdict(self), "answers": answers}


def check_model(name: str, *, side: int | None = None, timing: bool = True) -> ModelCheck:
    """Check the model called ``name``, and keep the result; a failure is part of it.

    Its graph is converted and kept for images of ``side`` pixels, by default those that it is
    measured with. Known images are predicted at its own input size. Raises ``UnknownNameError``.
    """
    record = REGISTRY[name]
    weights = state(record)
    if not weights.ready:
        fault = FAILED if record.weights.own else DAMAGED
        return ModelCheck(name, fault if weights.path else MISSING, problem=weights.reason)
    try:
        check = _of_ready(record, side or record.framing.side, timing)
    except RobustnessError as error:
        check = ModelCheck(name, FAILED, problem=str(error))
    keep_check(record, check)
    return check


def _of_ready(record: ModelRecord, side: int, timing: bool) -> ModelCheck:
    name = record.name
    classes = set(record.labels().names)
    for picture in record.check_pictures:
        strangers = [label for label in picture.classes if label not in classes]
        if strangers:
            raise ParameterError(f"{name} has no class called {strangers[0]!r} to check.")
    engine = load(name, side=side).engine
    file = record.weights.own
    base = record.base or record
    classifier = load(name, side=record.input_size)
    images = []
    answers = []
    for picture in record.check_pictures:
        source = picture.source
        data = read_file(source) if isinstance(source, Path) else sample_bytes(source)
        image = study_image(data, record.own_framing, name=str(source))
        probabilities = classifier(image[None]).probabilities[0]
        top1 = int(probabilities.argmax())
        shown = source.name if isinstance(source, Path) else source
        answers.append(
            Answer(
                shown,
                picture.classes,
                picture.probability,
                record.class_name(top1),
                float(probabilities[top1]),
            )
        )
        images.append(image)
    return ModelCheck(
        name,
        OK if all(answer.right for answer in answers) else WRONG,
        engine,
        None if file and file.call else conversion(base, digest(base), side) is not None,
        tuple(answers),
        pass_milliseconds(classifier) if timing else None,
        _rounding(classifier, images),
        better=_better(classifier) if record.group == OWN and not record.base else "",
    )


# --- the last check -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """A check, and the ``key`` of the weights and the engine that it is of."""

    key: str
    check: ModelCheck


def last_check(record: ModelRecord) -> ModelCheck | None:
    """The last check of ``record``, a ready model; None if weights or engine are others now."""
    entry = read_json(_Entry, _file(record))
    return entry.check if entry and entry.key == _key(record) else None


def keep_check(record: ModelRecord, check: ModelCheck) -> None:
    """Keep ``check`` as the last one of ``record``, where the cache can be written."""
    with suppress(OSError, RobustnessError):  # its weights may be gone meanwhile
        entry = _Entry(_key(record), check)
        _file(record).parent.mkdir(parents=True, exist_ok=True)
        write_whole(_file(record), json.dumps(asdict(entry)).encode())


def _file(record: ModelRecord) -> Path:
    return settings.cache_folder() / "checks" / f"{record.name}.json"


def _key(record: ModelRecord) -> str:
    return f"{digest(record)} {chosen()}"


# --- normalisation, rounding and latency ----------------------------------------------------------


def _better(classifier: Classifier) -> str:
    """The sentence of ``ModelCheck.better``: the trial of ``models add``, on the bundled images."""
    own = classifier.record.normalisation
    if classifier.record.labels() != imagenet() or classifier.record.input_shape:
        return ""
    photographs = samples(Framing(side=classifier.side))

    def ask(images: Floats, by: Normalisation) -> Floats:
        return classifier.unchecked(renormalise(images, by, own)).probabilities

    tried = trials(ask, photographs, own=own)
    images = len(photographs.classes)
    best = clearly_better(tried, value_of(own), images)
    if best is None:
        return ""
    mine = next(trial for trial in tried if trial.value == value_of(own))
    return (
        f"Normalisation {best.name} is clearly better: {best.correct} of {images} bundled images "
        f"correct, mean probability of the true class {best.true_class_probability:.1%}, against "
        f"{mine.correct}, {mine.true_class_probability:.1%}."
    )


def _rounding(classifier: Classifier, pictures: Sequence[Floats]) -> float | None:
    precise = replace(chosen(), precision=F32)
    if precise == chosen() or not pictures:
        return None
    exact = LOADED.get(classifier.record, classifier.side, precise)
    batch = np.stack(pictures)
    return float(np.abs(classifier(batch).probabilities - exact(batch).probabilities).max())


def single_pass(classifier: Classifier) -> Callable[[], object]:
    """A function that has ``classifier`` predict one photograph of its own side."""
    framing = Framing(side=classifier.side)
    image = study_image(sample_bytes(PHOTOGRAPH), framing)[None]
    return lambda: classifier(image)


def pass_milliseconds(classifier: Classifier) -> float | None:
    """The median time of a pass over one image, in milliseconds; None if it is unknown.

    A function may be a paid service: its earlier calls tell, if there are any.
    """
    seconds = classifier.call_seconds
    if seconds is None:
        turns, _ = in_turns({"": single_pass(classifier)})
        return statistics.median(turns[""])
    return 1000 * statistics.median(seconds) if seconds else None


def engine_text(record: ModelRecord) -> str:
    """The engine of ``record`` in words, and why it is not OpenVINO."""
    record = record.base or record
    choice = chosen()
    file = record.weights.own
    if file and file.call:
        return f"Python, {file.kind}"
    sides = STUDY_SIDE, record.input_size
    converted = conversion(record, digest(record), *sides) if state(record).ready else None
    refusal = converted.refusal if converted else ""
    kind = record.weights.format
    runtime = record.weights.native_runtime
    if refusal:
        runtime = kind.runtime
    if runtime:
        return runtime.label if kind.is_graph or not refusal else f"{runtime.label}: {refusal}"
    if choice.engine == TENSORFLOW and not (converted and converted.missing):
        return "TensorFlow"
    return "OpenVINO" if choice.precision == F32 else f"OpenVINO, {choice.precision}"


def limitations(record: ModelRecord) -> Iterator[str]:
    """Yield the limits of ``record``, each a sentence or two; none of a built-in model."""
    record = record.base or record
    file = record.weights.own
    if file is None:
        return
    if record.input_shape:
        yield (
            f"Input of {record.input_text}: square images are stretched to it. A quarter turn "
            "rotates the square image before it is stretched."
        )
    if record.framing == STUDY_FRAMING and record.labels is not imagenet:
        yield (
            f"Images are cropped to {STUDY_SIDE} px by default. For whole images at its own "
            'size, add fit = "squash" to its description.'
        )
    if file.runtime == BY_OPENVINO and is_quantised(file.path):
        yield (
            'Not measured as deployed: its description says runtime = "openvino", which rounds '
            "differently."
        )
    if file.call:
        yield (
            "Called as a function: no feature similarities and no heat maps, and Square is the "
            "only attack. Keras and torch networks have no such limits if they can be exported."
        )
    elif state(record).ready:
        converted = conversion(record, digest(record), STUDY_SIDE, record.input_size)
        runtime = record.weights.format.runtime
        if converted is None:
            yield "Gradient support is checked when the model is first used."
        elif converted.refusal and runtime:
            yield (
                f"Predictions only, by {runtime.label}: {converted.refusal}. There are no feature "
                "similarities and no heat maps, and Square is the only attack."
            )
        elif converted.missing:
            yield (
                f"No gradients: {', '.join(converted.missing)} cannot be differentiated here. "
                "Square is the only attack, and there are no heat maps."
            )
