"""Classes, normalisation and licence, as a model file or the files beside it state them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustness.base.disk import read_regular
from robustness.models.file_formats.formats import format_of
from robustness.models.file_formats.model_format import Quantisation
from robustness.models.model_record import Normalisation
from robustness.models.own.package import JATIC, jatic

_MOST_BYTES = 4 * 2**20
_LONGEST_LICENCE = 80
_KEYS = ("names", "labels", "classes", "id2label", "index2label", "label_names")
"""Keys of class names in the metadata of Ultralytics, Hugging Face, JATIC and timm."""

_PREPROCESSOR = "preprocessor_config.json"
_CONFIG = "config.json"


def classes_told(path: Path, count: int) -> tuple[str, ...]:
    """The names of the ``count`` classes of the model file ``path``; empty if unknown.

    In the metadata of an ONNX file, in the archive at the end of a TensorFlow Lite file, and in the
    ``config.json`` of its folder, a JSON file of its own name, or JATIC_ONNX metadata beside it.
    """
    for read in (_in_metadata, _in_json):
        with suppress(Exception):  # foreign metadata may hold anything
            for names in read(path):
                if len(names) == count == len(set(names)) and all(map(str.strip, names)):
                    return tuple(" ".join(name.split()) for name in names)
    return ()


def licence_told(path: Path) -> str:
    """The licence of the model file ``path`` by its metadata or the model card beside it; or ""."""
    with suppress(Exception):  # as above
        for key, text in format_of(path).metadata(path):
            if key.lower() in ("license", "licence"):
                return " ".join(text.split())[:_LONGEST_LICENCE]
        card = read_regular(path.parent / "README.md", _MOST_BYTES).decode()
        if found := re.search(r"\A---\n(?:.*\n)*?license: *(\S.*)\n(?:.*\n)*?---\n", card):
            return found[1][:_LONGEST_LICENCE]
    return ""


def _in_metadata(path: Path) -> Iterator[list[str]]:
    texts = list(format_of(path).metadata(path))
    for wanted in _KEYS:
        yield from (_names(_parsed(text)) for key, text in texts if key == wanted)


def _in_json(path: Path) -> Iterator[list[str]]:
    if (told := jatic(path)).get("index2label"):
        yield _names(told["index2label"])
    for file in (path.with_suffix(".json"), path.parent / _CONFIG):
        with suppress(OSError, ValueError):
            told = _json(file)
            for key in _KEYS:
                if key in told:
                    yield _names(told[key])


def _parsed(text: str) -> Any:
    """A list or a mapping written as JSON or as Python, or with commas or lines."""
    for parse in (json.loads, ast.literal_eval):
        with suppress(Exception):
            return parse(text)
    return text.splitlines() if "\n" in text else text.split(",")


def _names(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value, key=int)]
    return [str(name).strip() for name in value]


def _json(file: Path) -> dict[str, Any]:
    found = json.loads(read_regular(file, _MOST_BYTES))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def normalisation_told(path: Path) -> tuple[Normalisation, str] | None:
    """The normalisation of the model file ``path`` and its source; None if unknown."""
    for read in (_of_integers, _of_jatic, _of_hugging_face, _of_timm):
        with suppress(Exception):  # as above
            if found := read(path):
                return found
    return None


def _of_integers(path: Path) -> tuple[Normalisation, str] | None:
    quantised = format_of(path).numbers(path).input
    if quantised is None:
        return None
    return of_integers(quantised), "the quantisation of its input"


def of_integers(quantised: Quantisation) -> Normalisation:
    """The normalisation that maps pixels 0 to 255 to the integers of a quantised input."""
    zero = float(quantised.zero_point - quantised.lowest)
    return Normalisation("RGB", 255.0, (zero,) * 3, (1 / quantised.scale,) * 3)


def _of_jatic(path: Path) -> tuple[Normalisation, str] | None:
    plain = Normalisation("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return (plain, JATIC) if jatic(path) else None


def _of_hugging_face(path: Path) -> tuple[Normalisation, str]:
    told = _json(path.parent / _PREPROCESSOR)
    scale = 255 * float(told.get("rescale_factor", 1 / 255))
    scale = scale if told.get("do_rescale", True) else 255.0
    if not told.get("do_normalize", True):
        return Normalisation("RGB", scale, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), _PREPROCESSOR
    return _table(scale, told["image_mean"], told["image_std"]), _PREPROCESSOR


def _of_timm(path: Path) -> tuple[Normalisation, str]:
    told = _json(path.parent / _CONFIG)["pretrained_cfg"]
    return _table(1.0, told["mean"], told["std"]), _CONFIG


def _table(scale: float, mean: Any, std: Any) -> Normalisation:
    red, green, blue = map(float, mean)
    first, second, third = map(float, std)
    if min(first, second, third, scale) <= 0:
        raise ValueError("a spread or a scale of 0")
    return Normalisation("RGB", round(scale, 9), (red, green, blue), (first, second, third))
