"""The engine of predictions that came in a table: it turns them into rows and asks no model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from robustness import metrics
from robustness.base.errors import ImageError, ParameterError
from robustness.datasets.predictions import Floats, Predictions, TableAnswers, meaning
from robustness.evaluation.correctness import CORRECTNESS, right
from robustness.evaluation.row_schema import stored
from robustness.metrics.predictions import top_k
from robustness.pictures.picture import image_digest
from robustness.pictures.untrusted import study_image
from robustness.runs.engines.engine import REGISTRY, Chunk, Engine, ImageRecord, Workload

NAME = "predictions"
Row = dict[str, Any]


def chunks(job: Workload, numbers: Sequence[int], _address: str | None) -> Iterator[Chunk | None]:
    """Yields None, then the chunks ``numbers`` of ``job``, whose dataset is ``Predictions``."""
    if not isinstance(job.dataset, Predictions):
        raise ParameterError(f"Expected a table of predictions, got {job.dataset.title}.")
    rows = _PredictedRows(job, job.dataset)
    yield None
    for number in numbers:
        table: list[Row] = []
        images: list[ImageRecord] = []
        for position in job.positions(number):
            name, reason = job.dataset.entries[position].name, rows.missing(position)
            digest = None if reason else rows.digest(position)
            images.append(ImageRecord(position, name, digest, reason))
            if not reason:
                table += rows.of_image(position)
        yield Chunk(number, pa.Table.from_pylist(table, stored(())), tuple(images))


REGISTRY.add(Engine(NAME, "a table of predictions", chunks, asks_models=False))


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
    def __init__(self, job: Workload, predictions: Predictions) -> None:
        self._job, self._predictions = job, predictions
        self._answers = predictions.answers()
        self._index = {
            name: meaning(self._answers, predictions.classes[name], predictions.title)
            for name in predictions.models
        }
        self._digests = predictions.texts("image_digest")
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
        """What the table lacks of an image, as a sentence; "" if nothing."""
        gaps = np.argwhere(self._predictions.at[position] < 0)
        if not len(gaps):
            return ""
        model, place = gaps[0]
        where = ["the original", *self._predictions.conditions][place]
        return f"The table has no prediction of {self._predictions.models[model]} for {where}."

    def of_image(self, position: int) -> Iterator[Row]:
        predictions, spec = self._predictions, self._job.spec
        places = predictions.at[position]
        for model, rows in zip(predictions.models, places.tolist(), strict=True):
            label = self._job.labels[predictions.classes[model].key][position]
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

    def digest(self, position: int) -> str:
        """The digest of an image: that of the table, else of the image, else of its name."""
        if digest := self._digests[self._predictions.at[position][0, 0]]:
            return digest
        entry = self._predictions.entries[position]
        try:
            side = self._job.spec.side
            image = study_image(
                self._predictions.read(entry), name=entry.name, fit="squash", side=side
            )
        except ImageError:
            return hashlib.sha256(entry.name.encode()).hexdigest()
        return image_digest(image)


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
    known: Mapping[int, float] = dict(zip(classes, answers.shares[row], strict=False))
    return _RowAnswer(classes[:5], tuple(known[at] for at in classes[:5] if at in known), known.get)


def _compared(clean: _RowAnswer, after: _RowAnswer, label: int | None, five: bool) -> Row:
    """The columns that follow from the predictions of the original and the perturbed image.

    Those of the top-5 are empty unless the predictions list ``five`` classes, or all.
    """
    winner = clean.top[0]
    before, retained = clean.share(winner), after.share(winner)
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
                row[metric.name] = float(metric.function(clean.whole, after.whole)[0])
    correctness = dict(zip(CORRECTNESS, right(label, answers), strict=True))
    if not five:
        correctness |= dict.fromkeys(("clean_correct5", "correct5"))
    return {**row, **correctness}
