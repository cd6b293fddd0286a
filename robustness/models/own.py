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

Add entries of models to the user's TOML file with the models' files, and remove them.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, InstanceOf, Strict, ValidationInfo, model_validator

from robustness.base import settings
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.files import (
    Version,
    file_lock,
    read_regular,
    reading,
    stored_bytes,
    version,
    write_whole,
)
from robustness.base.text import did_you_mean
from robustness.base.toml import MAX_BYTES, parse_toml, read_toml
from robustness.base.validation import RefusedError, StrictTable, as_refusal, checked, expected
from robustness.images.framing import STUDY_FRAMING, Framing
from robustness.models.loaded import LOADED
from robustness.models.metadata import FRAMING_KEYS, NORMALISATIONS, size_of
from robustness.models.record import (
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
    imagenet,
    read_labels,
)
from robustness.models.sources import user_file
from robustness.models.torch import source_of

DEFAULT_FILE = "models.toml"

SMALLEST = 8
LARGEST = 1024
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
        given = self.stated()
        size = self.input_size
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


_HEADER = re.compile(r"\s*\[+\s*(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([A-Za-z0-9_-]+))\s*[\].]")


def entry_text(name: str, values: Mapping[str, Any]) -> str:
    """The table of the model ``name`` as TOML."""
    header = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else as_toml(name)
    return f"[{header}]\n" + "".join(f"{key} = {as_toml(value)}\n" for key, value in values.items())


def as_toml(value: Any) -> str:
    """``value`` as TOML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


STORE = "added-models"
"""The folder beside the file of entries that holds uploaded models."""


def label_file(name: str) -> str:
    """The name of the file, beside the entries, for the classes of the model ``name``."""
    return f"{name}.labels.txt"


def lines(names: Sequence[str]) -> bytes:
    """The content of a file with these classes."""
    return ("\n".join(names) + "\n").encode()


def relative(path: Path) -> str:
    """``path`` for an entry: relative if it is below the folder of the file of entries."""
    folder = described_in().parent.resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def check(name: str, values: Mapping[str, Any]) -> None:
    """Raise ``ParameterError`` unless ``values`` can describe a new model called ``name``."""
    if "function" in values:
        raise ParameterError(f"A function is code: describe {name!r} by hand in models.toml.")
    file = described_in()
    tables = _tables(file, _text(file))
    if name in tables:
        raise ParameterError(
            f"{file} already describes a model called {name!r}: choose another name, or run "
            f"'python -m robustness models remove {name}' first."
        )
    records_of(file, {**tables, name: dict(values)})


def add(
    name: str, values: Mapping[str, Any], classes: Sequence[str] = (), folder: Path | None = None
) -> Path:
    """Write the model ``name`` to the user's file, register it, and return the file.

    Its ``classes``, if any, go into the file of ``labels``; a temporary ``folder`` with the model
    is copied to stay. Raises what ``check`` raises, and ``ParameterError`` where it cannot be
    written.
    """
    file = described_in()
    with _locked(file) as text:
        check(name, values)
        if text:
            text += "\n" if text.endswith("\n") else "\n\n"
        _tables(file, text + entry_text(name, values))  # it can be read again
        labels = file.parent / values.get("labels", "")
        content = lines(classes)
        if (classes and labels.exists()) and (
            stored_bytes(labels) != len(content) or labels.read_bytes() != content
        ):
            raise ParameterError(
                f"Expected no file {labels}, got one with other classes: remove it, or choose "
                "another name."
            )
        if folder is not None:
            _copy(folder, _store(name))
            values = {**values, "path": relative(_store(name) / Path(values["path"]).name)}
        if classes:
            write_whole(labels, content)
        write_whole(file.resolve(), (text + entry_text(name, values)).encode())
    refresh()
    return file


def _store(name: str) -> Path:
    return described_in().parent / STORE / name


def _copy(folder: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)  # what an interruption left there
    try:
        shutil.copytree(folder, target)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        first = error.strerror or error.args[0][0][-1]  # of the files in a shutil.Error
        reason, _, _ = first.partition(": ")
        raise ParameterError(
            f"The model cannot be written to {target}: {reason}. Make room, then try again."
        ) from error


def remove(name: str) -> Path:
    """Remove the model ``name`` from the user's file and the registry; return the file.

    With it go the files that adding it wrote; its model file stays, unless that was uploaded.
    Raises ``UnknownNameError`` where there is no such model, and ``ParameterError`` for
    the base of another or where its table cannot be told from the others.
    """
    file = described_in()
    with _locked(file) as text:
        tables = _tables(file, text)
        if name not in tables:
            hint = did_you_mean(name, tables) if tables else ""
            raise UnknownNameError(f"{file} describes no model called {name!r}. {hint}".strip())
        bases = {k: table.get("of") for k, table in tables.items() if isinstance(table, dict)}
        check_no_base(name, bases)
        others = {key: table for key, table in tables.items() if key != name}
        rest = _without(name, text)
        if _tables(file, rest) != others:
            raise ParameterError(
                f"The lines of {name!r} in {file} cannot be separated from the others: remove them "
                "by hand."
            )
        write_whole(file.resolve(), rest.encode())
        if NAME.fullmatch(name):  # another may lead out of the folder
            shutil.rmtree(_store(name), ignore_errors=True)
            labels = file.parent / label_file(name)
            named = {k: t.get("labels") for k, t in tables.items() if isinstance(t, dict)}
            users = [key for key, path in named.items() if path and file.parent / path == labels]
            if users == [name] and named[name] == labels.name:
                labels.unlink(missing_ok=True)
    refresh()
    return file


def _without(name: str, text: str) -> str:
    """``text`` without the lines of the table ``name``."""
    rest = []
    mine = False
    for line in text.splitlines(keepends=True):
        if header := _HEADER.match(line):
            quoted, literal, bare = header.groups()
            mine = name == (json.loads(f'"{quoted}"') if quoted is not None else literal or bare)
        if not mine:
            rest.append(line)
    return "".join(rest)


@contextmanager
def _locked(file: Path) -> Iterator[str]:
    """The text of ``file``, locked against changes by other processes."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(file):
            yield _text(file)
    except OSError as error:
        raise ParameterError(f"{file} cannot be written: {error.strerror}.") from error


def _text(file: Path) -> str:
    with reading(str(file)):
        try:
            return read_regular(file, MAX_BYTES).decode("utf-8-sig")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise ParameterError(f"{file} cannot be read as text in UTF-8.") from error


def _tables(file: Path, text: str) -> dict[str, Any]:
    return parse_toml(text.encode(), str(file))
