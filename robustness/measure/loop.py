"""The loop over images, conditions and models: perturb, predict, measure.

Feature similarity, rescaled so that unrelated images (the floor) are at 0.

Most features are never negative, so even unrelated photographs have a similarity of 0.3 to 0.8.
Only measured from that floor can similarities be compared between models and stages.

Trials of remedies: the same images and conditions, the same model, behind each remedy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robustness import metrics, models
from robustness.base import settings
from robustness.base.code_digest import code_digest
from robustness.base.errors import ParameterError
from robustness.base.files import read_regular, write_whole
from robustness.images import decoding
from robustness.images.framing import Framing, Picture, study_image
from robustness.images.pixels import round_to_grid
from robustness.measure.condition import Condition
from robustness.measure.measurement import Batch, Measurement, RemediedPrediction
from robustness.measure.request import Request
from robustness.metrics.scores import RESCALED, rescaled, top_k
from robustness.models import Classifier, ModelRecord, Outputs
from robustness.models.passes import remedied_outputs
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
    key = (classifier.key, code_digest(__name__), *decoding.REGISTRY)
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:24]
    file = settings.cache_folder() / "floors" / f"{name}.json"
    if classifier.key:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            saved = json.loads(read_regular(file, _MOST_BYTES))
            return {s: {n: float(saved[s][n]) for n in RESCALED} for s in classifier.stages}
    images, origins = strangers(classifier.side)
    first, second = np.nonzero(np.triu(origins[:, None] != origins))  # of different photographs
    measured = {
        stage: {name: float(scores.mean()) for name, scores in _scores(f[first], f[second]).items()}
        for stage, f in classifier(images).features.items()
    }
    if classifier.key:
        with contextlib.suppress(OSError):  # without a cache they are measured at every start
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(measured).encode())
    return measured


def at(similarities: Similarities, place: int) -> Stages:
    """The similarities of the image at ``place``."""
    return {
        stage: {name: float(values[place]) for name, values in scores.items()}
        for stage, scores in similarities.items()
    }


Floats = NDArray[np.float32]

_AT_ONCE = 16
"""Images per forward pass with all their views, to keep memory flat."""


class Trials:
    """Asks models of one framing behind remedies about a batch.

    The predictions of several models together are computed once for all of them.
    """

    def __init__(self, load: Callable[..., Classifier]) -> None:
        self._load = load
        self._joint: dict[tuple[str, str], list[Floats]] = {}
        self._joint_attacked: dict[tuple[str, str, int], Mapping[int, Floats]] = {}

    def tried(
        self,
        spec: Request,
        batch: Batch,
        classifier: Classifier,
        rows: Sequence[Sequence[Measurement]],
    ) -> list[list[Measurement]]:
        """The ``rows`` of ``classifier`` for ``batch``, with a trial of each remedy of ``spec``."""
        measurements: list[list[Measurement]] = [list(own) for own in rows]
        for chain in spec.remedies:
            answers = self._answers(spec, batch, classifier, chain)
            for place, own in enumerate(measurements):
                clean, *after = answers[place]
                adaptive = self._attacked(spec, batch, classifier, chain, place)
                for at, row in enumerate(own):
                    worse = _worse(after[at], adaptive.get(at), row, clean)
                    trial = RemediedPrediction(chain.id, *_top(clean), *_top(worse))
                    own[at] = replace(row, remedies=(*row.remedies, trial))
        return measurements

    def _answers(
        self, spec: Request, batch: Batch, classifier: Classifier, chain: Chain
    ) -> list[Floats]:
        """By image, the probabilities (1 + conditions, classes), the original first."""
        idle = [place for place, condition in enumerate(spec.conditions, 1) if condition.idle]
        attacked = any(condition.needs_model for condition in spec.conditions)
        key = chain.id, classifier.record.labels().key
        if chain.several_models and key in self._joint and not attacked:
            return self._joint[key]
        asks = [classifier, *self._others(spec, classifier, chain)]
        outputs = []
        for frames in batch.frames:
            answer = _chain_probabilities(chain, asks, frames, spec.classes)
            answer[idle] = answer[0]
            outputs.append(answer)
        if chain.several_models:
            self._joint[key] = outputs
        return outputs

    def _others(self, spec: Request, classifier: Classifier, chain: Chain) -> Iterator[Classifier]:
        """The other models of ``spec`` with the same classes, if ``chain`` takes several."""
        for name in partners(chain, classifier.record.name, spec.model_names):
            yield self._load(name, side=classifier.side)

    def _attacked(
        self, spec: Request, batch: Batch, classifier: Classifier, chain: Chain, place: int
    ) -> Mapping[int, Floats]:
        """Probabilities for the image ``place``, attacked through ``chain``, by condition."""
        attacks = [
            (at, condition) for at, condition in enumerate(spec.conditions) if condition.needs_model
        ]
        key = chain.id, classifier.record.labels().key, place
        if not attacks or key in self._joint_attacked:
            return self._joint_attacked.get(key, {})
        probabilities: dict[int, Floats] = {}
        others = list(self._others(spec, classifier, chain))
        if chain.several_models and not others:
            return probabilities  # the model itself
        through = classifier.with_remedies(chain, others)
        for at, condition in attacks:
            image = condition.against(batch.pictures[place], spec.seed, through)
            answer = through(image[None])
            answer = among(answer, spec.classes) if spec.classes else answer
            probabilities[at] = answer.probabilities[0]
        if chain.several_models:
            self._joint_attacked[key] = probabilities
        return probabilities


def partners(chain: Chain, name: str, names: Sequence[str]) -> list[str]:
    """The models in ``names`` with the classes of ``name``, if ``chain`` takes several."""
    if not chain.several_models:
        return []
    key = models.REGISTRY[name].labels().key
    return [
        other for other in names if other != name and models.REGISTRY[other].labels().key == key
    ]


def loader_with_remedies(chain: Chain, names: Sequence[str]) -> Callable[..., Classifier]:
    """A replacement for ``models.load`` that puts ``chain`` before each classifier.

    A chain of several models asks those of ``names`` with the same classes. Raises
    ``ParameterError`` if such a chain has no second model.
    """
    for name in names:
        if chain.several_models and not partners(chain, name, names):
            raise ParameterError(
                f"{chain.id} combines models: expected another one with the classes and image "
                f"size of {name}, got none. Add one, or leave the remedy out."
            )

    def load(name: str, *, side: int) -> Classifier:
        others = [models.load(partner, side=side) for partner in partners(chain, name, names)]
        return models.load(name, side=side).with_remedies(chain, others)

    return load


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
        return (among(outputs, classes) if classes else outputs).probabilities, {}

    asks = [partial(ask, classifier) for classifier in classifiers]
    parts = [
        remedied_outputs(chain, asks, images[start : start + _AT_ONCE])[0]
        for start in range(0, len(images), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _top(probabilities: Floats) -> tuple[int, float]:
    best = int(probabilities.argmax())
    return best, float(probabilities[best])


def _worse(plain: Floats, adaptive: Floats | None, row: Measurement, clean: Floats) -> Floats:
    """The worse of two predictions under attack: incorrect or, without a label, changed."""
    if adaptive is None:
        return plain
    own = int(clean.argmax()) if row.label is None else row.label
    return plain if int(plain.argmax()) != own else adaptive


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
                stages=at(stages, index),
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
    changed = frames(pictures, conditions, seed) if changed is None else changed
    return Batch(pictures, changed, [picture_scores(own[:1], own[1:]) for own in changed])


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
    active = [place for place, condition in enumerate(spec.conditions, 1) if not condition.idle]
    frames = batch.frames[:, active if clean is not None else [0, *active]]
    count, variants = frames.shape[:2]
    clean_outputs = [] if clean is None else list(clean)
    outputs = classifier(frames.reshape(-1, *frames.shape[2:])) if variants else None
    if outputs is not None and spec.classes:
        outputs = among(outputs, spec.classes)
    order = np.zeros(len(spec.conditions), np.intp)
    order[np.array(active, np.intp) - 1] = np.arange(1, 1 + len(active))
    rows = []
    for place in range(count):
        parts = clean_outputs[place : place + 1]
        if outputs is not None:
            parts = [*parts, outputs[place * variants : (place + 1) * variants]]
        own = Outputs.join(parts)
        picture = batch.pictures[place]
        scores = batch.scores[place]
        rows.append(measurements(spec, picture, classifier, own[:1], own[order], scores))
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

    ``batches`` hold the same images in each framing of the models. ``labels`` replaces the images'
    own labels. Raises ``GradientError`` for a model that cannot be attacked.
    """
    alike = {own: (spec.of_models(names), Trials(load)) for own, names in spec.by_framing.items()}
    for name, own in spec.framings:
        classifier = load(name, side=own.side)  # anew if the memory budget had it released
        batch = batches[own]
        if labels is not None:
            pairs = zip(batch.pictures, labels(classifier.record), strict=True)
            batch = replace(batch, pictures=[replace(each, label=label) for each, label in pairs])
        attacked = _with_attacks(spec, batch, classifier)
        rows = measure_batch(spec, attacked, classifier)
        if spec.remedies:
            of_framing, trials = alike[own]
            rows = trials.tried(of_framing, attacked, classifier, rows)
        yield rows


def _with_attacks(spec: Request, batch: Batch, classifier: Classifier) -> Batch:
    """``batch`` with the attacks of ``spec`` on ``classifier``; unchanged if there are none."""
    attacks = [
        (place, condition)
        for place, condition in enumerate(spec.conditions)
        if condition.needs_model
    ]
    if not attacks:
        return batch
    frames = batch.frames.copy()
    scores_by_picture = [
        {name: values.copy() for name, values in own.items()} for own in batch.scores
    ]
    for picture, own, scores in zip(batch.pictures, frames, scores_by_picture, strict=True):
        for place, condition in attacks:
            own[1 + place] = condition.against(picture, spec.seed, classifier)
            for name, values in picture_scores(own[:1], own[1 + place][None]).items():
                scores[name][place] = values[0]
    return Batch(batch.pictures, frames, scores_by_picture)


def evaluate(
    spec: Request,
    pictures: Iterable[Picture],
    *,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Measurement]:
    """Yield the rows by image, model and condition.

    Models of one framing share the perturbed images; each predicts the original and all conditions
    in one batch. Closing the iterator stops the work. Raises ``WeightsError`` if a model cannot be
    loaded.
    """
    for name, own in spec.framings:  # fail before any other work
        load(name, side=own.side)
    for picture in pictures:
        batches = {
            own: prepare([picture.at(own)], spec.conditions, spec.seed) for own in spec.by_framing
        }
        for (rows,) in answers(spec, batches, load=load):
            yield from rows
