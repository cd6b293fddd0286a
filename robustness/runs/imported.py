"""Predictions that came in a table: their plan, and the engine that turns them into rows.

In place of predictions, a table may have a score of another system's output for each image.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from robustness import metrics, models
from robustness.base.errors import ImageError, ParameterError
from robustness.base.text import visible
from robustness.datasets import Dataset, entry_class_indices, open_dataset
from robustness.datasets.predictions import (
    SCORE_NAME,
    Floats,
    Predictions,
    TableAnswers,
    class_indices,
    read_predictions,
)
from robustness.images.framing import DEFAULT_FIT, STUDY_SIDE, Framing, check_framing
from robustness.images.sandbox import framed_image, measured_image
from robustness.measure.condition import STORED, Condition
from robustness.measure.domain import Domain
from robustness.measure.labels import CORRECTNESS, correctness
from robustness.measure.request import Request
from robustness.measure.rows import SCORES, stored
from robustness.metrics.scores import top_k
from robustness.models.record import (
    Labels,
    imagenet,
    labels_of_names,
    note_classes,
    read_labels,
)
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import check_seed
from robustness.perturbations.record import GEOMETRIC
from robustness.runs.engines import REGISTRY, Chunk, Engine, ImageRecord, Workload
from robustness.runs.manifest import OF_TABLE, Classes, ScoreRecord
from robustness.runs.planning import MAX_BATCH, Plan, check_limit, record_of

ENGINE = "predictions"
Row = dict[str, Any]


def chunks(work: Workload, numbers: Sequence[int], _address: str | None) -> Iterator[Chunk | None]:
    """Yields None, then the chunks ``numbers`` of ``work``, whose dataset is ``Predictions``."""
    if not isinstance(work.dataset, Predictions):
        raise ParameterError(f"Expected a table of predictions, got {work.dataset.title}.")
    table = _rows_of(work, work.dataset)
    yield None
    for number in numbers:
        rows: list[Row] = []
        images: list[ImageRecord] = []
        for position in work.positions(number):
            name = work.dataset.entries[position].name
            reason = table.missing_prediction(position)
            if reason:
                images.append(ImageRecord(position, name, reason=reason))
                continue
            images.append(table.image(position))
            rows += table.rows_of_image(position)
        schema = stored(table.more_columns)
        yield Chunk(number, pa.Table.from_pylist(rows, schema), tuple(images))


REGISTRY.add(Engine(ENGINE, "a table of predictions", chunks, asks_models=False))


@dataclass(frozen=True)
class _Prediction:
    """The prediction in one row of the table.

    ``top5`` are up to five classes, the most probable first, and ``top5_probabilities`` their
    probabilities as far as they are known. ``known`` are the probabilities that the table has by
    class; ``whole`` is there instead where it has those of all classes, (1, classes).
    """

    top5: tuple[int, ...]
    top5_probabilities: tuple[float, ...]
    known: Mapping[int, float]
    whole: Floats | None = None

    @property
    def top1(self) -> int:
        return self.top5[0]

    def probability(self, class_index: int) -> float | None:
        if self.whole is not None:
            return float(self.whole[0, class_index])
        return self.known.get(class_index)


class _TableRows(ABC):
    """The rows of a run from the table ``predictions``.

    ``more_columns`` are columns that these rows have after those of all runs. ``content`` is what a
    row of the table holds, as a sentence says it.
    """

    more_columns: Sequence[str] = ()
    content = "prediction"

    def __init__(self, work: Workload, predictions: Predictions) -> None:
        self._work = work
        self._predictions = predictions
        self._digests = predictions.texts("image_digest")
        self._framed_digests = predictions.texts("framed_digest")
        self._similarities = similarities(predictions)

    def missing_prediction(self, position: int) -> str:
        """A sentence on the first prediction that the table lacks for an image; "" if none."""
        gaps = np.argwhere(self._predictions.row_of[position] < 0)
        if not len(gaps):
            return ""
        model_index, condition_index = gaps[0]
        condition = ["the original", *self._predictions.conditions][condition_index]
        model = self._predictions.models[model_index]
        return f"The table has no {self.content} of {model} for {condition}."

    def rows_of_image(self, position: int) -> Iterator[Row]:
        rows_by_model = self._predictions.row_of[position].tolist()
        for model, rows in zip(self._predictions.models, rows_by_model, strict=True):
            original, *perturbed = rows
            outcomes = self.outcomes(model, position, original, perturbed)
            for condition, row, outcome in zip(
                self._work.spec.conditions, perturbed, outcomes, strict=True
            ):
                yield {
                    "position": position,
                    "model": model,
                    "condition": condition.id,
                    "perturbation": condition.name,
                    "strength": condition.strength,
                    "parameter": condition.parameter,
                    **{name: values[row] for name, values in self._similarities.items()},
                    **outcome,
                    "stages": [],
                }

    @abstractmethod
    def outcomes(
        self, model: str, position: int, original: int, perturbed: Sequence[int]
    ) -> Iterator[Row]:
        """Yield the columns that say how ``model`` does, for each of the rows ``perturbed``.

        These and ``original`` are rows of the table.
        """

    def image(self, position: int) -> ImageRecord:
        """The image. Its digests are those of the table, else of its file, else of its name."""
        row = self._predictions.row_of[position][0, 0]
        entry = self._predictions.entries[position]
        digest = self._digests[row]
        framed_digest = self._framed_digests[row]
        if digest and framed_digest:
            return ImageRecord(position, entry.name, digest, framed=(framed_digest,))
        if digest:
            return ImageRecord(position, entry.name, digest)
        try:
            data = self._predictions.read(entry)
            pixels = framed_image(data, [self._framing], name=entry.name)
        except ImageError:
            return ImageRecord(position, entry.name, _digest_of(entry.name))
        picture = pixels.picture(entry.name, [self._framing])
        return ImageRecord(position, entry.name, picture.source, framed=(picture.digest,))

    @cached_property
    def _framing(self) -> Framing:
        """The framing of the files of the table, which are not cropped again."""
        return Framing("squash", self._work.spec.only_framing("A table").side)


def _digest_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class _PredictedRows(_TableRows):
    """The rows of a table of predictions."""

    def __init__(self, work: Workload, predictions: Predictions) -> None:
        super().__init__(work, predictions)
        self._answers = predictions.answers()
        self._class_indices = {
            model: class_indices(self._answers, predictions.classes[model], predictions.title)
            for model in predictions.models
        }
        self._lists_five = {model: self._always_lists_five(model) for model in predictions.models}

    def _always_lists_five(self, model: str) -> bool:
        """Whether every prediction of ``model`` lists five classes, or all where it has fewer.

        Lists of other lengths would count an image where the true class is listed, and no other.
        """
        if self._answers.whole is not None:
            return True
        expected = min(5, len(self._predictions.classes[model]))
        rows = self._predictions.row_of[:, self._predictions.models.index(model)]
        for row in rows[rows >= 0].tolist():
            if len(set(self._answers.classes[row])) < expected:
                return False
        return True

    def outcomes(
        self, model: str, position: int, original: int, perturbed: Sequence[int]
    ) -> Iterator[Row]:
        label = self._work.labels[self._predictions.classes[model].key][position]
        clean = self._prediction(original, model)
        for row in perturbed:
            prediction = self._prediction(row, model)
            compared = _compared(clean, prediction, label, lists_five=self._lists_five[model])
            yield {"label": label, **compared}

    def _prediction(self, row: int, model: str) -> _Prediction:
        answers = self._answers
        if answers.whole is not None:
            whole = answers.whole[row : row + 1]
            top5 = top_k(whole)[0].tolist()
            top5_probabilities = whole[0, top5].tolist()
            return _Prediction(tuple(top5), tuple(top5_probabilities), {}, whole)
        index_by_name = self._class_indices[model]
        classes = [index_by_name[name] for name in answers.classes[row]]
        # Where the table has no probabilities, there are none to pair.
        known = dict(zip(classes, answers.shares[row], strict=False))
        top5 = classes[:5]
        top5_probabilities = [known[index] for index in top5 if index in known]
        return _Prediction(tuple(top5), tuple(top5_probabilities), known)


class _ScoredRows(_TableRows):
    """The rows of a table of scores, which tells no predictions and no classes."""

    more_columns = tuple(SCORES)
    content = "score"

    def __init__(self, work: Workload, predictions: Predictions) -> None:
        super().__init__(work, predictions)
        self._scores = predictions.scores().tolist()

    def outcomes(
        self, model: str, position: int, original: int, perturbed: Sequence[int]
    ) -> Iterator[Row]:
        no_classes: Row = dict.fromkeys(_LISTS, ())
        for row in perturbed:
            yield {
                "clean_score": self._scores[original],
                "score": self._scores[row],
                **no_classes,
            }

    def image(self, position: int) -> ImageRecord:
        """The image with its properties, which slices need, where its file can be read."""
        record = super().image(position)
        entry = self._predictions.entries[position]
        try:
            data = self._predictions.read(entry)
            _, properties = measured_image(data, [self._framing], name=entry.name, patience=None)
        except ImageError:
            return record
        return replace(record, properties=properties)


_LISTS = ("clean_top5", "clean_top5_probabilities", "top5", "top5_probabilities")


def _rows_of(work: Workload, predictions: Predictions) -> _TableRows:
    if predictions.is_scored:
        return _ScoredRows(work, predictions)
    return _PredictedRows(work, predictions)


def similarities(predictions: Predictions) -> dict[str, list[float | None]]:
    """The values of each metric between images, by row; None where ``predictions`` have none.

    Raises ``ParameterError`` where a column has other values than numbers.
    """
    return {
        metric.name: predictions.numbers(metric.name)
        for metric in metrics.REGISTRY
        if metric.subject == metrics.PICTURE
    }


def _compared(
    clean: _Prediction, perturbed: _Prediction, label: int | None, *, lists_five: bool
) -> Row:
    """The columns that follow from the predictions of the original and the perturbed image.

    ``lists_five`` says that all predictions list five classes. Else the metrics of the top-5 are
    empty.
    """
    probability_before = clean.probability(clean.top1)
    probability_after = perturbed.probability(clean.top1)
    confidence_change = None
    if probability_before is not None and probability_after is not None:
        confidence_change = probability_after - probability_before
    top5_overlap = None
    if lists_five:
        top5_overlap = len(set(clean.top5) & set(perturbed.top5)) / len(clean.top5)
    row: Row = {
        "clean_top1": clean.top1,
        "clean_probability": probability_before,
        "top1": perturbed.top1,
        "probability": perturbed.probability(perturbed.top1),
        "retained_probability": probability_after,
        "clean_top5": clean.top5 if clean.top5_probabilities else (),
        "clean_top5_probabilities": clean.top5_probabilities,
        "top5": perturbed.top5 if perturbed.top5_probabilities else (),
        "top5_probabilities": perturbed.top5_probabilities,
        "consistent": clean.top1 == perturbed.top1,
        "top5_overlap": top5_overlap,
        "confidence_change": confidence_change,
    }
    if clean.whole is not None and perturbed.whole is not None:
        for metric in metrics.REGISTRY:
            if metric.subject == metrics.PREDICTION and metric.name != "consistent":
                row[metric.name] = float(metric.scores(clean.whole, perturbed.whole)[0])
    flags = correctness(label, clean.top1, perturbed.top1, clean.top5, perturbed.top5)
    row |= zip(CORRECTNESS, flags, strict=True)
    if not lists_five:
        row["clean_correct5"] = None
        row["correct5"] = None
    return row


ClassNames = Literal["imagenet"] | list[str]

_ROWS_AT_ONCE = 16_384
_MOST_OF_A_NAME = 40
"""Characters of the name of a score."""

DEFAULT_SCORE = "score"
_MOST_DIGITS = 6
"""Digits of a class index; every smaller index gets a name."""


def read_plan(
    table: Path,
    source: str | None = None,
    classes: str | None = None,
    *,
    moved_truth: bool = False,
    domain: Domain | None = None,
) -> Plan:
    """``plan_predictions`` of the file ``table``; ``classes`` is "imagenet" or a file of names.

    Raises ``ParameterError`` for a file that cannot be used.
    """
    predictions = read_predictions(table)
    images = None
    if source is not None:
        images = open_dataset(source)
    return plan_predictions(
        predictions,
        source=images,
        classes=class_names(classes),
        moved_truth=moved_truth,
        domain=domain,
    )


def class_names(value: Any) -> ClassNames | None:
    """The classes that ``value`` means: "imagenet", a file with one class per line, or names.

    Raises ``ParameterError`` for anything else.
    """
    if value is None or value == "imagenet":
        return value
    if isinstance(value, str | PathLike):
        return list(read_labels(Path(value)).names)
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        is_distinct = len(set(value)) == len(value)
        if is_distinct and len(value) > 1:
            return list(value)
    raise ParameterError(
        'Expected classes to be "imagenet", a file with one class per line, or a list of two or '
        "more different names."
    )


def plan_predictions(
    predictions: Predictions,
    *,
    source: Dataset | None = None,
    classes: ClassNames | None = None,
    moved_truth: bool = False,
    domain: Domain | None = None,
) -> Plan:
    """The run of the table ``predictions``, for ``start`` with the engine ``predictions``.

    ``source`` has the images to show, by the names that the table has; without it they are the
    files of the table. ``classes`` are the names that indices mean, in order, or "imagenet"; the
    default is those of a model that is known here, else what the predictions tell. Scores under
    perturbations that move pixels count only with ``moved_truth``, which says that the outputs were
    compared with a truth that moved alike. A ``domain`` is judged under those of its conditions
    that the table has; the others are untested. Raises ``ParameterError`` for a table that cannot
    be used.
    """
    names = {entry.name for entry in predictions.entries}
    if source is not None and names.isdisjoint(entry.name for entry in source.entries):
        raise ParameterError(
            f"{source.title}: expected images named as in the table, such as "
            f"{predictions.entries[0].name!r}, got none of them, but {source.entries[0].name!r}."
        )
    conditions = tuple(Condition.parse(text) for text in predictions.conditions)
    if not conditions or len(set(conditions)) < len(conditions):
        raise ParameterError(
            f"{predictions.title}: expected predictions under one or more different conditions, "
            f"got {', '.join(predictions.conditions) or 'the originals alone'}."
        )
    if predictions.is_scored:
        return _plan_of_scores(predictions, source, domain, moved_truth=moved_truth)
    answers = predictions.answers()
    classes_of_strangers = _classes_of_strangers(predictions, answers, classes)
    labels_by_model = {
        model: models.REGISTRY[model].labels()
        for model in predictions.models
        if model not in classes_of_strangers
    }
    for model, class_names_of_model in classes_of_strangers.items():
        labels_by_model[model] = labels_of_names(class_names_of_model)
    label_sets = list({labels.key: labels for labels in labels_by_model.values()}.values())
    for labels in label_sets:
        _check_classes(answers, labels, predictions.title)
    spec = _request(predictions, conditions, domain)
    similarities(predictions)  # refuses what are no numbers before a run begins
    labels_of_images = entry_class_indices(predictions, label_sets)
    check_limit(spec, labels_of_images)
    note_classes(classes_of_strangers)  # now that the table is known to fit them
    dataset = _images_of(predictions, source)
    dataset.classes = labels_by_model
    record = record_of(dataset)
    batch = _batch(spec)
    return Plan(spec, dataset, labels_of_images, batch, record, classes_of_strangers)


def _images_of(predictions: Predictions, source: Dataset | None) -> Predictions:
    """A copy of ``predictions`` whose images are opened again from ``source``, if there is one."""
    dataset = copy(predictions)
    if source is not None:
        dataset.source = source.source
        dataset.title = source.title
    return dataset


def _batch(spec: Request) -> int:
    rows_an_image = len(spec.conditions) * len(spec.models)
    return max(1, min(MAX_BATCH, _ROWS_AT_ONCE // rows_an_image))


def _plan_of_scores(
    predictions: Predictions,
    source: Dataset | None,
    domain: Domain | None,
    *,
    moved_truth: bool,
) -> Plan:
    """The run of a table of scores; the arguments are those of ``plan_predictions``."""
    name = predictions.one(SCORE_NAME, DEFAULT_SCORE)
    if len(name) > _MOST_OF_A_NAME:
        raise ParameterError(
            f"{predictions.title}: expected a {SCORE_NAME} of at most {_MOST_OF_A_NAME} "
            f"characters, such as IoU, got {len(name)}."
        )
    if domain is not None and domain.min_accuracy is None:
        raise ParameterError(
            f"The domain {domain.name} limits the consistency, which scores do not have. Limit "
            "the mean score by min_accuracy."
        )
    left_out: list[str] = []
    if not moved_truth:
        left_out = [text for text in predictions.conditions if moves_pixels(Condition.parse(text))]
        predictions = predictions.without(left_out)
    if not predictions.conditions:
        raise ParameterError(
            f"{predictions.title}: expected perturbations that leave pixels in place, got "
            f"{', '.join(left_out)}; boxes or masks would have to move, too.",
            hint="Use --moved-truth if the scores are against a truth that moved alike.",
        )
    predictions.scores()  # refuses what are no scores before a run begins
    similarities(predictions)
    spec = _request(predictions, tuple(map(Condition.parse, predictions.conditions)), domain)
    dataset = _images_of(predictions, source)
    score = ScoreRecord(visible(name), tuple(left_out), moved_truth=moved_truth)
    return Plan(spec, dataset, {}, _batch(spec), record_of(dataset), score=score)


def moves_pixels(condition: Condition) -> bool:
    """Whether ``condition`` has a perturbation that changes where things are in the image."""
    return bool(moving_perturbations(condition))


def moving_perturbations(condition: Condition) -> list[str]:
    """The perturbations of ``condition`` that change where things are in the image."""
    names = [name.removeprefix(STORED) for name, _ in condition.steps]
    return [
        name for name in names if name in PERTURBATIONS and PERTURBATIONS[name].family == GEOMETRIC
    ]


def _classes_of_strangers(
    predictions: Predictions, answers: TableAnswers, classes: ClassNames | None
) -> Classes:
    """The classes of each model of the table that is not known here, by default what it tells."""
    if classes is None:
        labels = [entry.label for entry in predictions.entries if entry.label is not None]
        classes = _classes_of_texts(answers, labels, predictions.title)
    strangers = [model for model in predictions.models if model not in models.REGISTRY]
    return dict.fromkeys(strangers, classes)


def _classes_of_texts(answers: TableAnswers, labels: Sequence[str], title: str) -> ClassNames:
    """The classes that the texts of predictions and labels mean, if nobody names them."""
    texts = list(dict.fromkeys([*answers.distinct_classes, *labels]))
    words = [text for text in texts if not text.isdecimal()]
    if words and all(imagenet().meant(text) for text in texts):
        return "imagenet"
    if not words:
        return _numbered_classes(answers, texts, title)
    if answers.whole is None and len(words) == len(texts):
        return sorted(texts)
    if answers.whole is not None:
        got = "labels that are names"
    else:
        got = "both"
    raise ParameterError(
        f"{title}: expected indices of classes or their names, got {got}, such as {words[0]!r}; "
        "name the classes.",
        hint="Use --classes imagenet or --classes FILE, with one class per line.",
    )


def _numbered_classes(answers: TableAnswers, indices: Sequence[str], title: str) -> list[str]:
    """The names "0", "1" and so on, as many as the probabilities and ``indices`` need."""
    for text in indices:
        if len(text.lstrip("0")) > _MOST_DIGITS:
            raise ParameterError(
                f"{title}: expected indices of classes below {10**_MOST_DIGITS:,}, got {text[:20]}."
            )
    largest = max(map(int, indices), default=1)
    class_count = max(largest + 1, 2)
    if answers.whole is not None:
        class_count = max(class_count, answers.whole.shape[1])
    return [str(index) for index in range(class_count)]


def _check_classes(answers: TableAnswers, labels: Labels, title: str) -> None:
    """Raise ``ParameterError`` unless the predictions are among the classes ``labels``."""
    if answers.whole is not None and answers.whole.shape[1] != len(labels):
        raise ParameterError(
            f"{title}: expected {len(labels):,} probabilities in a row, one for each class of "
            f"{labels.title}, got {answers.whole.shape[1]:,}."
        )
    class_indices(answers, labels, title)


def _request(
    predictions: Predictions, conditions: tuple[Condition, ...], domain: Domain | None
) -> Request:
    """The request that the table answers.

    Raises ``ParameterError`` for settings that are out of range or not those of the ``domain``, and
    for a table that has none of its conditions.
    """
    fit = DEFAULT_FIT
    side = STUDY_SIDE
    if domain is not None:
        fit = domain.fit or fit
        side = domain.side or side
    fit = predictions.one("fit", fit)
    side = _whole_number(predictions, "side", side)
    if domain is not None:
        domain.check_framing(fit, side)
        if set(domain.conditions).isdisjoint(conditions):
            raise ParameterError(
                f"{predictions.title}: expected conditions of the domain {domain.name}, such as "
                f"{domain.conditions[0].id}, got none of them.",
                hint="Export the images with --domain.",
            )
    framing = check_framing(Framing(fit, side))
    seed = check_seed(_whole_number(predictions, "seed", 0))
    return Request(
        models=tuple((name, f"{OF_TABLE}{predictions.content}") for name in predictions.models),
        conditions=conditions,
        framings=tuple((name, framing) for name in predictions.models),
        seed=seed,
        domain=domain,
    )


def _whole_number(predictions: Predictions, column: str, default: int) -> int:
    # Whole numbers in a column with gaps are floats in many programs: 224 is written as 224.0.
    text = predictions.one(column, str(default)).removesuffix(".0")
    if not text.isdecimal() or len(text) > 18:
        raise ParameterError(
            f"{predictions.title}: expected a whole number as {column}, got {text!r}."
        )
    return int(text)
