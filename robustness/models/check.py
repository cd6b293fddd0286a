"""The check of a model: its weights, its graph, predictions for known images, and latency.

The cache keeps the last check of each model: all who share the cache see it. Besides, sentences
for people say which engine runs a model and what a model of the user's cannot do.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robustness.base import settings
from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.files import write_whole
from robustness.base.text import counted, points
from robustness.base.turns import in_turns
from robustness.base.validation import read_json
from robustness.images.decoding import sample_bytes
from robustness.images.framing import (
    STUDY_FRAMING,
    STUDY_SIDE,
    Framing,
    read_file,
    study_image,
    timed_photograph,
)
from robustness.models.classifier import Classifier
from robustness.models.conversion import conversion
from robustness.models.engine import F32, TENSORFLOW, Floats, chosen
from robustness.models.formats import BY_OPENVINO, is_quantised
from robustness.models.loaded import LOADED, load
from robustness.models.metadata import value_of
from robustness.models.record import (
    OWN,
    REGISTRY,
    CheckPicture,
    ModelRecord,
    Normalisation,
    imagenet,
)
from robustness.models.trials import clearly_better, renormalise, samples, trials
from robustness.models.weights import digest, state

TOLERANCE = 0.02
"""Largest difference of a probability from its reference. Right weights on another processor
differ by less than 0.001; a wrong channel order, scale or mean differed by 0.03 or more."""

OK: Literal["ok"] = "ok"
MISSING: Literal["missing"] = "missing"
DAMAGED: Literal["damaged"] = "damaged"
FAILED: Literal["failed"] = "failed"
WRONG: Literal["wrong"] = "wrong"


@dataclass(frozen=True)
class Answer:
    """A model's prediction for a known image, and the expected one.

    ``expected`` holds the names of the classes that count as right, whether or not the image
    shows them. ``expected_probability`` is the reference probability of the top-1 class, None
    where none is known.
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

    The ``state`` is one of

    - MISSING: the weights, or a package that the model needs, are not there;
    - DAMAGED: the weights are not the expected ones;
    - FAILED: the model could not be loaded or could not predict;
    - WRONG: it predicts known images otherwise than expected;
    - OK.

    ``problem`` is the sentence on the first three. ``engine`` is what runs the model, and
    ``in_cache`` is whether its converted graph is kept, None for a model in Python.
    ``milliseconds`` is the median time of a pass over one image. ``rounding`` is the largest
    difference of a probability of the known images from that in float32, None unless the setting
    ``precision`` asks for less. ``better`` says which normalisation suits a model of the user's
    with ImageNet's classes clearly better than its own; it is empty where none does.
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
        if not self.answers:
            return "none"
        right_count = sum(answer.right for answer in self.answers)
        return f"{right_count} of {len(self.answers)}"

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
                f"up to {counted(points(self.rounding, '.1f'), 'point')}."
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
        if not weights.path:
            return ModelCheck(name, MISSING, problem=weights.reason)
        if record.weights.own:
            return ModelCheck(name, FAILED, problem=weights.reason)
        return ModelCheck(name, DAMAGED, problem=weights.reason)
    try:
        check = _check_of_ready(record, side or record.framing.side, timing)
    except RobustnessError as error:
        check = ModelCheck(name, FAILED, problem=str(error))
    keep_check(record, check)
    return check


def _check_of_ready(record: ModelRecord, side: int, timing: bool) -> ModelCheck:
    _require_classes_of_pictures(record)
    # Loaded at the side of the measurements, which converts and keeps its graph for them.
    engine = load(record.name, side=side).engine
    classifier = load(record.name, side=record.input_size)
    images = []
    answers = []
    for picture in record.check_pictures:
        image = _known_image(record, picture)
        images.append(image)
        answers.append(_answer(record, classifier, picture, image))
    file = record.weights.own
    in_cache: bool | None = None
    if file is None or not file.call:
        # A variant has no graph of its own: that of its base is kept.
        graph_record = record.base or record
        in_cache = conversion(graph_record, digest(graph_record), side) is not None
    milliseconds = pass_milliseconds(classifier) if timing else None
    rounding = _rounding(classifier, images)
    # After the time is taken: of a function, that is the time of its calls so far.
    better = ""
    if record.group == OWN and not record.base:
        better = _better_normalisation(classifier)
    return ModelCheck(
        record.name,
        OK if all(answer.right for answer in answers) else WRONG,
        engine=engine,
        in_cache=in_cache,
        answers=tuple(answers),
        milliseconds=milliseconds,
        rounding=rounding,
        better=better,
    )


def _require_classes_of_pictures(record: ModelRecord) -> None:
    """Raise ``ParameterError`` if a known image expects a class that the model does not have."""
    class_names = set(record.labels().names)
    for picture in record.check_pictures:
        for expected_class in picture.classes:
            if expected_class not in class_names:
                raise ParameterError(
                    f"{record.name} has no class called {expected_class!r} to check."
                )


def _known_image(record: ModelRecord, picture: CheckPicture) -> Floats:
    source = picture.source
    data = read_file(source) if isinstance(source, Path) else sample_bytes(source)
    return study_image(data, record.own_framing, name=str(source))


def _answer(
    record: ModelRecord, classifier: Classifier, picture: CheckPicture, image: Floats
) -> Answer:
    probabilities = classifier(image[None]).probabilities[0]
    top1 = int(probabilities.argmax())
    source = picture.source
    return Answer(
        picture=source.name if isinstance(source, Path) else source,
        expected=picture.classes,
        expected_probability=picture.probability,
        top1=record.class_name(top1),
        probability=float(probabilities[top1]),
    )


# --- the last check -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """A check as the cache keeps it, with the ``key`` of its weights and its engine."""

    key: str
    check: ModelCheck


def last_check(record: ModelRecord) -> ModelCheck | None:
    """The last check of ``record``, a ready model; None if weights or engine are others now."""
    entry = read_json(_Entry, _file(record))
    if entry is None or entry.key != _key(record):
        return None
    return entry.check


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


def _better_normalisation(classifier: Classifier) -> str:
    """The sentence of ``ModelCheck.better``: the trial of ``models add``, on the bundled images."""
    record = classifier.record
    if record.labels() != imagenet() or record.input_shape:
        return ""
    described = record.normalisation
    photographs = samples(Framing(side=classifier.side))

    def ask(images: Floats, tried: Normalisation) -> Floats:
        return classifier.unchecked(renormalise(images, tried, described)).probabilities

    results = trials(ask, photographs, own=described)
    image_count = len(photographs.classes)
    best = clearly_better(results, value_of(described), image_count)
    if best is None:
        return ""
    present = next(trial for trial in results if trial.value == value_of(described))
    return (
        f"Normalisation {best.name} is clearly better: {best.correct} of {image_count} bundled "
        f"images correct, mean probability of the true class {best.true_class_probability:.1%}, "
        f"against {present.correct}, {present.true_class_probability:.1%}."
    )


def _rounding(classifier: Classifier, images: Sequence[Floats]) -> float | None:
    engine = chosen()
    exact_engine = replace(engine, precision=F32)
    if engine == exact_engine or not images:
        return None
    exact_classifier = LOADED.get(classifier.record, classifier.side, exact_engine)
    batch = np.stack(images)
    rounded = classifier(batch).probabilities
    exact = exact_classifier(batch).probabilities
    return float(np.abs(rounded - exact).max())


def pass_milliseconds(classifier: Classifier) -> float | None:
    """The median time of a pass over one image, in milliseconds; None if it is unknown.

    A function is not called for it, as it may be a paid service: the times of its earlier calls
    are taken, if there are any.
    """
    call_seconds = classifier.call_seconds
    if call_seconds is None:
        turns, _ = in_turns({"": partial(classifier, timed_photograph(classifier.side))})
        return statistics.median(turns[""])
    if not call_seconds:
        return None
    return 1000 * statistics.median(call_seconds)


def engine_text(record: ModelRecord) -> str:
    """The engine of ``record`` in words, and why it is not OpenVINO."""
    record = record.base or record
    choice = chosen()
    file = record.weights.own
    if file and file.call:
        return f"Python, {file.kind}"
    converted = None
    if state(record).ready:
        converted = conversion(record, digest(record), STUDY_SIDE, record.input_size)
    refusal = converted.refusal if converted else ""
    file_format = record.weights.format
    runtime = record.weights.native_runtime
    if refusal:
        runtime = file_format.runtime
    if runtime:
        if refusal and not file_format.is_graph:
            return f"{runtime.label}: {refusal}"
        return runtime.label
    has_gradients = not (converted and converted.missing)
    if choice.engine == TENSORFLOW and has_gradients:
        return "TensorFlow"
    if choice.precision == F32:
        return "OpenVINO"
    return f"OpenVINO, {choice.precision}"


def limitations(record: ModelRecord) -> Iterator[str]:
    """Yield what the model of ``record`` cannot do, in a sentence or two each.

    Built-in models have no such limits.
    """
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
        yield from _graph_limitations(record)


def _graph_limitations(record: ModelRecord) -> Iterator[str]:
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
