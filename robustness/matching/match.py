"""A match: what makes unlabelled production images unlike labelled reference images.

Perturbations are fitted in one framing for both sides, from the native size; each model sees the
images with its own preprocessing. An accuracy from confidence needs no cause. The cause holds "if
nothing else differs": one composition of perturbations for all images, or for a share of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from threadpoolctl import threadpool_limits

from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.progress_and_time_left import Note
from robustness.base.pydantic_validation import CONFIG, StrictRecord
from robustness.datasets import Dataset
from robustness.datasets.class_indices import KNOWN, entry_class_indices
from robustness.datasets.random_image_sample import SamplePixels, sample_pixels
from robustness.evaluation.framing_of_models import by_framing, shared_framing
from robustness.evaluation.perturbation_and_attack_conditions import Condition
from robustness.matching.cause_of_difference import (
    MatchedPerturbation,
    draw_compositions,
    explains_accuracy,
    nearest_pairs,
    profile_conditions,
    search_cause,
)
from robustness.matching.confidences_and_accuracy_estimator import top_predictions, with_agreement
from robustness.matching.image_statistics import NAMES, batch_statistics
from robustness.matching.label_sheet import SAMPLE, Correct, SampleImage
from robustness.matching.labelled_and_simulated_accuracy import (
    ExpectedAccuracy,
    exact_estimate,
    labelled_estimate,
)
from robustness.matching.reference_simulation_and_accuracy import ReferenceImages
from robustness.perturbations import check_seed
from robustness.pictures.copies_and_single_scene import copies, show_one_scene
from robustness.pictures.eight_bits import from_uint8, to_jpeg, to_png
from robustness.pictures.framing_and_study_image import Framing

FEWEST = 20
"""Images that each side needs."""
MOST_PRODUCTION, MOST_REFERENCE = 1000, 300
"""Images that are used, drawn at random from more."""
_JPEG_QUALITY = 90
"""Of images to label."""
_FILE_PROPERTIES = ("jpeg_quality", "original_size", "exposure", "iso")
_UNPUBLISHED = {"settings", "framing", "searched", "pairs", "sample", "confidences"}
"""Fields of a match that its document lacks."""


class MatchSettings(StrictRecord):
    """What a match depends on beside its images: the ``models`` whose accuracy is estimated,
    ``fit`` and ``side`` as ``make_spec`` takes them, and the seed."""

    models: tuple[str, ...] = ()
    fit: str | None = None
    side: int | None = None
    seed: int = 0

    @property
    def framing(self) -> Framing:
        """That of all models, or of the study image where they differ; raises as ``framing``."""
        return shared_framing(self.fit, self.side, self.models)


@dataclass(frozen=True)
class Match:
    """The answer of a match.

    ``different``: production differs from the reference at all. ``matched``: the perturbations
    explain how; otherwise ``unexplained`` names the statistics that differ most, and the cause is
    unknown. ``conditions`` are the profile: compositions that count alike, of which the
    ``share`` of affected images changes anything; none unless a difference is explained.
    """

    __pydantic_config__ = CONFIG | ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    images: int
    reference_images: int
    settings: MatchSettings
    framing: Framing
    """That of the settings."""
    different: bool = False
    matched: bool = False
    perturbations: tuple[MatchedPerturbation, ...] = ()
    expected_accuracy: tuple[ExpectedAccuracy, ...] = ()
    unexplained: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
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
        best = ("value", "low", "high", "disagreement")
        return {key: value for key, value in vars(self).items() if key not in _UNPUBLISHED} | {
            "perturbations": [
                {**asdict(part), "value": part.value, "severity": part.severity}
                for part in self.perturbations
            ],
            "expected_accuracy": [
                {**asdict(part), **{key: getattr(part, key) for key in best}}
                for part in self.expected_accuracy
            ],
            "conditions": [condition.id for condition in self.conditions],
        }


@threadpool_limits.wrap(limits=1, user_api="blas")  # small matrices: more threads only wait
def match(
    production: Dataset,
    reference: Dataset,
    settings: MatchSettings,
    *,
    note: Note = lambda _what, _done, _total: None,
    first: Callable[[Match], object] = lambda _answer: None,
) -> Match:
    """Match ``production`` with ``reference``; accuracies where the reference has labels.

    ``first`` receives the answer without a cause, before the search for one begins. ``note``
    receives the progress and may raise to cancel. Raises ``ParameterError`` with fewer than
    ``FEWEST`` different readable images on a side.
    """
    check_seed(settings.seed)
    images, copied, views = _read_different(
        production, MOST_PRODUCTION, settings, "production", note
    )
    originals, _, own_views = _read_different(
        reference, MOST_REFERENCE, settings, "reference", note
    )
    pixels, count = images.pixels, len(images.pixels)
    labels = _labels(reference, originals.rows, settings.models)
    side = ReferenceImages(originals.pixels, settings.seed, own_views)
    names = [production.entries[row].name for row in images.rows]
    answer = replace(
        first_answer(side, pixels, names, labels, settings, note, views),
        copies=copied,
        skipped=images.unreadable + originals.unreadable,
        files=_file_values(images, originals),
    )
    if answer.different:  # one scene alone
        return answer
    first(answer)
    side.learn(note)
    scaled = side.emulator.scaled(batch_statistics(lambda row: from_uint8(pixels[row]), count))
    cause = search_cause(scaled, side, note)
    fitted, explained = cause.estimate, cause.explained
    drawn = draw_compositions(fitted, settings.seed)
    if explained and cause.perturbations and answer.expected_accuracy:
        simulated = side.accuracies(labels, fitted, drawn, count, cause.remainder, note)
        explained = explains_accuracy(answer.expected_accuracy, simulated, side.by_chance)
    return replace(
        answer,
        searched=True,
        different=cause.changed.significant,
        matched=explained,
        perturbations=cause.perturbations,
        unexplained=() if explained else tuple(NAMES[index] for index in cause.left.largest),
        conditions=profile_conditions(drawn, fitted.share, fitted.names)
        if explained and fitted.strengths
        else (),
        share_decided=fitted.share_decided,
        statistics=cause.statistics(scaled, side.emulator.originals),
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
    settings: MatchSettings,
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
    elif not settings.models:
        why = "No accuracy: no model was named."
    elif not enough:
        why = f"No accuracy: fewer than {FEWEST} reference images have a class of the models."
    order = np.random.default_rng(settings.seed).permutation(len(pixels))
    rows = order[:SAMPLE] if why else order
    predictions = {
        name: top_predictions(name, (views or {}).get(name, pixels)[rows])
        for name in settings.models
    }
    fitted = side.confidences(enough, note) if not why else {}
    # Only of models with an estimate: the reference tells what the agreement with others means.
    seen = with_agreement({name: predictions[name] for name in fitted}, enough)
    contents = [part.content_distance(seen[name]) for name, part in fitted.items()]
    other_content = bool(contents) and float(np.mean(contents)) > 1
    return Match(
        len(pixels),
        len(side.pixels),
        settings,
        settings.framing,
        different=one_scene,
        expected_accuracy=tuple(
            ExpectedAccuracy(name, part.accuracy, part.estimate(seen[name], other_content))
            for name, part in fitted.items()
        ),
        searched=False,
        reference_labels={
            name: int((labels[name] >= 0).sum()) if name in labels else 0
            for name in settings.models
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
    for name in match.settings.models:
        part = estimates.get(name)
        if some := [image for image in match.sample if (image.name, name) in correct]:
            part = part or ExpectedAccuracy(name)
            truths = np.array([float(correct[image.name, name]) for image in some])
            labels = exact_estimate(truths)
            if part.confidence:
                confidences = np.array([image.confidences[name] for image in some])
                mean = match.confidences[name]
                labels = labelled_estimate(truths, confidences, mean, match.images)
            part = replace(part, labels=labels, labelled=len(some))
        if part:
            accuracies.append(part)
    return replace(match, expected_accuracy=tuple(accuracies))


def _labels(
    reference: Dataset, rows: NDArray[np.int64], names: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """The class index of the images ``rows``, -1 without one, of the models that know some."""
    sets = models.by_labels(names)
    by_set = entry_class_indices(reference, [labels for labels, _ in sets], KNOWN)
    result: dict[str, NDArray[np.int64]] = {}
    for labels, members in sets:
        classes = by_set[labels.key]
        indices = np.array([-1 if classes[row] is None else classes[row] for row in rows])
        if (indices >= 0).any():
            result |= dict.fromkeys(members, indices)
    return result


def _read_different(
    dataset: Dataset, most: int, settings: MatchSettings, kind: str, note: Note
) -> tuple[SamplePixels, int, dict[str, NDArray[np.uint8]]]:
    """The different images of ``dataset``, how many of those read are copies of others, and the
    images as models see them that do not see the framing of all."""
    shared = settings.framing
    framings = by_framing(settings.fit, settings.side, settings.models)
    others = [own for own in framings if own != shared]
    images = sample_pixels(dataset, shared, most, settings.seed, note, others)
    numbers = copies(images.pixels)
    rows = np.flatnonzero(numbers == np.arange(len(numbers)))
    copied = min(len(dataset), most) - images.unreadable - len(rows)
    if len(rows) < FEWEST:
        which = f"different readable {kind}" if copied else f"readable {kind}"
        counted = f" ({copied} more are copies)" if copied else ""
        raise ParameterError(
            f"Expected at least {FEWEST} {which} images, got {len(rows)}{counted}: add more."
        )
    images = images.chosen(rows)
    views = {name: images.views[own] for own in others for name in framings[own]}
    return images, copied, views


def _file_values(production: SamplePixels, reference: SamplePixels) -> tuple[dict[str, Any], ...]:
    """Medians of what the files of both sides tell, with the number of files that tell it."""
    rows = []
    for name in _FILE_PROPERTIES:
        row: dict[str, Any] = {"property": name}
        for key, side in (("production", production), ("reference", reference)):
            values = [part[name] for part in side.properties if name in part]
            row[key] = float(np.median(np.array(values, float))) if values else None
            row[f"{key}_images"] = len(values)
        if row["production_images"] or row["reference_images"]:
            rows.append(row)
    return tuple(rows)
