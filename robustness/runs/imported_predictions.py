"""A run of predictions that another system made: planned from their table, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from robustness import models
from robustness.base.errors import ParameterError
from robustness.datasets import FOLDERS, Dataset, labelled, open_dataset
from robustness.datasets.predictions import Predictions, TableAnswers, meaning, read_predictions
from robustness.evaluation.condition import Condition
from robustness.evaluation.request import Request
from robustness.models import imported_labels
from robustness.models.labels import Labels, imagenet, read_labels
from robustness.perturbations import check_seed
from robustness.pictures.fitting import DEFAULT_FIT, STUDY_SIDE, check_fit, check_side
from robustness.runs.engines import predictions_table as engine
from robustness.runs.manifest import Classes, DatasetRecord
from robustness.runs.planning import MAX_BATCH, Plan

ClassNames = Literal["imagenet"] | list[str]

ENGINE = engine.NAME

_ROWS_AT_ONCE = 16_384
_MOST_DIGITS = 6
"""Of the index of a class, as each index below it gets a name."""


def read_plan(table: Path, source: str | None = None, classes: str | None = None) -> Plan:
    """``plan_predictions`` of the file ``table``; ``classes`` is "imagenet" or a file of names.

    Raises ``ParameterError`` for a file that cannot be used.
    """
    told = read_predictions(table)
    shown = None if source is None else open_dataset(source)
    return plan_predictions(told, source=shown, classes=class_names(classes))


def class_names(value: Any) -> ClassNames | None:
    """The classes that ``value`` means: "imagenet", a file with one class a line, or their names.

    Raises ``ParameterError`` for anything else.
    """
    if value is None or value == "imagenet":
        return value
    if isinstance(value, str | PathLike):
        return list(read_labels(Path(value)).names)
    texts = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
    if texts and 1 < len(set(value)) == len(value):
        return list(value)
    raise ParameterError(
        'Expected classes to be "imagenet", a file with one class a line, or a list of two or more '
        "different names."
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
    known = {
        name: models.REGISTRY[name].labels() for name in predictions.models if name not in named
    }
    known |= {name: imported_labels.from_names(names) for name, names in named.items()}
    sets = list({labels.key: labels for labels in known.values()}.values())
    for labels in sets:
        _check_width(answers, labels, predictions.title)
        meaning(answers, labels, predictions.title)
    spec = Request(
        models=tuple((name, f"predictions:{predictions.content}") for name in predictions.models),
        conditions=conditions,
        seed=check_seed(_whole(predictions, "seed", 0)),
        fit=check_fit(predictions.one("fit", DEFAULT_FIT)),
        side=check_side(_whole(predictions, "side", STUDY_SIDE)),
    )
    engine.scores(predictions)  # refuses what are no numbers before a run begins
    labels_of_images = labelled(predictions, sets)
    imported_labels.note(named)  # now that the table is known to fit them
    dataset = copy(predictions)
    dataset.classes = known
    if source is not None:
        dataset.source, dataset.title = source.source, source.title
    record = DatasetRecord(
        source=dataset.source,
        title=dataset.title,
        labelling=FOLDERS,
        limit=None,
        sample=None,
        pictures=len(predictions),
        digest=predictions.digest,
    )
    batch = max(1, min(MAX_BATCH, _ROWS_AT_ONCE // (len(conditions) * len(predictions.models))))
    return Plan(spec, dataset, labels_of_images, batch, record, named)


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
        hint="Use --classes imagenet or --classes FILE, with one class a line.",
    )


def _check_width(answers: TableAnswers, labels: Labels, title: str) -> None:
    if answers.whole is not None and answers.whole.shape[1] != len(labels):
        raise ParameterError(
            f"{title}: expected {len(labels):,} probabilities in a row, one for each class of "
            f"{labels.title}, got {answers.whole.shape[1]:,}."
        )
