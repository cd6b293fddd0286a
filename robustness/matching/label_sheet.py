"""The table in which people write which predictions of a camera's images are correct."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import ConfigDict

from robustness.base.errors import ParameterError
from robustness.base.files_and_locks import read_regular
from robustness.base.pydantic_validation import CONFIG
from robustness.base.text import csv_cell, from_csv_cell

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
    """A table (CSV) of the sample to fill in: one line an image and model."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image in sample:
        for model, prediction in image.predictions.items():
            is_correct = (correct or {}).get((image.name, model))
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
    """The labels in the table at ``path``, of whatever match.

    Raises ``ParameterError`` for another table, and for other words than yes and no.
    """
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text), strict=True)
        rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise ParameterError(f"{path}: expected a table of labels (CSV), got {error}.") from error
    needed = {"image", "model", "correct"}
    result = []
    for number, row in enumerate([dict.fromkeys(reader.fieldnames or needed, ""), *rows], 1):
        if not needed <= {key for key, cell in row.items() if cell is not None}:
            raise ParameterError(f"{path}: expected the columns {', '.join(COLUMNS)}.")
        word = row["correct"].strip().lower()
        if word and word not in _WORDS:
            raise ParameterError(f"{path}, line {number}: expected yes or no, got {word!r}.")
        if word:
            image, model = from_csv_cell(row["image"]), from_csv_cell(row["model"])
            prediction = from_csv_cell(row.get("prediction") or "")
            result.append(SheetRow(number, image, model, prediction, _WORDS[word]))
    return result


def read_sheet(path: Path, sample: Sequence[SampleImage]) -> dict[tuple[str, str], bool]:
    """The labels in the table at ``path``, of the first images of ``sample``.

    Models that ``sample`` lacks do not count. Raises ``ParameterError`` for another table, for
    images that were not drawn or have changed, and where an image is left out: who chooses what to
    label would bias the accuracy.
    """
    drawn = {(i.name, model): text for i in sample for model, text in i.predictions.items()}
    models = {model for _, model in drawn}
    correct: dict[tuple[str, str], bool] = {}
    for row in sheet_rows(path):
        if row.model not in models:
            continue
        key = row.image, row.model
        if key not in drawn or row.prediction not in ("", drawn[key]):
            raise ParameterError(
                f"{path}, line {row.number}: expected an image and prediction of this match, "
                f"got {key[0]!r} of {key[1]!r}: use its own table, with the same seed and images."
            )
        correct[key] = row.correct
    for model in {model for _, model in correct}:
        labelled = [
            (image.name, model) in correct for image in sample if model in image.predictions
        ]
        if False in labelled[: sum(labelled)]:
            gap = labelled.index(False)
            raise ParameterError(
                f"{path}: expected labels from the first image on, got none for "
                f"{sample[gap].name!r} of {model}: fill it in, because the order is random."
            )
    return correct
