"""The user's own models: described in a TOML file, registered beside the others.

[digits]
path = "digits.onnx"         # or .tflite, OpenVINO's .xml, .keras, a SavedModel folder
labels = "digits.txt"        # one class per line, or "imagenet"
input_size = 32              # pixels; [height, width] if not square
normalisation = "0..1"       # or "-1..1", "0..255", "torch", "caffe", or a table
fit = "squash"               # how images become its input; also crop_pct, interpolation, resize

[digits-calibrated]          # all of the model "digits", but
of = "digits"
temperature = 1.7            # its logits are divided by this; or side = 260, interpolation = ...
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, InstanceOf, Strict, ValidationInfo, model_validator

from robustness.base import settings
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.files_and_locks import Version, version
from robustness.base.pydantic_validation import (
    RefusedError,
    StrictTable,
    as_refusal,
    checked,
    expected,
)
from robustness.base.untrusted_toml import read_toml
from robustness.models.class_labels import imagenet, read_labels
from robustness.models.loaded_models import LOADED
from robustness.models.model_and_weights_record import (
    ADDED,
    CALL_KEYS,
    FUNCTION,
    OWN,
    REGISTRY,
    CallOptions,
    CheckPicture,
    LabelledAccuracy,
    ModelRecord,
    Normalisation,
    Origin,
    PythonCall,
    UserFile,
)
from robustness.models.own.file_and_library_metadata import FRAMING_KEYS, NORMALISATIONS, size_of
from robustness.models.python_models.model_import_and_export import source_of
from robustness.models.weights.preset_and_file_sources import user_file
from robustness.pictures.framing_and_study_image import STUDY_FRAMING, Framing

DEFAULT_FILE = "models.toml"

SMALLEST, LARGEST = 8, 1024
"""Range of input sizes in pixels."""

LONGEST_NAME = 64
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}")
"""A valid name of a model."""

_changing = threading.Lock()


def refresh() -> None:
    """Update the registry to the models in the user's file; cheap if the file is unchanged.

    The file is ``models.toml`` in the working folder, or the one named by the setting ``models``.
    Raises ``ParameterError`` for an invalid file; then the registry holds none of its models.
    """
    with _changing:
        present = {record.name: record for record in REGISTRY if record.group == OWN}
        records = dict(ADDED)
        try:
            records = {record.name: record for record in _described()} | ADDED
        finally:
            if records != present:
                REGISTRY.exchange(present, records.values())
                for name in set(present) & set(LOADED.names()):
                    LOADED.release(name)


def add_to_process(record: ModelRecord) -> ModelRecord:
    """Register ``record`` until this process ends, in place of an earlier one; return it."""
    with _changing:
        ADDED[record.name] = record
        REGISTRY.exchange([record.name], [record])
        LOADED.release(record.name)
    return record


def remove_from_process(name: str) -> bool:
    """Remove the model ``name`` if it was added to this process; return whether it was.

    Raises ``ParameterError`` for the base of another.
    """
    with _changing:
        if name not in ADDED:
            return False
        check_no_base(name, {r.name: r.base.name for r in ADDED.values() if r.base})
        del ADDED[name]
        REGISTRY.exchange([name], [])
        LOADED.release(name)
    return True


def check_no_base(name: str, bases: Mapping[str, Any]) -> None:
    """Raise ``ParameterError`` if ``name`` is among ``bases``, those of calibrated models."""
    for model, base in bases.items():
        if base == name:
            raise ParameterError(
                f"Expected a model that no other is made of, got {name!r}, the base of {model!r}. "
                f"Remove {model!r} first."
            )


def described_in() -> Path:
    """The path of the file that describes the user's models; the file may not exist."""
    return settings.value(settings.MODELS) or Path.cwd() / DEFAULT_FILE


def _described() -> tuple[ModelRecord, ...]:
    file = described_in()
    try:
        written = version(file)
    except OSError:
        if settings.value(settings.MODELS):
            raise ParameterError(
                f"The setting 'models' names {file}, which does not exist. Add a model with "
                "'python -m robustness models add FILE', or change the setting."
            ) from None
        return ()
    return _records(file, written)


@lru_cache(maxsize=4)
def _records(file: Path, _version: Version) -> tuple[ModelRecord, ...]:
    return records_of(file, read_toml(file))


def records_of(file: Path, tables: Mapping[str, Any]) -> tuple[ModelRecord, ...]:
    """The models described by ``tables`` of ``file``; raises ``ParameterError`` as ``refresh``."""
    variants = {n for n, table in tables.items() if isinstance(table, Mapping) and "of" in table}
    bases = {record.name: record for record in REGISTRY if record.group != OWN}
    titles = {"", *(record.label for record in bases.values())}
    records: dict[str, ModelRecord] = {}
    for name in sorted(tables, key=variants.__contains__):  # after what they are variants of
        where = f"{file}, model {name!r}"
        if problem := name_problem(name):
            raise ParameterError(f"{where}: {problem}.")
        if name in variants:
            record = _variant(where, name, tables, bases)
        else:
            table = checked(ModelTable, tables[name], where, context=file)
            record = bases[name] = _record(name, table, file.parent)
        if record.label in titles:
            raise ParameterError(
                f"{where}: expected a title that no other model has, got {record.label!r}."
            )
        records[name] = record
    for title, times in Counter(record.label for record in records.values()).items():
        if times > 1:
            raise ParameterError(f"{file}: {times} models have the title {title!r}.")
    return tuple(records[name] for name in tables)


def _located(value: Any, info: ValidationInfo) -> Any:
    """A path relative to the file of descriptions, which is the context."""
    file: Any = info.context
    with as_refusal():
        return settings.located(value, file.parent) if isinstance(value, str) else value


Place = Annotated[Path, BeforeValidator(_located), expected("a path")]
Positive = Annotated[float, Field(gt=0, lt=1e30)]
Finite = Annotated[float, Field(gt=-1e30, lt=1e30)]


class _Scaling(StrictTable):
    """A normalisation that has no name."""

    order: Literal["RGB", "BGR"] = "RGB"
    scale: Positive = 1.0
    mean: Annotated[tuple[Finite, Finite, Finite], Strict(False)]
    std: Annotated[tuple[Positive, Positive, Positive], Strict(False)]


def _normalisation(value: Any) -> Any:
    if isinstance(value, str):
        return NORMALISATIONS.get(value)
    if not isinstance(value, Mapping):
        return None
    with as_refusal():
        return Normalisation(**checked(_Scaling, value).model_dump())


_SIDE = f"a whole number from {SMALLEST} to {LARGEST}, or two of them: [height, width]"
_NORMALISATION = (
    f"one of {', '.join(map(json.dumps, NORMALISATIONS))}, or a table "
    '{order = "RGB", scale = 255, mean = [r, g, b], std = [r, g, b]}'
)


Side = Annotated[int, Field(ge=SMALLEST, le=LARGEST)]


def parsed_size(text: str) -> int | list[int] | str:
    """The ``input_size`` that somebody typed, such as 224 or 48 x 192; else the text itself."""
    match = re.fullmatch(r"\s*(\d{1,9})(?:\s*[x×]\s*(\d{1,9}))?\s*", text)
    return size_of(int(match[1]), int(match[2] or match[1])) if match else text


def size_text(value: int | Sequence[int]) -> str:
    """``input_size`` as people type it."""
    return str(value) if isinstance(value, int) else " x ".join(map(str, value))


class _Check(StrictTable):
    """An image that the model knows."""

    image: Place
    class_: str = Field(alias="class")


class PreprocessingKeys(StrictTable):
    """How images become an input, as far as a table says so."""

    fit: Literal["crop", "squash", "letterbox", ""] = ""
    crop_pct: Annotated[float | None, expected("a share of the image from 0.5 to 1")] = None
    interpolation: str | None = None
    resize: str | None = None
    antialias: bool | None = None
    padding: Annotated[list[int] | None, expected("three whole numbers, [r, g, b]")] = None

    def stated(self) -> dict[str, Any]:
        """The keys that are there, with their values."""
        keys = {key: getattr(self, key) for key in FRAMING_KEYS}
        return {key: value for key, value in keys.items() if value not in (None, "")}


class ModelTable(PreprocessingKeys, CallOptions):
    """A model's table in the file; the keys are in the order in which they are documented."""

    path: Place | None = None
    function: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"),
        expected('"module:name"'),
    ] = None
    labels: Annotated[
        Literal["imagenet"] | Place,
        Field(union_mode="left_to_right"),
        expected('"imagenet" or a file with one class per line'),
    ]
    input_size: Annotated[
        Side | Annotated[tuple[Side, Side], Strict(False)],
        Field(union_mode="left_to_right"),
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
    default: bool = True
    family: str = "Your own"
    year: Annotated[int | None, Field(ge=1900, le=2100), expected("a year from 1900 to 2100")] = (
        None
    )
    check: Annotated[_Check | None, expected('a table {image = "file", class = "name"}')] = None
    origin: Origin | None = None
    accuracy: LabelledAccuracy | None = None

    @property
    def framing(self) -> Framing:
        """That of the keys, at the longer side; of the study image where there are none."""
        given, size = self.stated(), self.input_size
        side = size if isinstance(size, int) else max(size)
        return Framing.of({**given, "side": side}) if given else STUDY_FRAMING

    @model_validator(mode="after")
    def _check_framing(self) -> Self:
        with as_refusal():
            _ = self.framing
        return self

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.path is None) == (self.function is None):
            raise RefusedError("expected either path, a model file, or function")
        if self.path and (called := self.model_fields_set.intersection(CALL_KEYS)):
            raise RefusedError(f"expected {min(called)} with a function only")
        return self

    def file(self, folder: Path) -> UserFile:
        """The model; its module is looked for in ``folder``, too."""
        features = () if self.features == "auto" else tuple(dict.fromkeys(self.features))
        if self.path:
            return UserFile(self.path, self.output, features, self.runtime)
        reference = self.function or ""
        options = CallOptions(**{key: getattr(self, key) for key in CALL_KEYS})
        call = PythonCall(reference, folder, options=options)
        path = source_of(reference, folder)
        return UserFile(path, self.output, features, kind=FUNCTION, call=call)


REQUIRED = ("path", "labels", "input_size", "normalisation")
OPTIONAL = tuple(key for key in ModelTable.key_names() if key not in REQUIRED)


def _record(name: str, table: ModelTable, folder: Path) -> ModelRecord:
    size = table.input_size
    shape = size if isinstance(size, tuple) else (size, size)
    return ModelRecord(
        name=name,
        label=name if table.title is None else table.title.strip(),
        group=OWN,
        family=table.family,
        year=table.year,
        parameters=None,
        input_size=max(shape),
        input_shape=None if shape[0] == shape[1] else shape,
        normalisation=table.normalisation,
        stages=(),
        weights=user_file(table.file(folder)),
        build=lambda: None,  # it is loaded whole
        framing=table.framing,
        origin=table.origin,
        accuracy=table.accuracy,
        by_default=table.default,
        labels=imagenet if table.labels == "imagenet" else partial(read_labels, table.labels),
        check_pictures=(
            () if table.check is None else (CheckPicture(table.check.image, (table.check.class_,)),)
        ),
    )


class VariantTable(PreprocessingKeys):
    """The table of a model that is another one but for a temperature or its preprocessing."""

    of: str
    temperature: Annotated[float, Field(ge=0.05, le=20)] = 1.0  # as of the remedy
    side: int | None = None
    title: str | None = None
    default: bool = False

    @model_validator(mode="after")
    def _check_difference(self) -> Self:
        if not {"temperature", "side", *FRAMING_KEYS} & self.model_fields_set:
            raise RefusedError("expected a temperature, a side or another key of preprocessing")
        return self

    def framing(self, base: Framing) -> Framing:
        """``base`` with what the table says; raises as ``Framing.of``."""
        side = {} if self.side is None else {"side": self.side}
        return Framing.of({**base.as_dict(), **side, **self.stated()})


def _variant(
    where: str, name: str, tables: Mapping[str, Any], bases: Mapping[str, ModelRecord]
) -> ModelRecord:
    table = checked(VariantTable, tables[name], where)
    base = bases.get(table.of)
    if base is None:
        got = "which is one" if table.of in tables else "which does not exist"
        raise ParameterError(
            f"{where}: expected of to name a model that is no variant itself, got {table.of!r}, "
            f"{got}."
        )
    try:
        framing = table.framing(base.framing)
    except (ParameterError, UnknownNameError) as error:
        raise ParameterError(f"{where}: {error}") from error
    return replace(
        calibrated(name, base, table.temperature),
        label=name if table.title is None else table.title.strip(),
        framing=framing,
        by_default=table.default,
    )


def calibrated(name: str, base: ModelRecord, temperature: float) -> ModelRecord:
    """The model ``name`` that is ``base`` with its logits divided by ``temperature``."""
    return replace(
        base,
        name=name,
        label=name,
        group=OWN,
        base=base,
        temperature=temperature,
        by_default=False,
        accuracy=None,  # its means of probabilities are those of the base
        check_pictures=tuple(replace(p, probability=None) for p in base.check_pictures),
    )


def name_problem(name: str) -> str:
    """What is wrong with the name of a model; empty if nothing is."""
    if len(name) > LONGEST_NAME:
        return f"expected a name of at most {LONGEST_NAME} characters, got {len(name)}"
    if not NAME.fullmatch(name):
        return "a name may contain letters, digits, '_', '.' and '-'"
    if name in REGISTRY and REGISTRY[name].group != OWN:
        return "a bundled model has that name; choose another"
    return ""
