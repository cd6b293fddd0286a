"""A match: what makes unlabelled production images unlike labelled reference images.

Perturbations are fitted in one framing for both sides, from the native size; each model sees the
images with its own preprocessing. An accuracy from confidence needs no cause. The cause holds "if
nothing else differs": one composition of perturbations for all images, or for a share of them. No
composition is the answer that is farther from the production images than the originals are.

People may label a sample of the production images, in a table of which predictions are correct.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from threadpoolctl import threadpool_limits

from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.files import read_regular
from robustness.base.text import csv_cell, from_csv_cell
from robustness.base.turns import Note
from robustness.base.validation import CONFIG, StrictRecord
from robustness.datasets import Dataset, SamplePixels, sample_pixels
from robustness.datasets.dataset import KNOWN, entry_class_indices
from robustness.images.framing import Framing
from robustness.images.pixels import copies, from_uint8, show_one_scene, to_jpeg, to_png
from robustness.matching.accuracy import (
    AccuracyEstimate,
    ConfidenceEstimator,
    ExpectedAccuracy,
    TopPredictions,
    exact_estimate,
    labelled_estimate,
    top_predictions,
    with_agreement,
)
from robustness.matching.fit import DRAWS, Estimate, Fit, estimate
from robustness.matching.reference import ReferenceImages
from robustness.matching.saving import (
    FileFacts,
    SavedFile,
    Saving,
    file_framing,
    is_alike,
    is_visible,
    saved_files,
)
from robustness.matching.statistics import (
    NAMES,
    Floats,
    SetDifference,
    Values,
    batch_statistics,
    difference,
)
from robustness.measure.condition import Condition, as_profile
from robustness.measure.request import by_framing, shared_framing
from robustness.perturbations import REGISTRY, check_seed

CONDITIONS = 20
"""Compositions of a profile."""
_LEAST = 0.005
"""Strength from which a perturbation or an alternative is named: 0.00 is none."""
_PAIRS = 5
_JPEG = "jpeg_compression"
_APART = 1e-4
"""Between strengths of compositions that would be equal otherwise."""
_SMALL = 0.1
_WIDEST = 2.5
"""The perturbations explain a difference up to such a share of it, if what is left is within so
many times the ordinary distance. Measured: the true composition left up to 0.04 in a tenth of
folders."""
_MOST_LEFT = 0.6
"""Share of the whole distance, ordinary or not, that an explanation leaves at most: what moves the
images by a trifle explains no difference, however small that is."""
_MOST_BY_CHANCE = 2 / 3
"""Share of random compositions that may agree with the accuracies from confidence, too. Beyond it
the intervals are so wide that agreement is chance."""


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
class Cause:
    """The ``estimate`` of a composition, with the differences without it and ``left`` with it.

    ``simulated`` are the scaled statistics (N, D) of the reference under it, of which the rows
    ``unaffected`` are originals.
    """

    estimate: Estimate
    changed: SetDifference
    left: SetDifference
    simulated: Floats
    unaffected: NDArray[np.int64]

    @property
    def remainder(self) -> float:
        """The share of the distance that is left, beyond what is ordinary."""
        return max(self.left.distance - self.left.ordinary, 0.0) / max(self.changed.distance, 1e-9)

    @property
    def explained(self) -> bool:
        """Whether there is no difference, or one that the composition explains."""
        if not self.changed.significant:
            return True
        is_small = self.remainder <= _SMALL and self.left.distance <= _WIDEST * self.left.ordinary
        is_most = self.left.distance <= _MOST_LEFT * self.changed.distance
        return bool(self.perturbations) and is_small and is_most

    @property
    def perturbations(self) -> tuple[MatchedPerturbation, ...]:
        """Those of the composition, strongest first, without those of strength 0.00."""
        fitted = self.estimate
        matched = []
        for name, strength in fitted.strengths.items():
            if strength < _LEAST:
                continue
            draws = fitted.draws[:, fitted.names.index(name)]
            if (draws > 0).any():
                draws = draws[draws > 0]
            low, high = np.quantile(draws, (0.025, 0.975)).tolist()
            group = {}
            for other, other_strength in fitted.group(name).items():
                if other != name and other_strength >= _LEAST:
                    group[other] = other_strength
            matched.append(
                MatchedPerturbation(
                    perturbation=name,
                    strength=strength,
                    low=min(low, strength),
                    high=max(high, strength),
                    share=fitted.share,
                    group=group,
                )
            )
        return tuple(sorted(matched, key=lambda part: -part.strength))

    def strengths_of(self, row: int) -> dict[str, float]:
        """The composition of the reference image ``row``; {} for an original."""
        if row in self.unaffected:
            return {}
        return self.estimate.strengths

    def statistics(self, production: Floats, originals: Floats) -> tuple[dict[str, Any], ...]:
        """Scaled means of each statistic, and the size of what is left in standard errors."""
        production_means = production.mean(0).tolist()
        reference_means = originals.mean(0).tolist()
        simulation_means = self.simulated.mean(0).tolist()
        sizes = self.left.sizes.tolist()
        rows = []
        for index, name in enumerate(NAMES):
            rows.append(
                {
                    "statistic": name,
                    "production": production_means[index],
                    "reference": reference_means[index],
                    "simulation": simulation_means[index],
                    "left": sizes[index],
                }
            )
        return tuple(rows)


def search_cause(production: Floats, reference: ReferenceImages, note: Note) -> Cause:
    """Search what makes ``production`` (n, D), scaled statistics, differ from the reference."""
    seed = reference.seed
    names = reference.emulator.names
    originals = reference.emulator.originals
    changed = difference(production, originals, originals, seed)
    no_strengths = np.zeros((DRAWS, len(names)))
    no_fit = Fit(support=(), strengths=no_strengths[0], cost=0.0)
    no_cause = Cause(
        estimate=Estimate(names, fits=(no_fit,), draws=no_strengths),
        changed=changed,
        left=changed,
        simulated=originals,
        unaffected=np.zeros(0, np.int64),
    )
    if not changed.significant:
        return no_cause

    fitted = estimate(
        production,
        reference.emulator,
        reference.simulated,
        seed,
        note,
        each_alone=reference.saved is not None,
    )
    simulated = reference.simulated(fitted.fits[0].strengths, slice(None)).copy()
    order = np.random.default_rng(seed).permutation(len(simulated))
    unaffected = order[round(fitted.share * len(simulated)) :]
    simulated[unaffected] = originals[unaffected]
    left = difference(production, simulated, originals, seed)
    if not left.distance <= changed.distance:  # a distance that is NaN is no better either
        return no_cause
    return Cause(fitted, changed, left, simulated, unaffected)


def explains_accuracy(
    expected: Sequence[ExpectedAccuracy],
    simulated: Mapping[str, AccuracyEstimate],
    by_chance: Mapping[str, Values],
) -> bool:
    """Whether the accuracies that a cause gives on the reference are those from confidence.

    For each model the two estimates must lie in the intervals of each other. ``by_chance`` are the
    accuracies (compositions,) of each model under the same random compositions: too many of these
    must not lie in the intervals of all models, or agreement would be no evidence.
    """
    agree_by_chance: list[NDArray[np.bool_]] = []
    for answer in expected:
        by_confidence = answer.confidence
        by_cause = simulated.get(answer.model)
        if by_confidence is None or by_cause is None:
            continue
        low = by_confidence.low
        high = by_confidence.high
        is_cause_inside = low <= by_cause.value <= high
        is_confidence_inside = by_cause.low <= by_confidence.value <= by_cause.high
        if not (is_cause_inside and is_confidence_inside):
            return False
        random = by_chance[answer.model]
        agree_by_chance.append((low <= random) & (random <= high))
    if not agree_by_chance:
        return True
    return bool(np.all(agree_by_chance, axis=0).mean() <= _MOST_BY_CHANCE)


def draw_compositions(fitted: Estimate, seed: int) -> tuple[Condition, ...]:
    """Distinct compositions drawn from the estimate, up to ``CONDITIONS``, or the original."""
    if not fitted.strengths:
        return (Condition.of({fitted.names[0]: 0.0}),)
    order = np.random.default_rng(seed).permutation(len(fitted.draws))
    rounded = np.round(fitted.draws[order], 4)
    conditions = []
    for draw in rounded[rounded.any(1)].tolist():
        strengths = dict(zip(fitted.names, draw, strict=True))
        active = {name: strength for name, strength in strengths.items() if strength > 0}
        conditions.append(Condition.of(active))
    return tuple(dict.fromkeys(conditions))[:CONDITIONS]


def profile_conditions(
    compositions: Sequence[Condition], share: float, names: Sequence[str]
) -> tuple[Condition, ...]:
    """A profile of compositions of which about ``share`` change the image, as they count alike.

    The others are perturbations at strength 0, each a condition of its own: those of ``names`` that
    the first composition lacks, so that results under its perturbations are of affected images.
    """
    unused_names = [name for name in names if name not in compositions[0].perturbations]
    odds = share / max(1 - share, 1e-9)  # of affected to unaffected images
    # There are only so many names for conditions that change nothing.
    most_affected = round(len(unused_names) * odds)
    affected_count = max(1, min(round(CONDITIONS * share), most_affected))
    affected = compositions[:affected_count]
    unchanged_count = round(len(affected) / odds)
    unchanged = [Condition.of({name: 0.0}) for name in unused_names[:unchanged_count]]
    return as_profile([*affected, *unchanged])


def saved_conditions(conditions: Sequence[Condition], strength: float) -> tuple[Condition, ...]:
    """Return a profile's ``conditions``, each saved as JPEG at last; one that only is if none.

    A composition that compresses more than that keeps its strength.
    """
    saved: list[Condition] = []
    for condition in conditions or [Condition.of({_JPEG: 0.0})]:
        strengths = dict(condition.steps)
        strengths[_JPEG] = max(strength, strengths.get(_JPEG, 0.0))
        # Images that are affected by nothing else have compositions of their own, too.
        while Condition.of(strengths) in saved:
            strengths[_JPEG] = round(strengths[_JPEG] + _APART, 4)
        saved.append(Condition.of(strengths))
    return as_profile(saved)


def nearest_pairs(production: Floats, simulated: Floats) -> list[tuple[int, int]]:
    """Rows of both sides with the nearest statistics, nearest first, each row once."""
    distances = np.linalg.norm(production[:, None] - simulated[None], axis=2)
    pairs = []
    for _ in range(_PAIRS):
        row, other = np.unravel_index(np.argmin(distances), distances.shape)
        pairs.append((int(row), int(other)))
        distances[row] = np.inf
        distances[:, other] = np.inf
    return pairs


SAMPLE = 100
"""Images that are drawn to be labelled, at most."""
COLUMNS = ("image", "model", "prediction", "correct")
_WORDS = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False}
_MOST_BYTES = 2**22

Correct = Mapping[tuple[str, str], bool]
"""Whether the prediction is correct, by image and model."""


@dataclass(frozen=True)
class SampleImage:
    """An image to label: its name, a JPEG of it, and the class and confidence of each model."""

    __pydantic_config__ = CONFIG | ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    name: str
    image: bytes = field(repr=False)
    predictions: dict[str, str]
    confidences: dict[str, float]


def sheet(sample: Sequence[SampleImage], correct: Correct | None = None) -> str:
    """Return a table (CSV) of the ``sample`` to fill in, with a line for each image and model.

    The predictions that are ``correct`` or not, as far as known, are filled in.
    """
    known = correct or {}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image in sample:
        for model, prediction in image.predictions.items():
            is_correct = known.get((image.name, model))
            word = ""
            if is_correct is not None:
                word = "yes" if is_correct else "no"
            writer.writerow([csv_cell(image.name), csv_cell(model), csv_cell(prediction), word])
    return text.getvalue()


class SheetRow(NamedTuple):
    """A line of a table of labels that is filled in, with its number."""

    number: int
    image: str
    model: str
    prediction: str
    correct: bool


def sheet_rows(path: Path) -> list[SheetRow]:
    """Return the labels in the table at ``path``, of whatever match.

    Raises ``ParameterError`` for another table, and for other words than yes and no.
    """
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text), strict=True)
        rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise ParameterError(f"{path}: expected a table of labels (CSV), got {error}.") from error
    if reader.fieldnames:  # an empty file is a table without labels
        _check_columns(path, reader.fieldnames)
    labels = []
    for number, row in enumerate(rows, 2):  # line 1 has the names of the columns
        _check_columns(path, [column for column, cell in row.items() if cell is not None])
        word = row["correct"].strip().lower()
        if not word:
            continue
        if word not in _WORDS:
            raise ParameterError(f"{path}, line {number}: expected yes or no, got {word!r}.")
        labels.append(
            SheetRow(
                number=number,
                image=from_csv_cell(row["image"]),
                model=from_csv_cell(row["model"]),
                prediction=from_csv_cell(row.get("prediction") or ""),
                correct=_WORDS[word],
            )
        )
    return labels


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    if not {"image", "model", "correct"} <= set(columns):
        raise ParameterError(f"{path}: expected the columns {', '.join(COLUMNS)}.")


def read_sheet(path: Path, sample: Sequence[SampleImage]) -> dict[tuple[str, str], bool]:
    """Return the labels in the table at ``path``, by image and model, of images of ``sample``.

    Models that ``sample`` lacks do not count. Raises ``ParameterError`` for another table, for
    images that were not drawn or have changed, and where an image is left out before one that is
    labelled: who chooses what to label would bias the accuracy.
    """
    drawn_predictions = {}
    for image in sample:
        for model, prediction in image.predictions.items():
            drawn_predictions[image.name, model] = prediction
    drawn_models = {model for _, model in drawn_predictions}
    correct: dict[tuple[str, str], bool] = {}
    for row in sheet_rows(path):
        if row.model not in drawn_models:
            continue
        key = row.image, row.model
        if key not in drawn_predictions or row.prediction not in ("", drawn_predictions[key]):
            raise ParameterError(
                f"{path}, line {row.number}: expected an image and prediction of this match, "
                f"got {row.image!r} of {row.model!r}: use its own table, with the same seed and "
                "images."
            )
        correct[key] = row.correct
    for model in dict.fromkeys(model for _, model in correct):
        names = [image.name for image in sample if model in image.predictions]
        is_labelled = [(name, model) in correct for name in names]
        labelled_count = sum(is_labelled)
        if not all(is_labelled[:labelled_count]):
            gap = names[is_labelled.index(False)]
            raise ParameterError(
                f"{path}: expected labels from the first image on, got none for "
                f"{gap!r} of {model}: fill it in, because the order is random."
            )
    return correct


FEWEST = 20
"""Images that each side needs."""
MOST_PRODUCTION = 1000
MOST_REFERENCE = 300
"""Images that are used, drawn at random from more."""
_JPEG_QUALITY = 90
"""Of images to label."""
_FILE_PROPERTIES = ("jpeg_quality", "original_size", "exposure", "iso")
_UNPUBLISHED = {"settings", "framing", "searched", "pairs", "sample", "confidences"}
"""Fields of a match that its document lacks."""


class MatchSettings(StrictRecord):
    """What a match depends on beside its images.

    The accuracy of the ``models`` is estimated; ``fit`` and ``side`` are as ``make_spec`` takes
    them.
    """

    models: tuple[str, ...] = ()
    fit: str | None = None
    side: int | None = None
    seed: int = 0

    @property
    def framing(self) -> Framing:
        """The framing of all models, or of the study image where theirs differ.

        Raises what ``measure.request.framing`` raises for a ``fit`` or ``side``.
        """
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
    """What files tell: medians on both sides."""
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
    saving: Saving | None = None
    """How the files were saved, where reference images were saved like them; else None."""

    @property
    def share(self) -> float:
        """Share of the production images that are affected."""
        return self.perturbations[0].share if self.perturbations else 1.0

    @property
    def strengths(self) -> dict[str, float]:
        return {part.perturbation: part.strength for part in self.perturbations}

    def as_dict(self) -> dict[str, Any]:
        """Return the match as a JSON-ready document."""
        document = {key: value for key, value in vars(self).items() if key not in _UNPUBLISHED}
        perturbations = []
        for part in self.perturbations:
            perturbations.append(asdict(part) | {"value": part.value, "severity": part.severity})
        document["perturbations"] = perturbations
        document["saving"] = asdict(self.saving) if self.saving else None
        accuracies = []
        for expected in self.expected_accuracy:
            accuracies.append(
                asdict(expected)
                | {
                    "value": expected.value,
                    "low": expected.low,
                    "high": expected.high,
                    "disagreement": expected.disagreement,
                }
            )
        document["expected_accuracy"] = accuracies
        document["conditions"] = [condition.id for condition in self.conditions]
        return document


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
    production_sample, copy_count, production_views, _ = _read_different(
        production, MOST_PRODUCTION, settings, "production", note
    )
    files = saved_files(production_sample.properties, settings.framing)
    if not is_visible(files, settings.framing):
        files = ()
    reference_read = _read_different(reference, MOST_REFERENCE, settings, "reference", note, files)
    reference_sample = reference_read.sample
    pixels = production_sample.pixels
    names = _names(production, production_sample)
    labels = _labels(reference, reference_sample.rows, settings.models)
    reference_images = ReferenceImages(reference_sample.pixels, settings.seed, reference_read.views)
    saving = None
    reference_files = saved_files(reference_sample.properties, settings.framing)
    if files and not is_alike(files, reference_files, settings.framing):
        shared_view, other_views = reference_read.at_file_scale
        reference_images.save_like(files, settings.framing, shared_view, other_views)
        saving = Saving(
            production=FileFacts.of(production_sample.properties, names),
            reference=FileFacts.of(
                reference_sample.properties, _names(reference, reference_sample)
            ),
        )
    answer = first_answer(
        reference_images,
        pixels,
        names,
        labels,
        settings,
        note,
        production_views,
    )
    answer = replace(
        answer,
        copies=copy_count,
        skipped=production_sample.unreadable + reference_sample.unreadable,
        files=_file_values(production_sample, reference_sample),
        saving=saving,
    )
    if answer.different:
        # So far only images of one scene are known to differ: no cause follows from these.
        return answer
    first(answer)

    reference_images.learn(note)
    statistics = batch_statistics(lambda row: from_uint8(pixels[row]), len(pixels))
    scaled = reference_images.emulator.scaled(statistics)
    cause = search_cause(scaled, reference_images, note)
    fitted = cause.estimate
    is_explained = cause.explained
    drawn = draw_compositions(fitted, settings.seed)
    if is_explained and cause.perturbations and answer.expected_accuracy:
        simulated = reference_images.accuracies(
            labels, fitted, drawn, len(pixels), cause.remainder, note
        )
        is_explained = explains_accuracy(
            answer.expected_accuracy, simulated, reference_images.by_chance
        )
    unexplained: tuple[str, ...] = ()
    if not is_explained:
        unexplained = tuple(NAMES[index] for index in cause.left.largest)
    conditions: tuple[Condition, ...] = ()
    if is_explained and fitted.strengths:
        conditions = profile_conditions(drawn, fitted.share, fitted.names)
    if saving:
        saving = replace(saving, jpeg_compression=reference_images.jpeg_strength())
        if is_explained and saving.jpeg_compression >= _LEAST:
            conditions = saved_conditions(conditions, saving.jpeg_compression)
    pairs = []
    for row, reference_row in nearest_pairs(scaled, cause.simulated):
        strengths = cause.strengths_of(reference_row)
        simulation = reference_images.images(strengths, [reference_row])[0]
        pairs.append((to_png(from_uint8(pixels[row])), to_png(simulation)))
    return replace(
        answer,
        searched=True,
        different=cause.changed.significant,
        matched=is_explained,
        perturbations=cause.perturbations,
        unexplained=unexplained,
        conditions=conditions,
        share_decided=fitted.share_decided,
        statistics=cause.statistics(scaled, reference_images.emulator.originals),
        pairs=tuple(pairs),
        saving=saving,
    )


def _names(dataset: Dataset, sample: SamplePixels) -> list[str]:
    """The names of the images of ``sample``."""
    return [dataset.entries[row].name for row in sample.rows]


def first_answer(
    reference: ReferenceImages,
    pixels: NDArray[np.uint8],
    names: Sequence[str],
    labels: Mapping[str, NDArray[np.int64]],
    settings: MatchSettings,
    note: Note,
    views: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Match:
    """Return the answer without a cause: accuracies from confidence, and the images to label.

    ``pixels`` (N, S, S, 3) are the production images ``names``, and ``labels`` the classes of the
    reference by model, -1 without one. ``views`` are the images as the models of these names see
    them, if not as ``pixels``.
    """
    views = views or {}
    label_counts = {name: int((column >= 0).sum()) for name, column in labels.items()}
    enough_labels = {name: labels[name] for name in labels if label_counts[name] >= FEWEST}
    shows_one_scene = show_one_scene(pixels)
    no_accuracy = ""
    if shows_one_scene:
        no_accuracy = (
            "Your images show nearly one scene: add others. No cause and no accuracy follow."
        )
    elif not settings.models:
        no_accuracy = "No accuracy: no model was named."
    elif not enough_labels:
        no_accuracy = (
            f"No accuracy: fewer than {FEWEST} reference images have a class of the models."
        )

    order = np.random.default_rng(settings.seed).permutation(len(pixels))
    predicted_rows = order
    if no_accuracy:
        # Only the images to label need predictions.
        predicted_rows = order[:SAMPLE]
    predictions = {}
    for name in settings.models:
        predictions[name] = top_predictions(name, views.get(name, pixels)[predicted_rows])

    estimators: dict[str, ConfidenceEstimator] = {}
    if not no_accuracy:
        estimators = reference.confidences(enough_labels, note)
    # Only of models with an estimate: the reference tells what the agreement with others means.
    agreed = with_agreement({name: predictions[name] for name in estimators}, enough_labels)
    distances = []
    for name, estimator in estimators.items():
        distances.append(estimator.content_distance(agreed[name]))
    other_content = bool(distances) and float(np.mean(distances)) > 1
    expected = []
    for name, estimator in estimators.items():
        confidence = estimator.estimate(agreed[name], other_content)
        expected.append(ExpectedAccuracy(name, estimator.accuracy, confidence))
    confidences = {}
    for name, prediction in predictions.items():
        confidences[name] = float(prediction.confidences.mean())
    return Match(
        images=len(pixels),
        reference_images=len(reference.pixels),
        settings=settings,
        framing=settings.framing,
        different=shows_one_scene,
        expected_accuracy=tuple(expected),
        searched=False,
        reference_labels={name: label_counts.get(name, 0) for name in settings.models},
        no_accuracy=no_accuracy,
        other_content=other_content,
        sample=_sample(pixels, names, order[:SAMPLE].tolist(), predictions),
        confidences=confidences,
    )


def _sample(
    pixels: NDArray[np.uint8],
    names: Sequence[str],
    rows: Sequence[int],
    predictions: Mapping[str, TopPredictions],
) -> tuple[SampleImage, ...]:
    """The images ``rows`` to label; () without a model.

    The ``predictions`` of each model begin with those for ``rows``, in their order.
    """
    if not predictions:
        return ()
    sample = []
    for index, row in enumerate(rows):
        classes = {}
        confidences = {}
        for model, prediction in predictions.items():
            classes[model] = models.class_name(model, int(prediction.classes[index]))
            confidences[model] = float(prediction.confidences[index])
        jpeg = to_jpeg(from_uint8(pixels[row]), _JPEG_QUALITY)
        sample.append(SampleImage(names[row], jpeg, classes, confidences))
    return tuple(sample)


def with_labels(match: Match, correct: Correct) -> Match:
    """Return ``match`` with accuracies that use labels of its sample, as ``read_sheet`` reads them.

    A model without labels keeps its accuracy.
    """
    expected_by_model = {expected.model: expected for expected in match.expected_accuracy}
    accuracies = []
    for name in match.settings.models:
        expected = expected_by_model.get(name)
        labelled = [image for image in match.sample if (image.name, name) in correct]
        if labelled:
            expected = _with_estimate(expected or ExpectedAccuracy(name), match, labelled, correct)
        if expected is not None:
            accuracies.append(expected)
    return replace(match, expected_accuracy=tuple(accuracies))


def _with_estimate(
    expected: ExpectedAccuracy, match: Match, labelled: Sequence[SampleImage], correct: Correct
) -> ExpectedAccuracy:
    """``expected`` with the estimate from the ``labelled`` images."""
    name = expected.model
    is_correct = np.array([float(correct[image.name, name]) for image in labelled])
    if expected.confidence is None:
        estimate = exact_estimate(is_correct)
    else:
        confidences = np.array([image.confidences[name] for image in labelled])
        mean_confidence = match.confidences[name]
        estimate = labelled_estimate(is_correct, confidences, mean_confidence, match.images)
    return replace(expected, labels=estimate, labelled=len(labelled))


def _labels(
    reference: Dataset, rows: NDArray[np.int64], model_names: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """The classes of the images ``rows``, -1 without one, for the models that know any of them."""
    groups = models.by_labels(model_names)
    classes_by_key = entry_class_indices(reference, [labels for labels, _ in groups], KNOWN)
    columns: dict[str, NDArray[np.int64]] = {}
    for labels, group_names in groups:
        classes = classes_by_key[labels.key]
        column = np.full(len(rows), -1)
        for index, row in enumerate(rows):
            class_index = classes[row]
            if class_index is not None:
                column[index] = class_index
        if (column >= 0).any():
            for name in group_names:
                columns[name] = column
    return columns


class _DifferentImages(NamedTuple):
    """Images of a dataset without ``copies`` of them, of which so many were read, too.

    ``views`` are the images as the models of these names see them, if not in the shared framing.
    ``at_file_scale`` are those in the shared framing and of these models, with their framings, at
    the scale of files, if that was asked for.
    """

    sample: SamplePixels
    copies: int
    views: dict[str, NDArray[np.uint8]]
    at_file_scale: tuple[NDArray[np.uint8], dict[str, tuple[Framing, NDArray[np.uint8]]]]


def _read_different(
    dataset: Dataset,
    most: int,
    settings: MatchSettings,
    kind: str,
    note: Note,
    files: Sequence[SavedFile | None] = (),
) -> _DifferentImages:
    """Read up to ``most`` images; raise ``ParameterError`` if too few of them are different.

    With ``files`` they are also read at the scale of these.
    """
    shared_framing = settings.framing
    names_by_framing = by_framing(settings.fit, settings.side, settings.models)
    other_framings = [framing for framing in names_by_framing if framing != shared_framing]
    file_framings = {}
    if files:
        for framing in (shared_framing, *other_framings):
            file_framings[framing] = file_framing(files, framing)
    images = sample_pixels(
        dataset,
        shared_framing,
        most,
        settings.seed,
        note,
        [*other_framings, *file_framings.values()],
    )
    # The first of several alike has its own row as its number.
    numbers = copies(images.pixels)
    rows = np.flatnonzero(numbers == np.arange(len(numbers)))
    copy_count = min(len(dataset), most) - images.unreadable - len(rows)
    if len(rows) < FEWEST:
        expected = f"readable {kind}"
        counted = ""
        if copy_count:
            expected = f"different readable {kind}"
            counted = f" ({copy_count} more are copies)"
        raise ParameterError(
            f"Expected at least {FEWEST} {expected} images, got {len(rows)}{counted}: add more."
        )
    images = images.chosen(rows)
    views = {}
    views_at_file_scale = {}
    for framing in other_framings:
        for name in names_by_framing[framing]:
            views[name] = images.views[framing]
            if files:
                scaled = images.views[file_framings[framing]]
                views_at_file_scale[name] = (framing, scaled)
    shared_at_file_scale = images.pixels
    if files:
        shared_at_file_scale = images.views[file_framings[shared_framing]]
    at_file_scale = (shared_at_file_scale, views_at_file_scale)
    return _DifferentImages(images, copy_count, views, at_file_scale)


def _file_values(production: SamplePixels, reference: SamplePixels) -> tuple[dict[str, Any], ...]:
    """Medians of what the files of both sides tell, with the number of files that tell it."""
    rows = []
    for name in _FILE_PROPERTIES:
        in_production = [values[name] for values in production.properties if name in values]
        in_reference = [values[name] for values in reference.properties if name in values]
        if not in_production and not in_reference:
            continue
        rows.append(
            {
                "property": name,
                "production": _median(in_production),
                "production_images": len(in_production),
                "reference": _median(in_reference),
                "reference_images": len(in_reference),
            }
        )
    return tuple(rows)


def _median(values: Sequence[Any]) -> float | None:
    if not values:
        return None
    return float(np.median(np.array(values, float)))
