"""Export of a dataset's images as models see them, with a table of all.

``CONDITION/NAME.png`` is lossless, ``clean`` holds the originals, and ``images.csv`` says what each
is; its columns ``path`` and ``label`` make it a dataset.

A selection of cases as files: a table of the measurements, and a zip with the images as well.

FiftyOne reads the zip as two datasets of the same images, in its format
FiftyOneImageClassificationDataset: one has the true classes, the other the predictions.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from robustness import metrics, models
from robustness.base.errors import LabelError, ParameterError, RobustnessError, RunError
from robustness.base.files import file_errors, put_whole
from robustness.base.text import csv_cell
from robustness.datasets import Dataset, classes_of, open_dataset
from robustness.images.framing import Framing, Picture
from robustness.images.pixels import to_png
from robustness.measure.condition import CLEAN, Condition
from robustness.measure.domain import Domain
from robustness.measure.labels import is_correct
from robustness.measure.options import ImageOptions
from robustness.measure.request import Request
from robustness.measure.rows import SCORES
from robustness.models.record import Labels
from robustness.runs.cases import CASE_COLUMNS, RowSelection
from robustness.runs.engines import Prepared, prepared
from robustness.runs.planning import Plan, plan
from robustness.runs.run import Run
from robustness.runs.task import Progress

TABLE = "images.csv"
COLUMNS = (
    "path",
    "label",
    "image",
    "condition",
    "perturbation",
    "strength",
    "parameter",
    "seed",
    "fit",
    "side",
    "sha256",
    "image_digest",
    "framed_digest",
    *(metric.name for metric in metrics.REGISTRY if metric.subject == metrics.PICTURE),
)
_VERSION = 4
"""Version of the record of an unfinished export."""

_PROGRESS = "export-progress"
"""The folder of what is done: the request, and the rows of each chunk. It goes at the end."""


@dataclass(frozen=True)
class ExportProgress(Progress):
    """How far an export is; ``left_out`` are (name, reason) of the unreadable images so far."""

    left_out: Sequence[tuple[str, str]] = ()


def framing_without_models(domain: Domain | None) -> Framing:
    """How images for no model in particular are framed: as ``domain`` says, else as usual."""
    framing = Framing()
    if domain is None:
        return framing
    return Framing(domain.fit or framing.fit, domain.side or framing.side)


def plan_with_models(source: str | Dataset, spec: Request, **options: Unpack[ImageOptions]) -> Plan:
    """The plan for the models of ``spec``; ``options`` and what is raised are those of ``plan``."""
    return plan(source, _without_domain(spec), **options)


def plan_without_models(
    source: str | Dataset,
    spec: Request,
    *,
    classes: Labels | None = None,
    **options: Unpack[ImageOptions],
) -> tuple[Plan, tuple[str, ...]]:
    """The plan for no model in particular, and the names to write as labels, if any.

    The labels are of ``classes``, else of those of the models of ``spec``; if they are not, they
    are themselves the classes, and written by name. ``options`` and what is raised are those of
    ``plan``.
    """
    spec = _without_domain(spec)
    dataset = open_dataset(source) if isinstance(source, str) else source
    try:
        return plan(dataset, spec, classes=classes, **options), ()
    except LabelError:
        if classes is not None:
            raise
    classes = classes_of(dataset)
    return plan(dataset, spec, classes=classes, **options), classes.names


def _without_domain(spec: Request) -> Request:
    """``spec`` with the conditions of its domain alone: nothing is judged by an export.

    The limit of a domain may be on scores, for which the images need no labels.
    """
    return replace(spec, domain=None)


def export(plan: Plan, to: str, names: Sequence[str] = ()) -> Iterator[ExportProgress]:
    """Write every image of ``plan``, original and perturbed, to ``to``; yield after each chunk.

    Labels are written as indices, or as the ``names`` of these.
    ``to`` is a folder, a ``.zip`` or a URL that fsspec knows. A folder or URL where the same export
    was interrupted is gone on with. Raises ``ParameterError`` for attacks, whose images depend on
    the model, for models of several framings, and for a place that holds something else,
    ``RunError`` where it cannot be written.
    """
    plan.spec.only_framing("An export")
    attacks = [condition.id for condition in plan.spec.conditions if condition.needs_model]
    if attacks:
        raise ParameterError(
            f"Expected perturbations, got {attacks[0]}: an attack's images depend on the model."
        )
    is_zip = to.lower().endswith(".zip")
    with (
        file_errors("The images cannot be written", kind=RunError, hint=f"The place is {to}."),
        _Zip(to) if is_zip else nullcontext(_Folder(to)) as target,
    ):
        yield from _written(plan, target, to, names)


def _written(
    plan: Plan, target: _Folder | _Zip, to: str, names: Sequence[str]
) -> Iterator[ExportProgress]:
    indices = next(iter(plan.labels.values()))
    labels: list[int | str | None] = []
    for index in indices:
        labels.append(names[index] if names and index is not None else index)
    labels_digest = hashlib.sha256(json.dumps(labels).encode()).hexdigest()
    request = json.dumps(
        [_VERSION, plan.spec.digest, plan.record.digest, plan.batch, labels_digest]
    ).encode()
    earlier = target.read(f"{_PROGRESS}/request.json")
    obstacle = ""
    if earlier is None and target.read(TABLE) is not None:
        obstacle = "a finished"
    elif earlier is not None and earlier != request:
        obstacle = "another"
    if obstacle:
        raise ParameterError(
            "Expected an empty folder, or one of this export interrupted; got one with "
            f"{obstacle} export.",
            hint=f"The place is {to}.",
        )
    target.write(f"{_PROGRESS}/request.json", request)
    rows: list[dict[str, Any]] = []
    left_out: list[tuple[str, str]] = []
    done = 0
    for number in range(plan.chunk_count):
        file = f"{_PROGRESS}/{number:08d}.json"
        text = target.read(file)
        if text:  # this chunk was done before an interruption
            document = json.loads(text)
        else:
            document = _write_chunk(plan.spec, labels, prepared(plan, number), target)
            target.write(file, json.dumps(document).encode())
        rows += document["rows"]
        left_out += [(name, reason) for name, reason in document["unreadable"]]
        done += len(plan.positions(number))
        yield ExportProgress(done, len(plan.dataset), len(left_out), left_out=tuple(left_out))
    target.write(TABLE, csv_table(COLUMNS, rows))
    target.finish()


def _write_chunk(
    spec: Request, labels: Sequence[int | str | None], ready: Prepared, target: _Folder | _Zip
) -> dict[str, Any]:
    """Write the images of a chunk; return its rows and its unreadable images, JSON-ready."""
    rows = []
    for batch in ready.batches.values():
        images = zip(ready.readable, batch.pictures, batch.frames, batch.scores, strict=True)
        for record, picture, frames, scores in images:
            label = labels[record.position]
            original, *perturbed = map(to_png, frames)
            row = _row(picture, None, original, label, spec.seed)
            target.write(row["path"], original)
            rows.append(row)
            for index, (condition, png) in enumerate(zip(spec.conditions, perturbed, strict=True)):
                row = _row(picture, condition, png, label, spec.seed)
                for name, values in scores.items():
                    score = float(values[index])
                    # The PSNR of equal images is infinite, which JSON cannot hold.
                    row[name] = score if math.isfinite(score) else None
                target.write(row["path"], png)
                rows.append(row)
    return {"rows": rows, "unreadable": [(image.name, image.reason) for image in ready.unreadable]}


def _row(
    picture: Picture, condition: Condition | None, png: bytes, label: int | str | None, seed: int
) -> dict[str, Any]:
    """The row of ``picture`` under ``condition``, None for the original, without its scores."""
    condition_id = CLEAN if condition is None else condition.id
    return {
        "path": f"{condition_id}/{png_name(picture.name)}",
        "label": label,
        "image": picture.name,
        "condition": condition_id,
        "perturbation": condition and condition.name,
        "strength": condition and condition.strength,
        "parameter": condition and condition.parameter_at(picture.side),
        "seed": seed,
        "fit": picture.framing.fit,
        "side": picture.side,
        "sha256": hashlib.sha256(png).hexdigest(),
        "image_digest": picture.source,
        "framed_digest": picture.digest,
    }


def png_name(name: str) -> str:
    """``name`` as a path inside the folder; a name that points outside it becomes its digest."""
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or any(part in ("", ".", "..") for part in parts):
        plain = re.sub(r"[^\w.-]+", "_", parts[-1]).strip(".") or "image"
        return f"{hashlib.sha256(name.encode()).hexdigest()[:12]}-{plain}.png"
    return f"{name}.png"


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The ``columns`` of ``rows`` as CSV; truth values are "true" and "false"."""

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return csv_cell(value)
    if isinstance(value, bool):
        return str(value).lower()
    return value


class _Folder:
    """A folder, here or in shared storage."""

    def __init__(self, to: str) -> None:
        import fsspec

        try:
            self._files, root = fsspec.core.url_to_fs(to)
        except (ImportError, ValueError) as error:
            raise ParameterError(f"{to} cannot be opened: {error}.") from error
        self._root = root.rstrip("/")
        self._local = "://" not in to

    def write(self, name: str, data: bytes) -> None:
        path = f"{self._root}/{name}"
        with _errors_of_storage():
            self._files.makedirs(os.path.dirname(path), exist_ok=True)
            if self._local:
                put_whole(Path(path), lambda temporary: temporary.write_bytes(data))
            else:
                self._files.pipe_file(path, data)

    def read(self, name: str) -> bytes | None:
        try:
            with _errors_of_storage():
                content: bytes = self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        return content

    def finish(self) -> None:
        with _errors_of_storage():
            self._files.rm(f"{self._root}/{_PROGRESS}", recursive=True)


@contextmanager
def _errors_of_storage() -> Iterator[None]:
    """Raise ``OSError`` for what a storage raises: some have errors of their own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}".removesuffix(".")) from error


class _Zip:
    """A new archive, there once it is whole."""

    def __init__(self, to: str) -> None:
        if "://" in to:
            raise ParameterError(
                f"{to} cannot be written: expected the URL of a folder, or an archive on this "
                "machine, got an archive elsewhere."
            )
        self._place = Path(to)
        if self._place.exists():
            raise ParameterError(f"{self._place.name} already exists: expected a new file.")
        self._temporary = self._place.with_name(f".{self._place.name}.{os.getpid()}.tmp")
        self._whole = False

    def __enter__(self) -> _Zip:
        self._file = zipfile.ZipFile(self._temporary, "x")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()
        if self._whole:
            os.replace(self._temporary, self._place)
        else:
            self._temporary.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        if not name.startswith(_PROGRESS):
            about = zipfile.ZipInfo(name)
            about.external_attr = 0o644 << 16  # else unpacked files cannot be read
            self._file.writestr(about, data)

    def read(self, name: str) -> bytes | None:
        return None

    def finish(self) -> None:
        self._whole = True


MOST: Mapping[str, int] = {".csv": 100_000, ".zip": 500}
"""Images that a file of each suffix holds at most."""

CASES_TABLE = "cases.csv"
TRUE_CLASSES = "labels.json"
PREDICTIONS = "predictions.json"
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
CASES_COLUMNS = (*CASE_COLUMNS, "correct", *_CLASSES.values(), "original", "perturbed")
_SCORED_COLUMNS = (
    "image",
    "model",
    "condition",
    "perturbation",
    "strength",
    *SCORES,
    "ssim",
    "original",
    "perturbed",
)
"""The columns of the cases of a run of scores."""


def cases(run: Run, chosen: RowSelection, most: int, kind: str = "") -> list[dict[str, Any]]:
    """The ``chosen`` cases, each image once.

    They are of the ``kind``, as in ``selection``; by default the failures come first, then
    the images without one. A case has ``CASE_COLUMNS``, ``correct``, and the names of its classes;
    in a run of scores it has these in place of all about classes.
    """
    if kind:
        found_cases = run.cases.first(chosen, kind, most)
    else:
        found_cases = run.cases.both(chosen, most)
    rows = []
    if run.score:
        for case in found_cases:
            rows.append({name: case[name] for name in _SCORED_COLUMNS if name in case})
        return rows
    for case in found_cases:
        row = dict(case)  # a copy, as the answer may be given again
        del row["position"]
        row["correct"] = is_correct(row["label"], row["top1"])
        for index_column, name_column in _CLASSES.items():
            index = row[index_column]
            row[name_column] = None if index is None else models.class_name(row["model"], index)
        rows.append(row)
    return rows


def exported(run: Run, chosen: RowSelection, suffix: str, kind: str = "") -> bytes:
    """The ``cases`` as the bytes of a file of the ``suffix`` .csv or .zip.

    Images that cannot be read, and those that an attack made, are left out of the zip; their cells
    in the table are empty. In a run of scores the table has these in place of classes.
    Raises ``ParameterError`` for another suffix.
    """
    if suffix not in MOST:
        raise ParameterError(f"Expected a file that ends in .csv or .zip, got {suffix or 'none'}.")
    rows = cases(run, chosen, MOST[suffix], kind)
    columns = _SCORED_COLUMNS if run.score else CASES_COLUMNS
    if suffix == ".csv":
        return csv_table(columns, rows)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        written: set[str] = set()
        classes: dict[str, Any] = {}
        predictions: dict[str, Any] = {}
        for row in rows:
            for key, name, png in _images(run, row):
                row[key] = name
                if name in written:
                    continue
                archive.writestr(name, png)
                written.add(name)
                if not run.score:
                    image = name.removesuffix(".png")  # FiftyOne's name of it
                    classes[image] = row["true_class"]
                    predictions[image] = _prediction(row, key)
        archive.writestr(CASES_TABLE, csv_table(columns, rows))
        if not run.score:
            archive.writestr(TRUE_CLASSES, json.dumps({"labels": classes}))
            archive.writestr(PREDICTIONS, json.dumps({"labels": predictions}))
    return packed.getvalue()


def _images(run: Run, row: Mapping[str, Any]) -> Iterator[tuple[str, str, bytes]]:
    """(column, name, PNG) of the original and of the perturbed image, as far as they are there."""
    try:
        picture = run.picture_for(row["image"], row["model"])
    except RobustnessError:
        return
    view = ""
    if len(run.manifest.spec.by_framing) > 1:  # else two models' images would have one name
        view = f", {picture.framing.text}"
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
        confidence = row["clean_probability"]
        about = {"model": row["model"], "condition": CLEAN}
    else:
        confidence = row["probability"]
        about = {name: row[name] for name in _OF_PREDICTIONS}
    values = {name: value for name, value in about.items() if value is not None}
    return {"label": row[f"{key}_class"], "confidence": confidence, "attributes": values}
