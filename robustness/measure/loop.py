"""The loop over images, conditions and models: perturb, predict, measure.

The similarity of features is rescaled, so that unrelated images (the floor) are at 0: most features
are never negative, so even unrelated photographs have a similarity of 0.3 to 0.8. Only measured
from that floor can similarities be compared between models and stages.

Variants, which are models behind remedies, are measured on the same images and conditions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robustness import metrics, models
from robustness.base import settings
from robustness.base.errors import AnswerError, WeightsError
from robustness.base.files import code_digest, read_regular, write_whole
from robustness.images import decoding
from robustness.images.framing import Framing, Picture, study_image
from robustness.images.pixels import round_to_grid
from robustness.measure.condition import Condition
from robustness.measure.measurement import Batch, Measurement
from robustness.measure.request import Request
from robustness.metrics.scores import RESCALED, rescaled, top_k
from robustness.models import Classifier, ModelRecord, Outputs
from robustness.models.passes import chain_outputs
from robustness.models.variant import Variant
from robustness.perturbations import Images
from robustness.remedies import Chain

Features = Mapping[str, NDArray[np.floating]]
"""By stage, (N, D)."""

Floors = Mapping[str, Mapping[str, float]]
"""By stage and metric, the mean similarity of unrelated images."""

Similarities = dict[str, dict[str, NDArray[np.float64]]]
"""By stage, shallow to deep: (N,) of every feature metric, plain and rescaled."""

Stages = Mapping[str, Mapping[str, float]]
"""``Similarities`` of one image, as in a ``Measurement``."""

_MOST_BYTES = 2**20  # of a file of floors
_BRIGHTER = 0.25
"""Added brightness of the brighter copies of unrelated images, in [0, 1]."""


@lru_cache(maxsize=4)
def strangers(side: int) -> tuple[Images, NDArray[np.intp]]:
    """Unrelated images (N, ``side``, ``side``, 3), and the photograph each is made from, (N,).

    They are the samples, unchanged, brighter and in grey: the five are mostly brown and dim, and
    first stages respond mainly to colour and light. All fifteen are predicted in one pass.
    """
    plain = np.stack(
        [
            study_image(decoding.sample_bytes(name), Framing(side=side))
            for name in decoding.REGISTRY.names
        ]
    )
    grey = np.broadcast_to(plain.mean(axis=-1, keepdims=True), plain.shape)
    images_to_compare = np.concatenate([plain, np.minimum(plain + np.float32(_BRIGHTER), 1), grey])
    return round_to_grid(images_to_compare), np.tile(np.arange(len(plain)), 3)


def similarities(clean: Features, features: Features, floors: Floors) -> Similarities:
    """The similarity of ``features`` to those of the original, ``clean`` (one row per stage)."""
    values: Similarities = {}
    for stage, before in clean.items():
        values[stage] = {}
        for name, scores in _scores(before, features[stage]).items():
            values[stage][name] = scores
            values[stage][RESCALED[name]] = rescaled(scores, floors[stage][name])
    return values


def _scores(
    before: NDArray[np.floating], after: NDArray[np.floating]
) -> dict[str, NDArray[np.float64]]:
    return {name: metrics.REGISTRY[name].scores(before, after) for name in RESCALED}


_CHANGING = threading.Lock()
_MEASURING: WeakKeyDictionary[Classifier, threading.Lock] = WeakKeyDictionary()
_FLOORS: WeakKeyDictionary[Classifier, Floors] = WeakKeyDictionary()


def floors(classifier: Classifier) -> Floors:
    """The similarity of unrelated images at each stage, averaged over height and width.

    One pass, the first time on this machine. Thread-safe. Raises ``ImageError`` where the samples
    are missing.
    """
    with _CHANGING:
        measuring = _MEASURING.setdefault(classifier, threading.Lock())
    with measuring:  # once per model
        if classifier not in _FLOORS:
            _FLOORS[classifier] = _read_or_measured(classifier)
        return _FLOORS[classifier]


def _read_or_measured(classifier: Classifier) -> Floors:
    """The floors from a file that is named after everything they depend on, if there can be one."""
    if not classifier.key:
        return _measured_floors(classifier)
    key = (classifier.key, code_digest(), *decoding.REGISTRY)
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:24]
    file = settings.cache_folder() / "floors" / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        saved = json.loads(read_regular(file, _MOST_BYTES))
        return {
            stage: {metric: float(saved[stage][metric]) for metric in RESCALED}
            for stage in classifier.stages
        }
    measured = _measured_floors(classifier)
    with contextlib.suppress(OSError):  # without a cache they are measured at every start
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(measured).encode())
    return measured


def _measured_floors(classifier: Classifier) -> Floors:
    """The mean similarity of every two unrelated images, from one pass.

    Raises ``WeightsError`` if a model in Python does not predict them all.
    """
    images, origins = strangers(classifier.side)
    try:
        outputs = classifier(images)
    except AnswerError as error:
        # As an error of the model: it would else look like one of every image of a run.
        raise WeightsError(
            f"{error} These are the bundled photographs, which every model must predict, as "
            "similarity is measured from them."
        ) from error
    are_unrelated = np.triu(origins[:, None] != origins)  # each pair once
    first, second = np.nonzero(are_unrelated)
    measured = {}
    for stage, features in outputs.features.items():
        scores = _scores(features[first], features[second])
        measured[stage] = {name: float(values.mean()) for name, values in scores.items()}
    return measured


def similarities_of_image(similarities: Similarities, index: int) -> Stages:
    """The similarities of one image."""
    of_image = {}
    for stage, scores in similarities.items():
        of_image[stage] = {name: float(values[index]) for name, values in scores.items()}
    return of_image


Floats = NDArray[np.float32]

_AT_ONCE = 16
"""Images per forward pass with all their views, to keep memory flat."""


Prediction = tuple[int, float]
"""The top-1 class and its probability."""


class _Variants:
    """Measures the variants of ``spec``, whose models see images alike, on one batch.

    A variant is asked about the images that its first model was asked about and, where it combines
    several, about the attacks on each of the others. Its rows come once all have been asked.
    """

    def __init__(self, spec: Request, load: Callable[..., Classifier]) -> None:
        self._spec = spec
        self._load = load
        # By variant and image, for the original and then each condition: the predictions, of which
        # there are several under an attack.
        self._predictions: dict[str, list[list[list[Prediction]]]] = {}

    def measured(
        self, batch: Batch, name: str, rows: Sequence[Sequence[Measurement]]
    ) -> Iterator[list[list[Measurement]]]:
        """The rows of each variant of which the model ``name`` is the last.

        ``batch`` has the attacks on this model, and ``rows`` are its rows.
        """
        side = batch.frames.shape[2]
        for variant in self._spec.variants:
            if name not in variant.models:
                continue
            classifiers = [self._load(model, side=side) for model in variant.models]
            self._ask(variant, classifiers, batch, is_first=name == variant.models[0])
            if name != variant.models[-1]:
                continue
            yield [
                self._rows(variant, classifiers, batch.pictures[image], image, of_image)
                for image, of_image in enumerate(rows)
            ]

    def _ask(
        self, variant: Variant, classifiers: Sequence[Classifier], batch: Batch, *, is_first: bool
    ) -> None:
        """Predict the images of ``batch``; those of attacks alone if others were asked before."""
        conditions = self._spec.conditions
        if is_first:
            by_condition = range(1 + len(conditions))
            self._predictions[variant.name] = [[[] for _ in by_condition] for _ in batch.frames]
            asked = [0, *(at for at, each in enumerate(conditions, 1) if not each.idle)]
        else:
            asked = [at for at, each in enumerate(conditions, 1) if each.needs_model]
        if not asked:
            return
        for image, frames in enumerate(batch.frames):
            probabilities = _chain_probabilities(
                variant.chain, classifiers, frames[asked], self._spec.classes
            )
            for at, prediction in zip(asked, _top(probabilities), strict=True):
                self._predictions[variant.name][image][at].append(prediction)

    def _rows(
        self,
        variant: Variant,
        classifiers: Sequence[Classifier],
        picture: Picture,
        image: int,
        rows: Sequence[Measurement],
    ) -> list[Measurement]:
        """The rows of one image; ``rows`` are those of one of the variant's ``classifiers``."""
        (original,), *by_condition = self._predictions[variant.name][image]
        of_variant = []
        for condition, row, predictions in zip(
            self._spec.conditions, rows, by_condition, strict=True
        ):
            reference = None
            if not variant.chain.several_models:
                reference = row.clean_top1
            if condition.needs_model:
                if row.label is not None:
                    reference = row.label
                good_class = original[0] if reference is None else reference
                first, *others = classifiers
                behind = first.with_remedies(variant.chain, others)
                attacked = self._attacked(condition, picture, behind)
                prediction = _worst(predictions, attacked, original, good_class)
            else:
                (prediction,) = predictions or [original]
            of_variant.append(_variant_row(variant, row, original, prediction, reference))
        return of_variant

    def _attacked(self, condition: Condition, picture: Picture, behind: Classifier) -> Prediction:
        """The prediction for the attack on the variant itself."""
        outputs = behind(condition.against(picture, self._spec.seed, behind)[None])
        if self._spec.classes:
            outputs = among(outputs, self._spec.classes)
        (prediction,) = _top(outputs.probabilities)
        return prediction


def _worst(
    transferred: Sequence[Prediction], attacked: Prediction, original: Prediction, good_class: int
) -> Prediction:
    """The first prediction of another class than ``good_class``, else that for the own attack.

    An attack on the models alone may succeed where that through the remedies fails, and it has
    nothing to break where the original is predicted otherwise.
    """
    for prediction in (*transferred, attacked, original):
        if prediction[0] != good_class:
            return prediction
    return attacked


def _variant_row(
    variant: Variant,
    row: Measurement,
    original: Prediction,
    prediction: Prediction,
    reference: int | None,
) -> Measurement:
    """``row`` of one of the models with the predictions of ``variant`` instead."""
    return replace(
        row,
        model=variant.name,
        base=variant.base,
        reference=reference,
        clean_top1=original[0],
        clean_probability=original[1],
        top1=prediction[0],
        probability=prediction[1],
        retained_probability=math.nan,
        clean_top5=(),
        clean_top5_probabilities=(),
        top5=(),
        top5_probabilities=(),
        scores={},
        stages={},
    )


def among(outputs: Outputs, classes: Sequence[int]) -> Outputs:
    """``outputs`` with the probabilities of ``classes`` alone, which then sum to 1."""
    indices = [index for index in classes if index < outputs.probabilities.shape[1]]
    shares = np.zeros_like(outputs.probabilities)
    shares[:, indices] = outputs.probabilities[:, indices]
    total = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, total, out=shares, where=total > 0)
    return replace(outputs, probabilities=shares)


def _chain_probabilities(
    chain: Chain, classifiers: Sequence[Classifier], images: Images, classes: Sequence[int]
) -> Floats:
    """Probabilities (N, classes) for ``images`` of the models behind ``chain``."""

    def ask(classifier: Classifier, views: Images) -> tuple[Floats, dict[str, Floats]]:
        outputs = classifier(views)
        if classes:
            outputs = among(outputs, classes)
        return outputs.probabilities, {}

    asks = [partial(ask, classifier) for classifier in classifiers]
    parts = [
        chain_outputs(chain, asks, images[start : start + _AT_ONCE])[0]
        for start in range(0, len(images), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _top(probabilities: Floats) -> list[Prediction]:
    """The prediction of each row of ``probabilities`` (N, classes)."""
    top1 = probabilities.argmax(axis=1)
    best = probabilities[np.arange(len(top1)), top1]
    return list(zip(top1.tolist(), best.tolist(), strict=True))


def frames(pictures: Sequence[Picture], conditions: Sequence[Condition], seed: int) -> Images:
    """The original and each condition of every image: float32 (N, 1 + conditions, S, S, 3).

    All ``pictures`` have one framing. For an attack, which needs a model, it holds the original.
    """
    clean = np.stack([picture.image for picture in pictures])
    digests = [picture.stream for picture in pictures]
    result = np.empty((len(pictures), 1 + len(conditions), *clean.shape[1:]), np.float32)
    result[:, 0] = clean
    for place, condition in enumerate(conditions, start=1):
        result[:, place] = condition.images(clean, digests, seed)
    return result


def perturbed(picture: Picture, conditions: Sequence[Condition], seed: int) -> Images:
    """The image under each condition: float32 (number of conditions, S, S, 3)."""
    return frames([picture], conditions, seed)[0, 1:]


def picture_scores(clean: Images, images: Images) -> dict[str, NDArray[np.float64]]:
    """Every image metric, of ``clean`` (1, S, S, 3) with each of ``images``."""
    return {
        metric.name: metric.scores(clean, images)
        for metric in metrics.REGISTRY
        if metric.subject == metrics.PICTURE
    }


def measurements(
    spec: Request,
    picture: Picture,
    classifier: Classifier,
    clean: Outputs,
    outputs: Outputs,
    image_scores: Mapping[str, NDArray[np.float64]],
) -> list[Measurement]:
    """The rows of one image and one model, one per condition of ``spec``.

    ``clean`` holds the outputs for the original (one row), ``outputs`` those for the conditions in
    order, ``image_scores`` the ``picture_scores``.
    """
    stages = similarities(clean.features, outputs.features, floors(classifier))
    answers = {**image_scores, **stages[list(stages)[-1]]}
    for metric in metrics.REGISTRY:
        if metric.subject == metrics.PREDICTION:
            answers[metric.name] = metric.scores(clean.probabilities, outputs.probabilities)
        elif metric.subject == metrics.FEATURES and metric.name not in answers:
            last = list(stages)[-1]
            answers[metric.name] = metric.scores(clean.features[last], outputs.features[last])
    clean_top5 = top_k(clean.probabilities)[0]
    top5 = top_k(outputs.probabilities)
    before = clean.probabilities[0]
    fit, side = picture.framing[:2]
    rows = []
    for index, condition in enumerate(spec.conditions):
        after = outputs.probabilities[index]
        rows.append(
            Measurement(
                image=picture.name,
                image_digest=picture.source,
                framed_digest=picture.digest,
                fit=fit,
                side=side,
                label=picture.label,
                model=classifier.record.name,
                condition=condition.id,
                profile=condition.profile,
                perturbation=condition.name,
                strength=condition.strength,
                parameter=condition.parameter_at(side),
                seed=spec.seed,
                clean_top1=int(clean_top5[0]),
                clean_probability=float(before[clean_top5[0]]),
                top1=int(top5[index, 0]),
                probability=float(after[top5[index, 0]]),
                retained_probability=float(after[clean_top5[0]]),
                clean_top5=tuple(clean_top5.tolist()),
                clean_top5_probabilities=tuple(before[clean_top5].tolist()),
                top5=tuple(top5[index].tolist()),
                top5_probabilities=tuple(after[top5[index]].tolist()),
                scores={name: float(values[index]) for name, values in answers.items()},
                stages=similarities_of_image(stages, index),
            )
        )
    return rows


def prepare(
    pictures: Sequence[Picture],
    conditions: Sequence[Condition],
    seed: int,
    changed: Images | None = None,
) -> Batch:
    """Perturb ``pictures`` (at least one) and compute the image metrics, without a model.

    ``changed`` are their ``frames``, if they are there already.
    """
    if changed is None:
        changed = frames(pictures, conditions, seed)
    scores = [picture_scores(versions[:1], versions[1:]) for versions in changed]
    return Batch(pictures, changed, scores)


def measure_batch(
    spec: Request,
    batch: Batch,
    classifier: Classifier,
    *,
    clean: Sequence[Outputs] | None = None,
) -> list[list[Measurement]]:
    """The rows of one model for each image of ``batch``, one per condition.

    Uses as few forward passes as possible: conditions that change nothing reuse the original, whose
    outputs may be given as ``clean``.
    """
    active = [index for index, condition in enumerate(spec.conditions, 1) if not condition.idle]
    to_predict = active if clean is not None else [0, *active]
    frames = batch.frames[:, to_predict]
    image_count, frame_count = frames.shape[:2]
    outputs = None
    if frame_count:
        outputs = classifier(frames.reshape(-1, *frames.shape[2:]))
        if spec.classes:
            outputs = among(outputs, spec.classes)
    # By condition the row of an image's outputs: 0, the original, for one that changes nothing.
    output_rows = np.zeros(len(spec.conditions), np.intp)
    output_rows[np.array(active, np.intp) - 1] = np.arange(1, 1 + len(active))
    rows = []
    for image in range(image_count):
        parts = [] if clean is None else [clean[image]]
        if outputs is not None:
            parts.append(outputs[image * frame_count : (image + 1) * frame_count])
        of_image = Outputs.join(parts)
        rows.append(
            measurements(
                spec,
                batch.pictures[image],
                classifier,
                of_image[:1],
                of_image[output_rows],
                batch.scores[image],
            )
        )
    return rows


Labelling = Callable[[ModelRecord], Sequence[int | None]]
"""The label of each image of a batch, as a class index of the model."""


def answers(
    spec: Request,
    batches: Mapping[Framing, Batch],
    *,
    load: Callable[..., Classifier] = models.load,
    labels: Labelling | None = None,
) -> Iterator[list[list[Measurement]]]:
    """The result of ``measure_batch`` for each model, with the attacks of ``spec`` on that model.

    The rows of each variant follow those of the last of its models.

    ``batches`` hold the same images in each framing of the models. ``labels`` replaces the images'
    own labels. Raises ``GradientError`` for a model that cannot be attacked.
    """
    variants_of = {}
    for framing, names in spec.by_framing.items():
        variants_of[framing] = _Variants(spec.of_models(names), load)
    for name, framing in spec.framings:
        classifier = load(name, side=framing.side)  # anew if the memory budget had it released
        batch = batches[framing]
        if labels is not None:
            pictures = []
            for picture, label in zip(batch.pictures, labels(classifier.record), strict=True):
                pictures.append(replace(picture, label=label))
            batch = replace(batch, pictures=pictures)
        attacked = _with_attacks(spec, batch, classifier)
        rows = measure_batch(spec, attacked, classifier)
        yield rows
        yield from variants_of[framing].measured(attacked, name, rows)


def _with_attacks(spec: Request, batch: Batch, classifier: Classifier) -> Batch:
    """``batch`` with the attacks of ``spec`` on ``classifier``; unchanged if there are none."""
    attacks = [
        (index, condition)
        for index, condition in enumerate(spec.conditions)
        if condition.needs_model
    ]
    if not attacks:
        return batch
    frames = batch.frames.copy()
    scores_of_images = []
    for image, picture in enumerate(batch.pictures):
        original = frames[image, :1]
        scores = {name: values.copy() for name, values in batch.scores[image].items()}
        for index, condition in attacks:
            attacked = condition.against(picture, spec.seed, classifier)
            frames[image, 1 + index] = attacked
            for name, values in picture_scores(original, attacked[None]).items():
                scores[name][index] = values[0]
        scores_of_images.append(scores)
    return Batch(batch.pictures, frames, scores_of_images)


def evaluate(
    spec: Request,
    pictures: Iterable[Picture],
    *,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Measurement]:
    """Yield the rows by image, model and condition, those of variants after their models.

    Models of one framing share the perturbed images; each predicts the original and all conditions
    in one batch. Closing the iterator stops the work. Raises ``WeightsError`` if a model cannot be
    loaded.
    """
    for name, framing in spec.framings:  # fail before any other work
        load(name, side=framing.side)
    for picture in pictures:
        batches = {}
        for framing in spec.by_framing:
            batches[framing] = prepare([picture.at(framing)], spec.conditions, spec.seed)
        for (rows,) in answers(spec, batches, load=load):
            yield from rows
