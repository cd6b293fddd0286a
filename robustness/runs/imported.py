"""Predictions that came in a table: their plan, and the engine that turns them into rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from robustness import metrics, models
from robustness.base.errors import ImageError, ParameterError
from robustness.datasets import Dataset, entry_class_indices, open_dataset
from robustness.datasets.predictions import (
    Floats,
    Predictions,
    TableAnswers,
    meaning,
    read_predictions,
)
from robustness.images.framing import DEFAULT_FIT, STUDY_SIDE, Framing, check_framing
from robustness.images.sandbox import framed_image
from robustness.measure.condition import Condition
from robustness.measure.labels import CORRECTNESS, right
from robustness.measure.request import Request
from robustness.measure.rows import stored
from robustness.metrics.scores import top_k
from robustness.models.record import imagenet, labels_of_names, note_classes, read_labels
from robustness.perturbations import check_seed
from robustness.runs.engines import REGISTRY, Chunk, Engine, ImageRecord, Workload
from robustness.runs.manifest import Classes
from robustness.runs.planning import MAX_BATCH, Plan, record_of

ENGINE = "predictions"
Row = dict[str, Any]


def chunks(work: Workload, numbers: Sequence[int], _address: str | None) -> Iterator[Chunk | None]:
    """Yields None, then the chunks ``numbers`` of ``work``, whose dataset is ``Predictions``."""
    if not isinstance(work.dataset, Predictions):
        raise ParameterError(f"Expected a table of predictions, got {work.dataset.title}.")
    rows = _PredictedRows(work, work.dataset)
    yield None
    for number in numbers:
        table: list[Row] = []
        images: list[ImageRecord] = []
        for position in work.positions(number):
            name = work.dataset.entries[position].name
            reason = rows.missing(position)
            if reason:
                images.append(ImageRecord(position, name, reason=reason))
            else:
                digest, framed = rows.digests(position)
                images.append(ImageRecord(position, name, digest, framed=framed))
                table += rows.of_image(position)
        yield Chunk(number, pa.Table.from_pylist(table, stored(())), tuple(images))


REGISTRY.add(Engine(ENGINE, "a table of predictions", chunks, asks_models=False))


@dataclass(frozen=True)
class _RowAnswer:
    """One prediction: up to five ``top`` classes, best first, with ``shares`` as far as known.

    ``whole`` has the probabilities of all classes, (1, classes); ``share`` returns that of a class,
    None if it is unknown.
    """

    top: tuple[int, ...]
    shares: tuple[float, ...]
    share: Callable[[int], float | None]
    whole: Floats | None = None


class _PredictedRows:
    def __init__(self, work: Workload, predictions: Predictions) -> None:
        self._work = work
        self._predictions = predictions
        self._answers = predictions.answers()
        self._index = {
            name: meaning(self._answers, predictions.classes[name], predictions.title)
            for name in predictions.models
        }
        self._digests = predictions.texts("image_digest")
        self._framed = predictions.texts("framed_digest")
        self._scores = scores(predictions)
        self._has_five = dict(
            zip(predictions.models, map(self._lists_five, predictions.models), strict=True)
        )

    def _lists_five(self, model: str) -> bool:
        """Whether every prediction of ``model`` lists five classes, or all where it has fewer.

        Lists of other lengths would count an image where the true class is listed, and no other.
        """
        if self._answers.whole is not None:
            return True
        most = min(5, len(self._predictions.classes[model]))
        rows = self._predictions.at[:, self._predictions.models.index(model)]
        return all(len(set(self._answers.classes[row])) >= most for row in rows[rows >= 0].tolist())

    def missing(self, position: int) -> str:
        """The sentence on what the table lacks for an image; "" if nothing."""
        gaps = np.argwhere(self._predictions.at[position] < 0)
        if not len(gaps):
            return ""
        model, place = gaps[0]
        where = ["the original", *self._predictions.conditions][place]
        return f"The table has no prediction of {self._predictions.models[model]} for {where}."

    def of_image(self, position: int) -> Iterator[Row]:
        predictions = self._predictions
        spec = self._work.spec
        places = predictions.at[position]
        for model, rows in zip(predictions.models, places.tolist(), strict=True):
            label = self._work.labels[predictions.classes[model].key][position]
            clean = _answer(self._answers, rows[0], self._index[model])
            for condition, row in zip(spec.conditions, rows[1:], strict=True):
                after = _answer(self._answers, row, self._index[model])
                yield {
                    "position": position,
                    "label": label,
                    "model": model,
                    "condition": condition.id,
                    "perturbation": condition.name,
                    "strength": condition.strength,
                    "parameter": condition.parameter,
                    **{name: values[row] for name, values in self._scores.items()},
                    **_compared(clean, after, label, self._has_five[model]),
                    "stages": [],
                }

    def digests(self, position: int) -> tuple[str, tuple[str, ...]]:
        """The digest of an image, and that of its pixels if known.

        They are those of the table, else of the image, else of its name.
        """
        row = self._predictions.at[position][0, 0]
        digest = self._digests[row]
        framed = self._framed[row]
        if digest:
            return digest, (framed,) if framed else ()
        entry = self._predictions.entries[position]
        framing = Framing("squash", self._work.spec.only_framing("A table").side)
        try:
            pixels = framed_image(self._predictions.read(entry), [framing], name=entry.name)
        except ImageError:
            return hashlib.sha256(entry.name.encode()).hexdigest(), ()
        picture = pixels.picture(entry.name, [framing])
        return picture.source, (picture.digest,)


def scores(predictions: Predictions) -> dict[str, list[float | None]]:
    """The metrics between images that ``predictions`` has columns of, by row.

    Raises ``ParameterError`` where a column has other values than numbers.
    """
    return {
        metric.name: predictions.numbers(metric.name)
        for metric in metrics.REGISTRY
        if metric.subject == metrics.PICTURE
    }


def _answer(answers: TableAnswers, row: int, index: Callable[[str], int]) -> _RowAnswer:
    if answers.whole is not None:
        whole = answers.whole[row : row + 1]
        top = top_k(whole)[0].tolist()
        shares = tuple(whole[0, top].tolist())
        return _RowAnswer(tuple(top), shares, lambda at: float(whole[0, at]), whole)
    classes = tuple(map(index, answers.classes[row]))
    share_by_class: Mapping[int, float] = dict(zip(classes, answers.shares[row], strict=False))
    return _RowAnswer(
        classes[:5],
        tuple(share_by_class[at] for at in classes[:5] if at in share_by_class),
        share_by_class.get,
    )


def _compared(clean: _RowAnswer, after: _RowAnswer, label: int | None, five: bool) -> Row:
    """The columns that follow from the predictions of the original and the perturbed image.

    Those of the top-5 are empty unless the predictions list ``five`` classes, or all.
    """
    winner = clean.top[0]
    before = clean.share(winner)
    retained = after.share(winner)
    answers = winner, after.top[0], clean.top, after.top
    row: Row = {
        "clean_top1": winner,
        "clean_probability": before,
        "top1": after.top[0],
        "probability": after.share(after.top[0]),
        "retained_probability": retained,
        "clean_top5": clean.top if clean.shares else (),
        "clean_top5_probabilities": clean.shares,
        "top5": after.top if after.shares else (),
        "top5_probabilities": after.shares,
        "consistent": winner == after.top[0],
        "top5_overlap": len(set(clean.top) & set(after.top)) / len(clean.top) if five else None,
        "confidence_change": None if before is None or retained is None else retained - before,
    }
    if clean.whole is not None and after.whole is not None:
        for metric in metrics.REGISTRY:
            if metric.subject == metrics.PREDICTION and metric.name != "consistent":
                row[metric.name] = float(metric.scores(clean.whole, after.whole)[0])
    correctness = dict(zip(CORRECTNESS, right(label, answers), strict=True))
    if not five:
        correctness |= dict.fromkeys(("clean_correct5", "correct5"))
    return {**row, **correctness}


ClassNames = Literal["imagenet"] | list[str]


_ROWS_AT_ONCE = 16_384
_MOST_DIGITS = 6
"""Digits of a class index; every smaller index gets a name."""


def read_plan(table: Path, source: str | None = None, classes: str | None = None) -> Plan:
    """``plan_predictions`` of the file ``table``; ``classes`` is "imagenet" or a file of names.

    Raises ``ParameterError`` for a file that cannot be used.
    """
    predictions = read_predictions(table)
    images = None if source is None else open_dataset(source)
    return plan_predictions(predictions, source=images, classes=class_names(classes))


def class_names(value: Any) -> ClassNames | None:
    """The classes that ``value`` means: "imagenet", a file with one class per line, or names.

    Raises ``ParameterError`` for anything else.
    """
    if value is None or value == "imagenet":
        return value
    if isinstance(value, str | PathLike):
        return list(read_labels(Path(value)).names)
    texts = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
    if texts and 1 < len(set(value)) == len(value):
        return list(value)
    raise ParameterError(
        'Expected classes to be "imagenet", a file with one class per line, or a list of two or '
        "more different names."
    )


def plan_predictions(
    predictions: Predictions, *, source: Dataset | None = None, classes: ClassNames | None = None
) -> Plan:
    """The run of the table ``predictions``, for ``start`` with the engine ``predictions``.

    ``source`` has the images to show, by the names that the table has; without it they are the
    files of the table. ``classes`` are the names that indices mean, in order, or "imagenet"; the
    default is those of a model that is known here, else what the predictions tell. Raises
    ``ParameterError`` for a table that cannot be used.
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
    answers = predictions.answers()
    unknown = [name for name in predictions.models if name not in models.REGISTRY]
    texts = [entry.label for entry in predictions.entries if entry.label is not None]
    meant = classes if classes is not None else _classes_of_texts(answers, texts, predictions.title)
    named: Classes = dict.fromkeys(unknown, meant)
    labels_by_model = {
        name: models.REGISTRY[name].labels() for name in predictions.models if name not in named
    }
    labels_by_model |= {name: labels_of_names(names) for name, names in named.items()}
    sets = list({labels.key: labels for labels in labels_by_model.values()}.values())
    for labels in sets:
        if answers.whole is not None and answers.whole.shape[1] != len(labels):
            raise ParameterError(
                f"{predictions.title}: expected {len(labels):,} probabilities in a row, one for "
                f"each class of {labels.title}, got {answers.whole.shape[1]:,}."
            )
        meaning(answers, labels, predictions.title)
    framing = check_framing(
        Framing(predictions.one("fit", DEFAULT_FIT), _whole(predictions, "side", STUDY_SIDE))
    )
    spec = Request(
        models=tuple((name, f"predictions:{predictions.content}") for name in predictions.models),
        conditions=conditions,
        framings=tuple((name, framing) for name in predictions.models),
        seed=check_seed(_whole(predictions, "seed", 0)),
    )
    scores(predictions)  # refuses what are no numbers before a run begins
    labels_of_images = entry_class_indices(predictions, sets)
    note_classes(named)  # now that the table is known to fit them
    dataset = copy(predictions)
    dataset.classes = labels_by_model
    if source is not None:
        dataset.source = source.source
        dataset.title = source.title
    batch = max(1, min(MAX_BATCH, _ROWS_AT_ONCE // (len(conditions) * len(predictions.models))))
    return Plan(spec, dataset, labels_of_images, batch, record_of(dataset), named)


def _whole(predictions: Predictions, column: str, default: int) -> int:
    text = predictions.one(column, str(default)).removesuffix(".0")
    if not text.isdecimal() or len(text) > 18:
        raise ParameterError(
            f"{predictions.title}: expected a whole number as {column}, got {text!r}."
        )
    return int(text)


def _classes_of_texts(answers: TableAnswers, labels: Sequence[str], title: str) -> ClassNames:
    """The classes that the texts of predictions and labels mean, if nobody names them."""
    texts = list(dict.fromkeys([*answers.named, *labels]))
    words = [text for text in texts if not text.isdecimal()]
    if words and all(imagenet().meant(text) for text in texts):
        return "imagenet"
    if not words:
        most = 0 if answers.whole is None else answers.whole.shape[1]
        if large := [text for text in texts if len(text.lstrip("0")) > _MOST_DIGITS]:
            raise ParameterError(
                f"{title}: expected indices of classes below {10**_MOST_DIGITS:,}, got "
                f"{large[0][:20]}."
            )
        return [str(at) for at in range(max(most, 1 + max(map(int, texts), default=1), 2))]
    if answers.whole is None and len(words) == len(texts):
        return sorted(texts)
    got = "labels that are names" if answers.whole is not None else "both"
    raise ParameterError(
        f"{title}: expected indices of classes or their names, got {got}, such as {words[0]!r}; "
        "name the classes.",
        hint="Use --classes imagenet or --classes FILE, with one class per line.",
    )
