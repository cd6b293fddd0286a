"""The user's own models: a TOML file describes them, and they join the registry beside the others.

[digits]
path = "digits.onnx"         # or .tflite, OpenVINO's .xml, .keras, a SavedModel folder
labels = "digits.txt"        # one class a line, or "imagenet"
input_size = 32              # pixels
normalisation = "0..1"       # or "-1..1", "0..255", "torch", "caffe", or a table
"""

from __future__ import annotations

import math
import re
import reprlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from robustness.base import settings
from robustness.base.disk import Version, read_regular, version
from robustness.base.errors import ParameterError
from robustness.base.text import did_you_mean
from robustness.base.toml import read_toml
from robustness.models.catalogue.common import CAFFE, INSIDE_MODEL, MINUS_ONE_TO_ONE, TORCH
from robustness.models.file_formats.kinds import RUNTIMES, stands_in
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
"""By the range of pixels that a model was trained on, or the name of Keras' preprocessing mode."""

OUTPUTS = ("probabilities", "logits")
STAND_IN = " (as OpenVINO computes it)"
"""What the title of a quantised model ends with that is not asked by its own runtime."""

SMALLEST, LARGEST = 8, 1024
"""Range of input sizes in pixels."""

_LARGEST_LABELS = 16 * 2**20  # bytes of the file
REQUIRED = ("path", "labels", "input_size", "normalisation")
OPTIONAL = ("output", "features", "runtime", "title", "family", "year", "check")
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


def described_in() -> Path:
    """The file that describes the user's models, be it there or not."""
    return settings.path(settings.MODELS) or Path.cwd() / DEFAULT_FILE


def _described() -> tuple[ModelRecord, ...]:
    file = described_in()
    try:
        found = version(file)
    except OSError:
        if settings.path(settings.MODELS):
            raise ParameterError(
                f"There is no file {file}; the setting 'models' names it as the description of "
                "your own models."
            ) from None
        return ()
    return _records(file, found)


@lru_cache(maxsize=4)
def _records(file: Path, _version: Version) -> tuple[ModelRecord, ...]:
    return records_of(file, read_toml(file))


def records_of(file: Path, tables: Mapping[str, Any]) -> tuple[ModelRecord, ...]:
    """The models that ``tables`` of ``file`` describe; raises ``ParameterError`` as ``refresh``."""
    records = tuple(_record(_Table(file, name, table)) for name, table in tables.items())
    for title, times in Counter(record.label for record in records).items():
        if times > 1:
            raise ParameterError(f"{file}: {times} models have the title {title!r}.")
    return records


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
        try:
            return settings.located(text, self.file.parent)
        except ParameterError as error:
            raise ParameterError(f"{self.file}, model {self.name!r}: {error}") from error


def _record(table: _Table) -> ModelRecord:
    _check_keys(table)
    size = table.get("input_size", int)
    if not SMALLEST <= size <= LARGEST:
        raise table.error(f"expected an input_size from {SMALLEST} to {LARGEST}, got {size}")
    output = table.get("output", str, OUTPUTS[0])
    if output not in OUTPUTS:
        raise table.error(f"expected output to be one of {', '.join(OUTPUTS)}, got {output!r}")
    path = table.file_at(table.get("path", str))
    asked = table.get("runtime", str, "")
    if asked not in ("", *RUNTIMES):
        raise table.error(f"expected runtime to be one of {', '.join(RUNTIMES)}, got {asked!r}")
    return ModelRecord(
        name=table.name,
        label=_title(table) + (STAND_IN if stands_in(path, asked) else ""),
        group=OWN,
        family=table.get("family", str, "Your own"),
        year=_year(table),
        parameters=None,
        input_size=size,
        normalisation=_normalisation(table),
        stages=(),
        weights=UserFile(path, output, _features(table), asked),
        build=_not_built,
        labels=_labels(table),
        known_pictures=_known_pictures(table),
    )


def _title(table: _Table) -> str:
    """What the pages call it, which must tell it from every other model."""
    title: str = table.get("title", str, table.name).strip()
    if not title or title in {r.label for r in REGISTRY if r.group != OWN}:
        raise table.error(f"expected a title that no other model has, got {title!r}")
    return title


def _year(table: _Table) -> int | None:
    year: int | None = table.get("year", int)
    if year is not None and not 1900 <= year <= 2100:
        raise table.error(f"expected a year from 1900 to 2100, got {year}")
    return year


def _not_built() -> Any:
    raise TypeError("a model of the user's is loaded whole, never built")


def _check_keys(table: _Table) -> None:
    if not _NAME.fullmatch(table.name):
        raise table.error("a name consists of letters, digits, '_', '.' and '-'")
    if table.name in REGISTRY and REGISTRY[table.name].group != OWN:
        raise table.error("a model of that name is built in; choose another name")
    missing = [key for key in REQUIRED if key not in table.values]
    if missing:
        raise table.error(f"{missing[0]!r} is missing; needed are {', '.join(REQUIRED)}")
    unknown = [key for key in table.values if key not in REQUIRED + OPTIONAL]
    if unknown:
        hint = did_you_mean(unknown[0], REQUIRED + OPTIONAL)
        raise table.error(f"there is nothing called {unknown[0]!r}. {hint}")


def _normalisation(table: _Table) -> Normalisation:
    value = table.values["normalisation"]
    if isinstance(value, str) and value in NORMALISATIONS:
        return NORMALISATIONS[value]
    if isinstance(value, dict) and set(value) == {"order", "scale", "mean", "std"}:
        (scale,), mean, std = (
            _numbers(numbers) for numbers in ([value["scale"]], value["mean"], value["std"])
        )
        if (
            value["order"] in ("RGB", "BGR")
            and len(mean) == len(std) == 3
            and all(map(math.isfinite, (scale, *mean, *std)))
            and min(scale, *std) > 0
        ):
            return Normalisation(value["order"], scale, mean, std)
    known = ", ".join(f'"{name}"' for name in NORMALISATIONS)
    raise table.error(
        f'expected normalisation to be one of {known}, or a table {{order = "RGB", scale = 255, '
        f"mean = [r, g, b], std = [r, g, b]}}, got {reprlib.repr(value)}"
    )


def _numbers(values: Any) -> tuple[float, ...]:
    """``values`` of a list as numbers, NaN for each that is none; of anything else, none."""

    def number(value: Any) -> float:
        kind = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if kind and abs(value) < 1e30 else math.nan

    return tuple(map(number, values)) if isinstance(values, list) else ()


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
        return _read_labels(file, version(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ParameterError(
            f"The label file {file} cannot be read: {reason}. Expected a text file with one class "
            "a line."
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
        problem = f"{Counter(names).most_common(1)[0][0]!r} stands in it twice"
    if problem:
        raise ParameterError(
            f"The label file {file} cannot be used: expected two or more different classes, one a "
            f"line, {problem}."
        )
    return Labels(title=file.stem, names=tuple(names))


def _known_pictures(table: _Table) -> tuple[KnownPicture, ...]:
    value = table.get("check", dict)
    if value is None:
        return ()
    if set(value) != {"image", "class"} or not all(isinstance(v, str) for v in value.values()):
        raise table.error(f'expected check = {{image = "file", class = "name"}}, got {value!r}')
    return (KnownPicture(table.file_at(value["image"]), (value["class"],)),)
