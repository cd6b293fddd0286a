"""The user's own models: a TOML file describes them, and they join the registry beside the others.

[digits]
path = "digits.keras"        # a .keras file or a SavedModel folder
labels = "digits.txt"        # one class a line, or "imagenet"
input_size = 32              # pixels
normalisation = "0..1"       # or "-1..1", "0..255", "torch", "caffe", or a table
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from robustness import settings
from robustness.errors import ParameterError
from robustness.models.catalogue.common import CAFFE, INSIDE_MODEL, MINUS_ONE_TO_ONE, TORCH
from robustness.models.labels import Labels, imagenet
from robustness.models.loaded import LOADED
from robustness.models.record import (
    OWN,
    REGISTRY,
    Check,
    ModelRecord,
    Normalisation,
    OwnFile,
)

DEFAULT_FILE = "models.toml"

NORMALISATIONS: Mapping[str, Normalisation] = {
    "0..1": Normalisation("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "-1..1": MINUS_ONE_TO_ONE,
    "0..255": INSIDE_MODEL,
    "torch": TORCH,
    "caffe": CAFFE,
}
"""By the range of pixels that a model was trained on, or the name of Keras' preprocessing mode."""

OUTPUTS = ("probabilities", "logits")
SMALLEST, LARGEST = 8, 1024
"""Range of input sizes in pixels."""

_REQUIRED = ("path", "labels", "input_size", "normalisation")
_OPTIONAL = ("output", "features", "title", "family", "year", "check")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_changing = threading.Lock()


def refresh() -> None:
    """Has the registry hold the models of the user's file as it is now; cheap when unchanged.

    The file is ``models.toml`` in the working folder, or what the setting ``models`` names. Raises
    ``ParameterError`` for a file that cannot be understood; then the registry holds none of them.
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


def _described() -> tuple[ModelRecord, ...]:
    named = settings.path(settings.MODELS)
    file = named or Path.cwd() / DEFAULT_FILE
    try:
        found = file.stat()
    except OSError:
        if named:
            raise ParameterError(
                f"There is no file {file}; the setting 'models' names it as the description of "
                "your own models."
            ) from None
        return ()
    return _read(file, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _read(file: Path, *_version: int) -> tuple[ModelRecord, ...]:
    tables = settings.read_toml(file)
    return tuple(_record(_Table(file, name, table)) for name, table in tables.items())


class _Table:
    """One model's table: values by key, each checked as it is asked for."""

    def __init__(self, file: Path, name: str, values: Any) -> None:
        self.file = file
        self.name = name
        if not isinstance(values, dict):
            raise self.error(f"expected a table [{name}] for each model, got {values!r}")
        self.values = values

    def error(self, problem: str) -> ParameterError:
        return ParameterError(f"{self.file}, model {self.name!r}: {problem}.")

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        value = self.values.get(key, default)
        if key in self.values and (not isinstance(value, kind) or isinstance(value, bool)):
            kinds = {str: "a text", int: "a whole number", dict: "a table"}
            raise self.error(f"expected {key} to be {kinds[kind]}, got {value!r}")
        return value

    def file_at(self, text: str) -> Path:
        return self.file.parent / Path(text).expanduser()


def _record(table: _Table) -> ModelRecord:
    _check_keys(table)
    size = table.get("input_size", int)
    if not SMALLEST <= size <= LARGEST:
        raise table.error(f"expected an input_size from {SMALLEST} to {LARGEST}, got {size}")
    output = table.get("output", str, OUTPUTS[0])
    if output not in OUTPUTS:
        raise table.error(f"expected output to be one of {', '.join(OUTPUTS)}, got {output!r}")
    path = table.file_at(table.get("path", str))
    return ModelRecord(
        name=table.name,
        label=table.get("title", str, table.name),
        group=OWN,
        family=table.get("family", str, "Your own"),
        year=table.get("year", int),
        parameters=None,
        input_size=size,
        normalisation=_normalisation(table),
        stages=(),
        weights=OwnFile(path, output, _features(table)),
        build=_not_built,
        labels=_labels(table),
        checks=_checks(table),
    )


def _not_built() -> Any:
    raise TypeError("a model of the user's is loaded whole, never built")


def _check_keys(table: _Table) -> None:
    if not _NAME.fullmatch(table.name):
        raise table.error("a name consists of letters, digits, '_', '.' and '-'")
    if table.name in REGISTRY and REGISTRY[table.name].group != OWN:
        raise table.error("a model of that name is built in; choose another name")
    missing = [key for key in _REQUIRED if key not in table.values]
    if missing:
        raise table.error(f"{missing[0]!r} is missing; needed are {', '.join(_REQUIRED)}")
    unknown = [key for key in table.values if key not in _REQUIRED + _OPTIONAL]
    if unknown:
        known = ", ".join(_REQUIRED + _OPTIONAL)
        raise table.error(f"there is nothing called {unknown[0]!r}; known: {known}")


def _normalisation(table: _Table) -> Normalisation:
    value = table.values["normalisation"]
    if isinstance(value, str) and value in NORMALISATIONS:
        return NORMALISATIONS[value]
    if isinstance(value, dict) and set(value) == {"order", "scale", "mean", "std"}:
        numbers = [value["scale"], *value["mean"], *value["std"]]
        if (
            value["order"] in ("RGB", "BGR")
            and len(value["mean"]) == len(value["std"]) == 3
            and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
            and all(n > 0 for n in (value["scale"], *value["std"]))
        ):
            mean, std = (tuple(map(float, value[key])) for key in ("mean", "std"))
            return Normalisation(value["order"], float(value["scale"]), mean, std)  # type: ignore[arg-type]
    known = ", ".join(f'"{name}"' for name in NORMALISATIONS)
    raise table.error(
        f'expected normalisation to be one of {known}, or a table {{order = "RGB", scale = 255, '
        f"mean = [r, g, b], std = [r, g, b]}}, got {value!r}"
    )


def _features(table: _Table) -> tuple[str, ...]:
    value = table.values.get("features", "auto")
    if value == "auto":
        return ()
    if isinstance(value, list) and value and all(isinstance(layer, str) for layer in value):
        return tuple(dict.fromkeys(value))
    raise table.error(f'expected features to be "auto" or a list of layer names, got {value!r}')


def _labels(table: _Table) -> Callable[[], Labels]:
    value = table.get("labels", str)
    return imagenet if value == "imagenet" else partial(labels_of, table.file_at(value))


def labels_of(file: Path) -> Labels:
    """The classes in ``file``, one a line; raises ``ParameterError`` if it cannot serve."""
    try:
        found = file.stat()
        return _read_labels(file, found.st_mtime_ns, found.st_size)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ParameterError(
            f"The label file {file} cannot be read: {reason}. Expected a text file with one class "
            "a line."
        ) from error


@lru_cache(maxsize=16)
def _read_labels(file: Path, *_version: int) -> Labels:
    names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    while names and not names[-1]:
        names.pop()
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if len(names) < 2 or twice is not None:
        problem = f"{twice!r} stands in it twice" if twice is not None else f"got {len(names)}"
        raise ParameterError(
            f"The label file {file} cannot be used: expected two or more different classes, one a "
            f"line, {problem}."
        )
    return Labels(title=file.stem, names=tuple(names))


def _checks(table: _Table) -> tuple[Check, ...]:
    value = table.get("check", dict)
    if value is None:
        return ()
    if set(value) != {"image", "class"} or not all(isinstance(v, str) for v in value.values()):
        raise table.error(f'expected check = {{image = "file", class = "name"}}, got {value!r}')
    return (Check(table.file_at(value["image"]), (value["class"],)),)
