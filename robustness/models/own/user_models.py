"""The user's own models: described in a TOML file, registered beside the others.

[digits]
path = "digits.onnx"         # or .tflite, OpenVINO's .xml, .keras, a SavedModel folder
labels = "digits.txt"        # one class per line, or "imagenet"
input_size = 32              # pixels
normalisation = "0..1"       # or "-1..1", "0..255", "torch", "caffe", or a table
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, InstanceOf, Strict, ValidationInfo

from robustness.base import settings
from robustness.base.disk import Version, read_regular, version
from robustness.base.errors import ParameterError
from robustness.base.toml import read_toml
from robustness.base.validation import RefusedError, StrictTable, checked, expected
from robustness.models.catalogue.common import CAFFE, INSIDE_MODEL, MINUS_ONE_TO_ONE, TORCH
from robustness.models.file_formats.kinds import stands_in
from robustness.models.labels import Labels, imagenet
from robustness.models.loaded import LOADED
from robustness.models.model_record import (
    OWN,
    REGISTRY,
    KnownPicture,
    ModelRecord,
    Normalisation,
    UserFile,
)

DEFAULT_FILE = "models.toml"

NORMALISATIONS: Mapping[str, Normalisation] = {
    "0..1": Normalisation("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "-1..1": MINUS_ONE_TO_ONE,
    "0..255": INSIDE_MODEL,
    "torch": TORCH,
    "caffe": CAFFE,
}
"""Keyed by the range of pixels the model was trained on, or by Keras' preprocessing mode."""

STAND_IN = " (as OpenVINO computes it)"
"""Suffix of the title of a quantised model that its own runtime does not run."""

SMALLEST, LARGEST = 8, 1024
"""Range of input sizes in pixels."""

_LARGEST_LABELS = 16 * 2**20  # bytes of the file
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_changing = threading.Lock()


def refresh() -> None:
    """Update the registry to the models in the user's file; cheap if the file is unchanged.

    The file is ``models.toml`` in the working folder, or the one named by the setting ``models``.
    Raises ``ParameterError`` for an invalid file; then the registry holds none of its models.
    """
    with _changing:
        present = {record.name: record for record in REGISTRY if record.group == OWN}
        wanted: dict[str, ModelRecord] = {}
        try:
            wanted = {record.name: record for record in _described()}
        finally:
            if wanted != present:
                REGISTRY.exchange(present, wanted.values())
                for name in set(present) & set(LOADED.names()):
                    LOADED.release(name)


def described_in() -> Path:
    """The path of the file that describes the user's models; the file may not exist."""
    return settings.value(settings.MODELS) or Path.cwd() / DEFAULT_FILE


def _described() -> tuple[ModelRecord, ...]:
    file = described_in()
    try:
        found = version(file)
    except OSError:
        if settings.value(settings.MODELS):
            raise ParameterError(
                f"Expected your models in {file}, as the setting 'models' says, but there is no "
                "file there: create it, or change the setting."
            ) from None
        return ()
    return _records(file, found)


@lru_cache(maxsize=4)
def _records(file: Path, _version: Version) -> tuple[ModelRecord, ...]:
    return records_of(file, read_toml(file))


def records_of(file: Path, tables: Mapping[str, Any]) -> tuple[ModelRecord, ...]:
    """The models described by ``tables`` of ``file``; raises ``ParameterError`` as ``refresh``."""
    records = tuple(_record(file, name, table) for name, table in tables.items())
    for title, times in Counter(record.label for record in records).items():
        if times > 1:
            raise ParameterError(f"{file}: {times} models have the title {title!r}.")
    return records


def _located(value: Any, info: ValidationInfo) -> Any:
    """A path relative to the file of descriptions, which is the context."""
    file: Any = info.context
    try:
        return settings.located(value, file.parent) if isinstance(value, str) else value
    except ParameterError as error:
        raise RefusedError(str(error).rstrip(".")) from error


Place = Annotated[Path, BeforeValidator(_located), expected("a path")]
Positive = Annotated[float, Field(gt=0, lt=1e30)]
Finite = Annotated[float, Field(gt=-1e30, lt=1e30)]


class _Scaling(StrictTable):
    """A normalisation that has no name."""

    order: Literal["RGB", "BGR"]
    scale: Positive
    mean: Annotated[tuple[Finite, Finite, Finite], Strict(False)]
    std: Annotated[tuple[Positive, Positive, Positive], Strict(False)]


def _normalisation(value: Any) -> Any:
    if isinstance(value, str):
        return NORMALISATIONS.get(value)
    return Normalisation(**_Scaling.model_validate(value).model_dump())


_SIDE = f"a whole number from {SMALLEST} to {LARGEST}"
_NORMALISATION = (
    f"one of {', '.join(map(json.dumps, NORMALISATIONS))}, or a table "
    '{order = "RGB", scale = 255, mean = [r, g, b], std = [r, g, b]}'
)


class _Check(StrictTable):
    """An image that the model knows."""

    image: Place
    class_: str = Field(alias="class")


class Description(StrictTable):
    """A model's table in the file; the keys are in the order in which they are documented."""

    path: Place
    labels: Annotated[
        Literal["imagenet"] | Place,
        Field(union_mode="left_to_right"),
        expected('"imagenet" or a file with one class per line'),
    ]
    input_size: Annotated[
        int,
        Field(ge=SMALLEST, le=LARGEST),
        expected(_SIDE),
    ]
    normalisation: Annotated[
        InstanceOf[Normalisation],
        BeforeValidator(_normalisation),
        expected(_NORMALISATION),
    ]
    output: Literal["probabilities", "logits"] = "probabilities"
    features: Annotated[
        Literal["auto"] | Annotated[list[str], Field(min_length=1)],
        expected('"auto" or a list of layer names'),
    ] = "auto"
    runtime: Literal["native", "openvino", ""] = ""
    title: str | None = None
    family: str = "Your own"
    year: Annotated[int | None, Field(ge=1900, le=2100), expected("a year from 1900 to 2100")] = (
        None
    )
    check: Annotated[_Check | None, expected('a table {image = "file", class = "name"}')] = None


REQUIRED = tuple(key for key, field in Description.model_fields.items() if field.is_required())
OPTIONAL = tuple(key for key in Description.known() if key not in REQUIRED)


def _record(file: Path, name: str, values: Any) -> ModelRecord:
    where = f"{file}, model {name!r}"
    if problem := _problem(name):
        raise ParameterError(f"{where}: {problem}.")
    table = checked(Description, values, where, context=file)
    title = name if table.title is None else table.title.strip()
    if not title or title in {record.label for record in REGISTRY if record.group != OWN}:
        raise ParameterError(f"{where}: expected a title that no other model has, got {title!r}.")
    return ModelRecord(
        name=name,
        label=title + (STAND_IN if stands_in(table.path, table.runtime) else ""),
        group=OWN,
        family=table.family,
        year=table.year,
        parameters=None,
        input_size=table.input_size,
        normalisation=table.normalisation,
        stages=(),
        weights=UserFile(
            table.path,
            table.output,
            () if table.features == "auto" else tuple(dict.fromkeys(table.features)),
            table.runtime,
        ),
        build=_not_built,
        labels=imagenet if table.labels == "imagenet" else partial(labels_of, table.labels),
        known_pictures=(
            () if table.check is None else (KnownPicture(table.check.image, (table.check.class_,)),)
        ),
    )


def _problem(name: str) -> str:
    """What is wrong with the name of a model; empty if nothing is."""
    if not _NAME.fullmatch(name):
        return "a name consists of letters, digits, '_', '.' and '-'"
    if name in REGISTRY and REGISTRY[name].group != OWN:
        return "a model of that name is built in; choose another name"
    return ""


def _not_built() -> Any:
    raise TypeError("a model of the user's is loaded whole, never built")


def labels_of(file: Path) -> Labels:
    """The classes in ``file``, one per line; raises ``ParameterError`` if it is unusable."""
    try:
        return _read_labels(file, version(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ParameterError(
            f"Expected {file} to be a text file with one class per line; it cannot be read: "
            f"{reason}."
        ) from error


@lru_cache(maxsize=16)
def _read_labels(file: Path, _version: Version) -> Labels:
    # Some editors write a mark before the text.
    text = read_regular(file, _LARGEST_LABELS).decode("utf-8-sig")
    names = [line.strip() for line in text.split("\n")]
    while names and not names[-1]:
        names.pop()
    problem = "" if len(names) > 1 else f"got {len(names)}"
    if "" in names:
        problem = f"line {names.index('') + 1} is empty"
    elif len(set(names)) < len(names):
        problem = f"{Counter(names).most_common(1)[0][0]!r} is listed twice"
    if problem:
        raise ParameterError(
            f"Expected the label file {file} to list two or more different classes, one per "
            f"line; {problem}."
        )
    return Labels(title=file.stem, names=tuple(names))
