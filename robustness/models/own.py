"""The user's own models: described in a TOML file, registered beside the others.

[digits]
path = "digits.onnx"         # or .tflite, OpenVINO's .xml, .keras, a SavedModel folder
labels = "digits.txt"        # one class per line, or "imagenet", or a list of names
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    Strict,
    ValidationInfo,
    model_validator,
)

from robustness.base import settings
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.files import (
    Version,
    file_errors,
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
from robustness.models.formats import templates_problem
from robustness.models.loaded import LOADED
from robustness.models.metadata import FRAMING_KEYS, NORMALISATIONS, size_of
from robustness.models.record import (
    ADDED,
    CALL_KEYS,
    FUNCTION,
    OWN,
    REGISTRY,
    TEMPLATE,
    CallOptions,
    CheckPicture,
    LabelledAccuracy,
    Labels,
    ModelRecord,
    Normalisation,
    Origin,
    PythonCall,
    UserFile,
    check_class_names,
    imagenet,
    named_classes,
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

    The file is that of ``described_in``. Raises ``ParameterError`` for an invalid file; then the
    registry holds none of its models.
    """
    with _changing:
        registered = {record.name: record for record in REGISTRY if record.group == OWN}
        records = dict(ADDED)
        try:
            described = {record.name: record for record in _described()}
            records = described | ADDED
        finally:
            # After an error too: models of an earlier, valid file must not stay registered.
            if records != registered:
                REGISTRY.exchange(registered, records.values())
                for name in LOADED.names():
                    if name in registered:
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
        base_names = {record.name: record.base.name for record in ADDED.values() if record.base}
        check_no_base(name, base_names)
        del ADDED[name]
        REGISTRY.exchange([name], [])
        LOADED.release(name)
    return True


def check_no_base(name: str, bases: Mapping[str, Any]) -> None:
    """Raise ``ParameterError`` if another model is a variant of the model ``name``.

    ``bases`` maps the name of each model to that of its base, None where it has none.
    """
    for variant, base in bases.items():
        if base == name:
            raise ParameterError(
                f"Expected a model that no other is made of, got {name!r}, the base of "
                f"{variant!r}. Remove {variant!r} first."
            )


def described_in() -> Path:
    """The path of the file that describes the user's models; the file may not exist.

    It is the one that the setting ``models`` names, else ``models.toml`` in the working folder, or
    in the user's configuration folder if only that one exists.
    """
    named = settings.value(settings.MODELS)
    if named is not None:
        return named
    here = Path.cwd() / DEFAULT_FILE
    of_user = settings.config_folder() / DEFAULT_FILE
    if not here.exists() and of_user.exists():
        return of_user
    return here


def _described() -> tuple[ModelRecord, ...]:
    file = described_in()
    try:
        file_version = version(file)
    except OSError:
        if settings.value(settings.MODELS):
            raise ParameterError(
                f"The setting 'models' names {file}, which does not exist. Add a model with "
                "'python -m robustness models add FILE', or change the setting."
            ) from None
        return ()
    return _records_of_version(file, file_version)


@lru_cache(maxsize=4)
def _records_of_version(file: Path, _version: Version) -> tuple[ModelRecord, ...]:
    return records_of(file, read_toml(file))


def records_of(file: Path, tables: Mapping[str, Any]) -> tuple[ModelRecord, ...]:
    """The models described by ``tables`` of ``file``; raises ``ParameterError`` as ``refresh``."""
    variant_names = {
        name for name, table in tables.items() if isinstance(table, Mapping) and "of" in table
    }
    bases = {record.name: record for record in REGISTRY if record.group != OWN}
    taken_titles = {record.label for record in bases.values()}
    taken_titles.add("")
    records: dict[str, ModelRecord] = {}
    # Variants come last, as each needs the record of its base, which may stand below it.
    for name in sorted(tables, key=lambda name: name in variant_names):
        where = f"{file}, model {name!r}"
        if problem := name_problem(name):
            raise ParameterError(f"{where}: {problem}.")
        if name in variant_names:
            record = _variant(where, name, tables, bases)
        else:
            table = checked(ModelTable, tables[name], where, context=file)
            record = _record(name, table, file.parent)
            if table.origin is not None and table.origin.parent in bases:
                # A training changes weights, not their number.
                record = replace(record, parameters=bases[table.origin.parent].parameters)
            bases[name] = record
        if record.label in taken_titles:
            raise ParameterError(
                f"{where}: expected a title that no other model has, got {record.label!r}."
            )
        records[name] = record
    title_counts = Counter(record.label for record in records.values())
    for title, count in title_counts.items():
        if count > 1:
            raise ParameterError(f"{file}: {count} models have the title {title!r}.")
    return tuple(records[name] for name in tables)


def _located(value: Any, info: ValidationInfo) -> Any:
    """Resolve a path relative to the folder of the file of descriptions, pydantic's context."""
    if not isinstance(value, str):
        return value
    file: Any = info.context
    with as_refusal():
        return settings.located(value, file.parent)


LocatedPath = Annotated[Path, BeforeValidator(_located), expected("a path")]
Positive = Annotated[float, Field(gt=0, lt=1e30)]
Finite = Annotated[float, Field(gt=-1e30, lt=1e30)]


class _Scaling(StrictTable):
    """A normalisation given as a table rather than by its name."""

    order: Literal["RGB", "BGR"] = "RGB"
    scale: Positive = 1.0
    mean: Annotated[tuple[Finite, Finite, Finite], Strict(False)]
    std: Annotated[tuple[Positive, Positive, Positive], Strict(False)]


def _normalisation(value: Any) -> Any:
    """The normalisation that ``value`` describes; None, which pydantic then refuses, if none."""
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
    """Parse an ``input_size`` that somebody typed, such as 224 or 48 x 192.

    Returns one side, or height and width; other text as it is, for validation to refuse.
    """
    match = re.fullmatch(r"\s*(\d{1,9})(?:\s*[x×]\s*(\d{1,9}))?\s*", text)
    if match is None:
        return text
    height = int(match[1])
    width = height if match[2] is None else int(match[2])
    return size_of(height, width)


def size_text(value: int | Sequence[int]) -> str:
    """``input_size`` as people type it."""
    if isinstance(value, int):
        return str(value)
    return " x ".join(str(side) for side in value)


class _Check(StrictTable):
    """An image for the check of a model, and the class that is expected of it."""

    image: LocatedPath
    class_: str = Field(alias="class")


class PreprocessingKeys(StrictTable):
    """The keys of a table that say how images become the model's input."""

    fit: Literal["crop", "squash", "letterbox", ""] = ""
    crop_pct: Annotated[float | None, expected("a share of the image from 0.5 to 1")] = None
    interpolation: str | None = None
    resize: str | None = None
    antialias: bool | None = None
    padding: Annotated[list[int] | None, expected("three whole numbers, [r, g, b]")] = None

    def stated(self) -> dict[str, Any]:
        """The keys that the table gives, with their values."""
        stated = {}
        for key in FRAMING_KEYS:
            value = getattr(self, key)
            if value not in (None, ""):
                stated[key] = value
        return stated


MOST_TEMPLATES = 100
"""Of a model; the paper has 80 for ImageNet."""

LONGEST_TEMPLATE = 200


def _check_template(text: str) -> str:
    if text.count("{}") != 1 or len(text) > LONGEST_TEMPLATE:
        raise ValueError(text)
    return text


Template = Annotated[str, AfterValidator(_check_template)]


class ModelTable(PreprocessingKeys, CallOptions):
    """A model's table in the file; the keys are in the order in which they are documented."""

    path: LocatedPath | None = None
    function: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"),
        expected('"module:name"'),
    ] = None
    labels: Annotated[
        Literal["imagenet"] | list[str] | LocatedPath,
        Field(union_mode="left_to_right"),
        expected('"imagenet", a list of names, or a file with one class per line'),
    ]
    templates: Annotated[
        list[Template],
        Field(min_length=1, max_length=MOST_TEMPLATES),
        expected(
            f"a list of 1 to {MOST_TEMPLATES} texts of up to {LONGEST_TEMPLATE} characters, each "
            'with {} once, such as "a photo of a {}."'
        ),
    ] = Field(default=[TEMPLATE])
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
        """The framing that the keys describe, at the longer side of the input.

        Without any key of preprocessing, images are framed as study images.
        """
        stated = self.stated()
        if not stated:
            return STUDY_FRAMING
        side = self.input_size if isinstance(self.input_size, int) else max(self.input_size)
        return Framing.of({**stated, "side": side})

    @model_validator(mode="after")
    def _check_framing(self) -> Self:
        with as_refusal():
            _ = self.framing
        return self

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.path is None) == (self.function is None):
            raise RefusedError("expected either path, a model file, or function")
        call_keys = self.model_fields_set.intersection(CALL_KEYS)
        if self.path and call_keys:
            raise RefusedError(f"expected {min(call_keys)} with a function only")
        if "templates" in self.model_fields_set:
            problem = templates_problem(self.path)
            if problem:
                raise RefusedError(problem)
        if isinstance(self.labels, list):
            with as_refusal():
                check_class_names(self.labels, "labels", "name")
        return self

    def file(self, folder: Path) -> UserFile:
        """The model file or the function; its module is also looked for in ``folder``."""
        features: tuple[str, ...] = ()
        if self.features != "auto":
            features = tuple(dict.fromkeys(self.features))  # each layer once, in their order
        if self.path:
            return UserFile(
                self.path, self.output, features, self.runtime, templates=tuple(self.templates)
            )
        reference = self.function or ""
        options = CallOptions(**{key: getattr(self, key) for key in CALL_KEYS})
        call = PythonCall(reference, folder, options=options)
        source = source_of(reference, folder)
        return UserFile(source, self.output, features, kind=FUNCTION, call=call)


REQUIRED = ("path", "labels", "input_size", "normalisation")
OPTIONAL = tuple(key for key in ModelTable.key_names() if key not in REQUIRED)


def _record(name: str, table: ModelTable, folder: Path) -> ModelRecord:
    if isinstance(table.input_size, tuple):
        height, width = table.input_size
    else:
        height = width = table.input_size
    check_pictures: tuple[CheckPicture, ...] = ()
    if table.check is not None:
        check_pictures = (CheckPicture(table.check.image, (table.check.class_,)),)
    return ModelRecord(
        name=name,
        label=_title(name, table.title),
        group=OWN,
        family=table.family,
        year=table.year,
        parameters=None,
        input_size=max(height, width),
        input_shape=None if height == width else (height, width),
        normalisation=table.normalisation,
        stages=(),
        weights=user_file(table.file(folder)),
        build=lambda: None,  # it is loaded whole
        framing=table.framing,
        origin=table.origin,
        accuracy=table.accuracy,
        by_default=table.default,
        labels=_labels(name, table.labels),
        check_pictures=check_pictures,
    )


def _labels(name: str, stated: str | list[str] | Path) -> Callable[[], Labels]:
    if isinstance(stated, list):
        return partial(_listed_labels, name, tuple(stated))
    if isinstance(stated, Path):
        return partial(read_labels, stated)
    return imagenet


@lru_cache(maxsize=16)
def _listed_labels(name: str, class_names: tuple[str, ...]) -> Labels:
    return named_classes(name, class_names)


def _title(name: str, title: str | None) -> str:
    return name if title is None else title.strip()


class VariantTable(PreprocessingKeys):
    """The table of a variant: another model with a temperature or preprocessing of its own."""

    of: str
    temperature: Annotated[float, Field(ge=0.05, le=20)] = 1.0  # as of the remedy
    side: int | None = None
    title: str | None = None
    default: bool = False

    @model_validator(mode="after")
    def _check_difference(self) -> Self:
        differences = {"temperature", "side", *FRAMING_KEYS}
        if differences.isdisjoint(self.model_fields_set):
            raise RefusedError("expected a temperature, a side or another key of preprocessing")
        return self

    def framing(self, base: Framing) -> Framing:
        """The framing ``base`` with the values of the table; raises as ``Framing.of``."""
        values = base.as_dict()
        if self.side is not None:
            values["side"] = self.side
        values.update(self.stated())
        return Framing.of(values)


def _variant(
    where: str, name: str, tables: Mapping[str, Any], bases: Mapping[str, ModelRecord]
) -> ModelRecord:
    table = checked(VariantTable, tables[name], where)
    base = bases.get(table.of)
    if base is None:
        reason = "which is one" if table.of in tables else "which does not exist"
        raise ParameterError(
            f"{where}: expected of to name a model that is no variant itself, got {table.of!r}, "
            f"{reason}."
        )
    try:
        framing = table.framing(base.framing)
    except (ParameterError, UnknownNameError) as error:
        raise ParameterError(f"{where}: {error}") from error
    return replace(
        calibrated(name, base, table.temperature),
        label=_title(name, table.title),
        framing=framing,
        by_default=table.default,
    )


def calibrated(name: str, base: ModelRecord, temperature: float) -> ModelRecord:
    """The model ``name`` that is ``base`` with its logits divided by ``temperature``."""
    # The reference probabilities are those of the base: a temperature changes them.
    check_pictures = tuple(replace(picture, probability=None) for picture in base.check_pictures)
    return replace(
        base,
        name=name,
        label=name,
        group=OWN,
        base=base,
        temperature=temperature,
        by_default=False,
        accuracy=None,  # its means of probabilities are those of the base
        check_pictures=check_pictures,
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
    table_lines = [f"[{header}]"]
    table_lines.extend(f"{key} = {as_toml(value)}" for key, value in values.items())
    return "\n".join(table_lines) + "\n"


def as_toml(value: Any) -> str:
    """``value`` as TOML on one line."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items())
        return "{" + pairs + "}"
    if isinstance(value, list | tuple):
        items = ", ".join(as_toml(item) for item in value)
        return f"[{items}]"
    # A JSON string is one of TOML, but for the delete character, which TOML wants escaped.
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
    if path.is_relative_to(folder):
        return str(path.relative_to(folder))
    return str(path)


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

    The names of its ``classes``, if given, are written to the file that ``labels`` names. If the
    model lies in a temporary ``folder``, that is copied beside the user's file. Raises what
    ``check`` raises, and ``ParameterError`` where something cannot be written.
    """
    file = described_in()
    with _locked(file) as text:
        check(name, values)
        if text:
            text += "\n" if text.endswith("\n") else "\n\n"
        # Before anything is written: the file must be readable again with the new table.
        _tables(file, text + entry_text(name, values))
        labels_file = file.parent / label_file(name)
        labels_content = lines(classes)
        if classes:
            _check_labels_file(labels_file, labels_content)
        if folder is not None:
            stored_folder = _stored_folder(name)
            _copy(folder, stored_folder)
            stored_model = stored_folder / Path(values["path"]).name
            values = {**values, "path": relative(stored_model)}
        if classes:
            write_whole(labels_file, labels_content)
        write_whole(file.resolve(), (text + entry_text(name, values)).encode())
    refresh()
    return file


def _check_labels_file(path: Path, content: bytes) -> None:
    """Raise ``ParameterError`` if there is a file at ``path`` with another ``content``."""
    if not path.exists():
        return
    # The size comes first, so that a large file is not read into memory.
    if stored_bytes(path) != len(content) or path.read_bytes() != content:
        raise ParameterError(
            f"Expected no file {path}, got one with other classes: remove it, or choose "
            "another name."
        )


def _stored_folder(name: str) -> Path:
    return described_in().parent / STORE / name


def _copy(folder: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)  # an interruption may have left a part there
    try:
        shutil.copytree(folder, target)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        if error.strerror:
            message = error.strerror
        else:
            # A shutil.Error lists (source, target, message) of each file that failed.
            message = error.args[0][0][-1]
        reason, _, _ = message.partition(": ")
        raise ParameterError(
            f"The model cannot be written to {target}: {reason}. Make room, then try again."
        ) from error


def remove(name: str) -> Path:
    """Remove the model ``name`` from the user's file and the registry; return the file.

    The files that adding it wrote are removed, too; its model file stays unless it was uploaded.
    Raises ``UnknownNameError`` where there is no such model, and ``ParameterError`` for the base
    of another model or where its lines cannot be told from those of others.
    """
    file = described_in()
    with _locked(file) as text:
        tables = _tables(file, text)
        if name not in tables:
            hint = did_you_mean(name, tables) if tables else ""
            raise UnknownNameError(f"{file} describes no model called {name!r}. {hint}".strip())
        check_no_base(name, _values_of_key("of", tables))
        others = {key: table for key, table in tables.items() if key != name}
        remaining_text = _without(name, text)
        if _tables(file, remaining_text) != others:
            raise ParameterError(
                f"The lines of {name!r} in {file} cannot be separated from the others: remove them "
                "by hand."
            )
        write_whole(file.resolve(), remaining_text.encode())
        # A table written by hand may have an invalid name, which could lead out of the folder.
        if NAME.fullmatch(name):
            shutil.rmtree(_stored_folder(name), ignore_errors=True)
            _remove_labels_file(name, file.parent, tables)
    refresh()
    return file


def _values_of_key(key: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    """The value of ``key`` in the table of each model, None where it has no such key."""
    return {name: table.get(key) for name, table in tables.items() if isinstance(table, dict)}


def _remove_labels_file(name: str, folder: Path, tables: Mapping[str, Any]) -> None:
    """Remove the file of classes that adding ``name`` wrote, unless another model uses it."""
    written_file = folder / label_file(name)
    labels = _values_of_key("labels", tables)
    users = []
    for model, path in labels.items():
        if isinstance(path, str) and folder / path == written_file:
            users.append(model)
    if users == [name] and labels[name] == written_file.name:
        written_file.unlink(missing_ok=True)


def _without(name: str, text: str) -> str:
    """``text`` without the lines of the table ``name``."""
    remaining_lines = []
    inside = False
    for line in text.splitlines(keepends=True):
        header = _HEADER.match(line)
        if header:
            inside = _header_name(header) == name
        if not inside:
            remaining_lines.append(line)
    return "".join(remaining_lines)


def _header_name(header: re.Match[str]) -> str:
    quoted, literal, bare = header.groups()
    if quoted is not None:
        return str(json.loads(f'"{quoted}"'))
    return str(literal or bare)


@contextmanager
def _locked(file: Path) -> Iterator[str]:
    """The text of ``file``, locked against changes by other processes."""
    with file_errors(f"{file} cannot be written"):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(file):
            yield _text(file)


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
