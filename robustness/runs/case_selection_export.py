"""A selection of cases as files: a table of the measurements, and a zip with the images as well.

FiftyOne reads the zip as two datasets of the same images, in its format
FiftyOneImageClassificationDataset: one has the true classes, the other the predictions.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from robustness import models
from robustness.base.errors import ParameterError, RobustnessError
from robustness.evaluation.labels_and_correctness import is_correct
from robustness.evaluation.perturbation_and_attack_conditions import CLEAN, Condition
from robustness.pictures.eight_bits import to_png
from robustness.runs.dataset_image_export import csv_table, png_name
from robustness.runs.row_selection import CASE_COLUMNS, RowSelection
from robustness.runs.run import Run

MOST: Mapping[str, int] = {".csv": 100_000, ".zip": 500}
"""Images that a file of each suffix holds at most."""

TABLE = "cases.csv"
TRUE_CLASSES, PREDICTIONS = "labels.json", "predictions.json"
_OF_PREDICTIONS = (
    "model",
    "condition",
    "perturbation",
    "strength",
    "consistent",
    "correct",
    "ssim",
)
_CLASSES = {"label": "true_class", "clean_top1": "original_class", "top1": "perturbed_class"}
COLUMNS = (*CASE_COLUMNS, "correct", *_CLASSES.values(), "original", "perturbed")


def cases(run: Run, chosen: RowSelection, most: int, kind: str = "") -> list[dict[str, Any]]:
    """The ``chosen`` cases, each image once.

    They are of the ``kind``, as in ``selection``; by default the failures come first, then
    the images without one. A case has ``CASE_COLUMNS``, ``correct``, and the names of its classes.
    """
    both = run.cases.first(chosen, kind, most) if kind else run.cases.both(chosen, most)
    rows = [dict(row) for row in both]  # these may be remembered
    for row in rows:
        del row["position"]
        row["correct"] = is_correct(row["label"], row["top1"])
        for index, name in _CLASSES.items():
            present = row[index] is not None
            row[name] = models.class_name(row["model"], row[index]) if present else None
    return rows


def exported(run: Run, chosen: RowSelection, suffix: str, kind: str = "") -> bytes:
    """The ``cases`` as the bytes of a file of the ``suffix`` .csv or .zip.

    Images that cannot be read, and those that an attack made, are left out of the zip; their cells
    in the table are empty. Raises ``ParameterError`` for another suffix.
    """
    if suffix not in MOST:
        raise ParameterError(f"Expected a file that ends in .csv or .zip, got {suffix or 'none'}.")
    rows = cases(run, chosen, MOST[suffix], kind)
    if suffix == ".csv":
        return csv_table(COLUMNS, rows)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        classes: dict[str, Any] = {}
        predictions: dict[str, Any] = {}
        for row in rows:
            for key, name, png in _images(run, row):
                row[key] = name
                image = name.removesuffix(".png")  # FiftyOne's name of it
                if image not in classes:
                    archive.writestr(name, png)
                    classes[image] = row["true_class"]
                    predictions[image] = _prediction(row, key)
        archive.writestr(TABLE, csv_table(COLUMNS, rows))
        archive.writestr(TRUE_CLASSES, json.dumps({"labels": classes}))
        archive.writestr(PREDICTIONS, json.dumps({"labels": predictions}))
    return packed.getvalue()


def _images(run: Run, row: Mapping[str, Any]) -> Iterator[tuple[str, str, bytes]]:
    """(column, name, PNG) of the original and of the perturbed image, as far as they are there."""
    try:
        picture = run.picture_for(row["image"], row["model"])
    except RobustnessError:
        return
    several = len(run.manifest.spec.by_framing) > 1
    view = f", {picture.framing.text}" if several else ""
    yield "original", f"original{view}/{png_name(picture.name)}", to_png(picture.image)
    condition = Condition.parse(row["condition"])
    if not condition.needs_model:
        try:
            image = run.perturbed(picture, condition)
        except RobustnessError:
            return
        yield "perturbed", f"{condition.id}{view}/{png_name(picture.name)}", to_png(image)


def _prediction(row: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The prediction on the "original" or the "perturbed" image of a case, as FiftyOne reads it."""
    if key == "original":
        confidence, about = row["clean_probability"], {"model": row["model"], "condition": CLEAN}
    else:
        confidence, about = row["probability"], {name: row[name] for name in _OF_PREDICTIONS}
    values = {name: value for name, value in about.items() if value is not None}
    return {"label": row[f"{key}_class"], "confidence": confidence, "attributes": values}
