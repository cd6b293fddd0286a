"""A match: what makes unlabelled production images unlike labelled reference images.

Perturbations are fitted in one framing for both sides, from the native size; each model sees the
images with its own preprocessing. An accuracy from confidence needs no cause. The cause holds "if
nothing else differs": one composition of perturbations for all images, or for a share of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from threadpoolctl import threadpool_limits

from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.progress import Note
from robustness.base.validation import CONFIG
from robustness.datasets import Dataset
from robustness.datasets.labels import KNOWN, labelled
from robustness.datasets.pixels import StudyPixels, study_pixels
from robustness.evaluation.condition import Condition, as_profile
from robustness.evaluation.framings import by_framing, shared_framing
from robustness.matching.accuracy import ExpectedAccuracy, headline, with_simulation
from robustness.matching.cause import Cause, search_cause
from robustness.matching.confidence import predict
from robustness.matching.estimate import Estimate
from robustness.matching.image_statistics import NAMES, Floats, batch_statistics
from robustness.matching.labelling import (
    SAMPLE,
    Correct,
    SampleImage,
    exact_estimate,
    labelled_estimate,
    labels_of,
)
from robustness.matching.reference_images import ReferenceImages
from robustness.perturbations import REGISTRY, check_seed
from robustness.pictures.copies import copies, show_one_scene
from robustness.pictures.eight_bits import from_uint8, to_jpeg, to_png
from robustness.pictures.fitting import Framing
from robustness.pictures.picture import Overrides

FEWEST = 20
"""Images that each side needs."""
MOST_PRODUCTION, MOST_REFERENCE = 1000, 300
"""Images that are used, drawn at random from more."""
CONDITIONS = 20
"""Compositions of a profile."""
_JPEG_QUALITY = 90
"""Of images to label."""
_LEAST = 0.005
"""Strength from which a perturbation or an alternative is named: 0.00 is none."""
_PAIRS = 5
_FILE_PROPERTIES = ("jpeg_quality", "original_size", "exposure", "iso")


@dataclass(frozen=True)
class MatchedPerturbation:
    """A perturbation of the estimate with its 95 % interval.

    ``share`` of the production images are affected, and ``strength`` is theirs. ``group`` are
    other perturbations that fit as well in its place, with their strengths.
    """

    perturbation: str
    strength: float
    low: float
    high: float
    share: float
    group: dict[str, float]

    @property
    def value(self) -> str:
        """The physical value at the strength, on the study image."""
        return REGISTRY[self.perturbation].value_text(self.strength)

    @property
    def severity(self) -> int | None:
        """The nearest ImageNet-C severity."""
        return REGISTRY[self.perturbation].severity_at(self.strength)


@dataclass(frozen=True)
class Match:
    """The answer of a match.

    ``different``: production differs from the reference at all. ``matched``: the perturbations
    explain how; otherwise ``unexplained`` names the statistics that differ most, and the cause is
    unknown. ``conditions`` are the profile: compositions that count alike, of which the
    ``share`` of affected images changes anything; none unless a difference is explained. ``models``
    are those whose accuracy was to be estimated.
    """

    __pydantic_config__ = CONFIG | ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    images: int
    reference_images: int
    different: bool
    matched: bool
    perturbations: tuple[MatchedPerturbation, ...]
    expected_accuracy: tuple[ExpectedAccuracy, ...]
    unexplained: tuple[str, ...]
    conditions: tuple[Condition, ...]
    framing: Framing
    """That of all models, or of the study image where they differ."""
    seed: int
    models: tuple[str, ...] = ()
    overrides: Overrides = (None, None)
    skipped: int = 0
    share_decided: bool = True
    """Whether the images decide if all of them are affected; otherwise all count as such."""
    statistics: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    """Each statistic with its mean on production, reference and simulation."""
    pairs: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """PNGs of production images, each with its nearest simulated reference image by statistics."""
    files: tuple[dict[str, Any], ...] = ()
    """What files tell: medians on both sides, which the estimate does not use."""
    searched: bool = True
    """Whether a cause was searched for: not yet in a first answer, never for one scene."""
    copies: int = 0
    """Production images that are copies of others, which count once."""
    no_accuracy: str = ""
    """Why no accuracy follows from confidence, as a sentence; "" where it does."""
    reference_labels: dict[str, int] = field(default_factory=dict)
    """Reference images with a class that the model knows, by model."""
    other_content: bool = False
    """Whether the images show another kind of content, as far as features tell."""
    sample: tuple[SampleImage, ...] = field(default=(), repr=False)
    """Production images to label, drawn at random with the seed, in that order."""
    confidences: dict[str, float] = field(default_factory=dict)
    """The mean confidence of each model on all production images."""

    @property
    def share(self) -> float:
        """Share of the production images that are affected."""
        return self.perturbations[0].share if self.perturbations else 1.0

    @property
    def strengths(self) -> dict[str, float]:
        return {part.perturbation: part.strength for part in self.perturbations}

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready document."""
        return {
            "images": self.images,
            "reference_images": self.reference_images,
            "skipped": self.skipped,
            "copies": self.copies,
            "reference_labels": self.reference_labels,
            "no_accuracy": self.no_accuracy,
            "other_content": self.other_content,
            "different": self.different,
            "matched": self.matched,
            "share_decided": self.share_decided,
            "perturbations": [
                {**asdict(part), "value": part.value, "severity": part.severity}
                for part in self.perturbations
            ],
            "expected_accuracy": [
                {**asdict(part), "disagreement": part.disagreement}
                for part in self.expected_accuracy
            ],
            "unexplained": list(self.unexplained),
            "conditions": [condition.id for condition in self.conditions],
            "statistics": list(self.statistics),
            "files": list(self.files),
        }


@threadpool_limits.wrap(limits=1, user_api="blas")  # small matrices: more threads only wait
def match(
    production: Dataset,
    reference: Dataset,
    model_names: Sequence[str] = (),
    *,
    overrides: Overrides = (None, None),
    seed: int = 0,
    note: Note = lambda _what, _done, _total: None,
    first: Callable[[Match], object] = lambda _answer: None,
) -> Match:
    """Match ``production`` with ``reference``; accuracies where the reference has labels.

    ``first`` receives the answer without a cause, before the search for one begins. ``note``
    receives the progress and may raise to cancel. Raises ``ParameterError`` with fewer than
    ``FEWEST`` different readable images on a side.
    """
    check_seed(seed)
    labels = _labels(reference, model_names)
    framings = by_framing(*overrides, model_names)
    shared = shared_framing(*overrides, model_names)
    read = partial(_different, framings=[shared, *(own for own in framings if own != shared)])
    images, copied = read(production, MOST_PRODUCTION, seed, note, "production")
    pixels, count = images.pixels, len(images.pixels)
    originals, _ = read(reference, MOST_REFERENCE, seed, note, "reference")

    def views(of: StudyPixels) -> dict[str, NDArray[np.uint8]]:
        return {name: p for own, p in of.views.items() for name in framings[own]}

    labels = {name: indices[originals.rows] for name, indices in labels.items()}
    labels = {name: indices for name, indices in labels.items() if (indices >= 0).any()}
    side = ReferenceImages(originals.pixels, seed, views(originals))
    names = [production.entries[row].name for row in images.rows]
    answer = first_answer(side, pixels, names, labels, model_names, note, views(images))
    answer = replace(
        answer,
        framing=shared,
        overrides=overrides,
        copies=copied,
        skipped=images.unreadable + originals.unreadable,
        files=_file_values(images, originals),
    )
    if show_one_scene(pixels):
        return answer
    first(answer)
    side.learn(note)
    statistics = batch_statistics(lambda index: from_uint8(pixels[index]), count)
    scaled = side.emulator.scaled(statistics)
    cause = search_cause(scaled, side, note)
    fitted, explained = cause.estimate, cause.explained
    drawn = drawn_compositions(fitted, seed)
    accuracies = answer.expected_accuracy
    if labels and explained and (fitted.strengths or not accuracies):
        simulated = side.accuracies(labels, fitted, drawn, count, cause.remainder, note)
        accuracies = with_simulation(accuracies, simulated)
    return replace(
        answer,
        searched=True,
        different=cause.changed.significant,
        matched=explained,
        perturbations=perturbations_of(fitted),
        expected_accuracy=accuracies,
        unexplained=() if explained else tuple(NAMES[index] for index in cause.left.largest),
        conditions=profile_conditions(drawn, fitted.share, fitted.names)
        if explained and fitted.strengths
        else (),
        share_decided=fitted.share_decided,
        statistics=_table(cause, side.emulator.originals, scaled),
        pairs=tuple(
            (
                to_png(from_uint8(pixels[row])),
                to_png(side.images(cause.strengths_of(other), [other])[0]),
            )
            for row, other in nearest_pairs(scaled, cause.simulated)
        ),
    )


def first_answer(
    side: ReferenceImages,
    pixels: NDArray[np.uint8],
    names: Sequence[str],
    labels: dict[str, NDArray[np.int64]],
    model_names: Sequence[str],
    note: Note,
    views: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Match:
    """The answer without a cause: accuracies from confidence, and the images to label.

    ``views`` are the images as the models of these names see them, if not as ``pixels``.
    """
    enough = {name: column for name, column in labels.items() if (column >= 0).sum() >= FEWEST}
    one_scene, why = show_one_scene(pixels), ""
    if one_scene:
        why = "Your images show nearly one scene: add others. No cause and no accuracy follow."
    elif not model_names:
        why = "No accuracy: no model was named."
    elif not enough:
        why = f"No accuracy: fewer than {FEWEST} reference images have a class of the models."
    order = np.random.default_rng(side.seed).permutation(len(pixels))
    predictions = {
        name: predict(name, (views or {}).get(name, pixels)[order[:SAMPLE] if why else order])
        for name in model_names
    }
    fitted = side.confidences(enough, note) if not why else {}
    contents = [part.content_distance(predictions[name]) for name, part in fitted.items()]
    other_content = bool(contents) and float(np.mean(contents)) > 1
    return Match(
        len(pixels),
        len(side.pixels),
        different=one_scene,
        matched=False,
        perturbations=(),
        expected_accuracy=tuple(
            headline(
                ExpectedAccuracy(
                    name,
                    0,
                    0,
                    1,
                    part.accuracy,
                    part.estimate(predictions[name], other_content),
                )
            )
            for name, part in fitted.items()
        ),
        unexplained=(),
        conditions=(),
        framing=Framing(),
        seed=side.seed,
        models=tuple(model_names),
        searched=False,
        reference_labels={
            name: int((labels[name] >= 0).sum()) if name in labels else 0 for name in model_names
        },
        no_accuracy=why,
        other_content=other_content,
        sample=tuple(
            SampleImage(
                names[row],
                to_jpeg(from_uint8(pixels[row]), _JPEG_QUALITY),
                {
                    name: models.class_name(name, int(part.classes[place]))
                    for name, part in predictions.items()
                },
                {name: float(part.confidences[place]) for name, part in predictions.items()},
            )
            for place, row in enumerate(order[:SAMPLE].tolist())
            if predictions
        ),
        confidences={name: float(p.confidences.mean()) for name, p in predictions.items()},
    )


def with_labels(match: Match, correct: Correct) -> Match:
    """``match`` with accuracies that use labels of its ``sample``, as ``read_sheet`` reads them."""
    estimates = {part.model: part for part in match.expected_accuracy}
    accuracies = []
    for name in match.models:
        part = estimates.get(name)
        truths, confidences = labels_of(name, match.sample, correct)
        if len(truths):
            if part is None or part.confidence is None:
                labels = exact_estimate(truths)
            else:
                mean = match.confidences[name]
                labels = labelled_estimate(truths, confidences, mean, match.images)
            part = part or ExpectedAccuracy(name, 0, 0, 1, None)
            part = headline(replace(part, labels=labels, labelled=len(truths)))
        if part is not None:
            accuracies.append(part)
    return replace(match, expected_accuracy=tuple(accuracies))


def nearest_pairs(production: Floats, simulated: Floats) -> list[tuple[int, int]]:
    """Rows of both sides with the nearest statistics, nearest first, each row once."""
    distances = np.linalg.norm(production[:, None] - simulated[None], axis=2)
    pairs = []
    for _ in range(_PAIRS):
        row, other = np.unravel_index(np.argmin(distances), distances.shape)
        pairs.append((int(row), int(other)))
        distances[row], distances[:, other] = np.inf, np.inf
    return pairs


def _different(
    dataset: Dataset,
    most: int,
    seed: int,
    note: Note,
    kind: str,
    *,
    framings: Sequence[Framing],
) -> tuple[StudyPixels, int]:
    """The different images of ``dataset``, and how many of those read are copies of others."""
    first, *others = framings
    images = study_pixels(dataset, first, most, seed, note, others)
    read = min(len(dataset), most) - images.unreadable
    numbers = copies(images.pixels)
    rows = np.flatnonzero(numbers == np.arange(len(numbers)))
    copied = read - len(rows)
    if len(rows) < FEWEST:
        which = f"different readable {kind}" if copied else f"readable {kind}"
        counted = f" ({copied} more are copies)" if copied else ""
        raise ParameterError(
            f"Expected at least {FEWEST} {which} images, got {len(rows)}{counted}: add more."
        )
    return images.chosen(rows), copied


def _labels(reference: Dataset, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The class index of every entry, -1 without one, of the models that know some class."""
    sets = models.by_labels(names) if names else []
    label_indices = labelled(reference, [labels for labels, _ in sets], KNOWN) if sets else {}
    result: dict[str, NDArray[np.int64]] = {}
    for labels, members in sets:
        indices = np.array([-1 if label is None else label for label in label_indices[labels.key]])
        if (indices >= 0).any():
            result |= dict.fromkeys(members, indices)
    return result


def _file_values(production: StudyPixels, reference: StudyPixels) -> tuple[dict[str, Any], ...]:
    """Medians of what the files of both sides tell, with the number of files that tell it."""
    rows = []
    for name in _FILE_PROPERTIES:
        row: dict[str, Any] = {"property": name}
        for key, side in (("production", production), ("reference", reference)):
            values = [part[name] for part in side.properties if name in part]
            row[key] = float(np.median(np.array(values, float))) if values else None
            row[f"{key}_images"] = len(values)
        rows.append(row)
    return tuple(row for row in rows if row["production_images"] or row["reference_images"])


def perturbations_of(fitted: Estimate) -> tuple[MatchedPerturbation, ...]:
    """The perturbations of the estimate, strongest first, without those of strength 0.00."""
    parts = []
    for name, strength in fitted.strengths.items():
        if strength < _LEAST:
            continue
        draws = fitted.draws[:, fitted.names.index(name)]
        low, high = np.quantile(draws[draws > 0] if (draws > 0).any() else draws, (0.025, 0.975))
        alike = fitted.group(name).items()
        group = {other: value for other, value in alike if other != name and value >= _LEAST}
        low, high = min(float(low), strength), max(float(high), strength)
        parts.append(MatchedPerturbation(name, strength, low, high, fitted.share, group))
    return tuple(sorted(parts, key=lambda part: -part.strength))


def drawn_compositions(fitted: Estimate, seed: int) -> tuple[Condition, ...]:
    """Distinct compositions drawn from the estimate, up to ``CONDITIONS``, or the original."""
    if not fitted.strengths:
        return (Condition.of({fitted.names[0]: 0.0}),)
    order = np.random.default_rng(seed).permutation(len(fitted.draws))
    rounded = np.round(fitted.draws[order], 4)
    conditions: dict[Condition, None] = {}
    for draw in rounded[rounded.any(1)]:
        strengths = {
            name: float(value) for name, value in zip(fitted.names, draw, strict=True) if value > 0
        }
        conditions.setdefault(Condition.of(strengths))
    return tuple(conditions)[:CONDITIONS]


def profile_conditions(
    compositions: Sequence[Condition], share: float, names: Sequence[str]
) -> tuple[Condition, ...]:
    """A profile of compositions of which about ``share`` change the image, as they count alike.

    The others are perturbations at strength 0, each a condition of its own: those of ``names`` that
    the first composition lacks, so that results under its perturbations are of affected images.
    """
    names = [name for name in names if name not in compositions[0].perturbations]
    odds = share / max(1 - share, 1e-9)
    affected = max(1, min(round(CONDITIONS * share), round(len(names) * odds)))
    chosen = tuple(compositions[:affected])
    unchanged = [Condition.of({name: 0.0}) for name in names]
    return as_profile((*chosen, *unchanged[: round(len(chosen) / odds)]))


def _table(cause: Cause, originals: Floats, scaled: Floats) -> tuple[dict[str, Any], ...]:
    """Scaled means of each statistic, and the size of what is left in standard errors."""
    sides = (scaled, originals, cause.simulated)
    values = (*(side.mean(0).tolist() for side in sides), cause.left.sizes.tolist())
    keys = ("statistic", "production", "reference", "simulation", "left")
    return tuple(dict(zip(keys, row, strict=True)) for row in zip(NAMES, *values, strict=True))
