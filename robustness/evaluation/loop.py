"""The loop over images, conditions and models: perturb, predict, measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robustness import metrics, models
from robustness.evaluation.measurement_and_image_batch import Batch, Measurement
from robustness.evaluation.perturbation_and_attack_conditions import Condition
from robustness.evaluation.remedied_models_and_trials import Trials, among
from robustness.evaluation.request import Request
from robustness.evaluation.similarity_and_floor import at, floors, similarities
from robustness.metrics.prediction_changes import top_k
from robustness.models import Classifier, ModelRecord, Outputs
from robustness.perturbations import Images
from robustness.pictures.framed_picture import Picture
from robustness.pictures.framing_and_study_image import Framing


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
        picture, scores = batch.pictures[place], batch.scores[place]
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
