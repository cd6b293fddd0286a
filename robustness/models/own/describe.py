"""The facts in a model file, as its entry for ``models.toml``.

Foreign texts are parsed here: only the process with limits calls ``describe``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustness.base.disk import read_regular
from robustness.base.text import folded
from robustness.models.catalogue.records import CAFFE, INSIDE_MODEL, MINUS_ONE_TO_ONE, TORCH
from robustness.models.file_formats.formats import format_of
from robustness.models.file_formats.model_format import Quantisation, UnusableError
from robustness.models.graph.study_model import FileFacts
from robustness.models.graph.use import SIGMOID, Shape
from robustness.models.labels import Labels, imagenet
from robustness.models.model_record import Normalisation
from robustness.models.stated_framing import of_hugging_face, of_timm

NORMALISATIONS: Mapping[str, Normalisation] = {
    "0..1": Normalisation("RGB", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "-1..1": MINUS_ONE_TO_ONE,
    "0..255": INSIDE_MODEL,
    "torch": TORCH,
    "caffe": CAFFE,
}
"""Keyed by the range of pixels the model was trained on, or by Keras' preprocessing mode."""

IMAGENET = "imagenet"
OF_BYTES = "0..255"
INPUT_TYPE = "the type of its input"
"""Marks an input that takes integers."""

JATIC = "JATIC_ONNX"
"""The interface of the JATIC Interoperability Requirements, version 1: pixels from 0 to 1 in, class
probabilities out, and a JSON file beside the model that says so."""

_ALIKE = 0.5
"""Share of matching names from which 1,000 classes count as ImageNet's."""

_MOST_BYTES = 4 * 2**20
_MOST_FILES = 100
_LONGEST_LICENCE = 80
_KEYS = ("names", "labels", "classes", "id2label", "index2label", "label_names")
"""Keys of class names in the metadata of Ultralytics, Hugging Face, JATIC and timm."""

_PREPROCESSOR = "preprocessor_config.json"
_CONFIG = "config.json"


def describe(path: Path, facts: FileFacts) -> dict[str, Any]:
    """The ``format`` of the file, its ``entry`` for ``models.toml``, and what that is ``told_by``.

    ``outputs`` is the number of its classes, or None; ``classes`` are the names that the file gives
    them, unless these are ImageNet's; ``warning`` is why its output may be no logits.
    """
    entry: dict[str, Any] = {}
    sources: dict[str, str] = {}
    names: tuple[str, ...] = ()
    if facts.shape is not None:
        entry["input_size"] = size_of(*facts.shape)
        sources["input_size"] = JATIC if facts.shape == stated_shape(path) else "the file"
    if facts.classes is not None:
        names = class_names(path, facts.classes)
        if names and not are_imagenet(names):
            sources["labels"] = "the file"
        elif facts.classes in (len(imagenet()), len(imagenet()) + 1):
            names, entry["labels"], sources["labels"] = (), IMAGENET, "the number of classes"
    if (stated := stated_normalisation(path)) is not None:
        entry["normalisation"], sources["normalisation"] = value_of(stated[0]), stated[1]
    elif facts.whole:
        entry["normalisation"], sources["normalisation"] = OF_BYTES, INPUT_TYPE
    if facts.shape is not None and facts.shape[0] == facts.shape[1]:
        framing, source = stated_framing(path)
        entry |= framing
        sources |= dict.fromkeys(framing, source)
    if facts.logits is not None:
        entry["output"] = "logits" if facts.logits else "probabilities"
        sources["output"] = "its predictions"
    unclear = facts.logits is None and None not in (facts.shape, facts.classes)
    return {
        "format": format_of(path).name,
        "entry": entry,
        "told_by": sources,
        "outputs": facts.classes,
        "classes": names,
        "warning": SIGMOID if unclear else "",
    }


def size_of(height: int, width: int) -> int | list[int]:
    """The ``input_size`` of a network's input, as an entry has it."""
    return height if height == width else [height, width]


def class_names(path: Path, count: int) -> tuple[str, ...]:
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


def stated_licence(path: Path) -> str:
    """The licence of the model file ``path`` by its metadata or the model card beside it; or ""."""
    with suppress(Exception):  # as above
        for key, text in format_of(path).metadata(path):
            if key.lower() in ("license", "licence"):
                return " ".join(text.split())[:_LONGEST_LICENCE]
        card = read_regular(path.parent / "README.md", _MOST_BYTES).decode()
        if match := re.search(r"\A---\n(?:.*\n)*?license: *(\S.*)\n(?:.*\n)*?---\n", card):
            return match[1][:_LONGEST_LICENCE]
    return ""


def _in_metadata(path: Path) -> Iterator[list[str]]:
    texts = list(format_of(path).metadata(path))
    for name in _KEYS:
        yield from (_names(_parsed(text)) for key, text in texts if key == name)


def _in_json(path: Path) -> Iterator[list[str]]:
    if (metadata := _jatic(path)).get("index2label"):
        yield _names(metadata["index2label"])
    for file in (path.with_suffix(".json"), path.parent / _CONFIG):
        with suppress(OSError, ValueError):
            metadata = _json(file)
            yield from (_names(metadata[key]) for key in _KEYS if key in metadata)


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
    table = json.loads(read_regular(file, _MOST_BYTES))
    if not isinstance(table, dict):
        raise ValueError("not an object")
    return table


def stated_normalisation(path: Path) -> tuple[Normalisation, str] | None:
    """The normalisation of the model file ``path`` and its source; None if unknown."""
    for read in (_of_integers, _of_jatic, _of_hugging_face, _of_timm):
        with suppress(Exception):  # as above
            if stated := read(path):
                return stated
    return None


def stated_framing(path: Path) -> tuple[dict[str, Any], str]:
    """How images become the input of the model file ``path``, as an entry, and its source."""
    with suppress(Exception):  # as above
        if values := of_hugging_face(_json(path.parent / _PREPROCESSOR)):
            return values, _PREPROCESSOR
    with suppress(Exception):
        config, source = _timm_config(path)
        return of_timm(config), source
    return {}, ""


def _timm_config(path: Path) -> tuple[Mapping[str, Any], str]:
    """timm's configuration: in the metadata of the file ``path``, or beside it."""
    config: dict[str, Any] = {}
    for key, text in format_of(path).metadata(path):
        with suppress(ValueError):  # a text that is not JSON
            config[key] = json.loads(text) if text[:1] in "[{0123456789" else text
    config = config.get("pretrained_cfg", config)
    if {"mean", "crop_pct", "interpolation"} & set(config):
        return config, "the file"
    return _json(path.parent / _CONFIG)["pretrained_cfg"], _CONFIG


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
    return (plain, JATIC) if _jatic(path) else None


def _of_hugging_face(path: Path) -> tuple[Normalisation, str]:
    config = _json(path.parent / _PREPROCESSOR)
    scale = 255 * float(config.get("rescale_factor", 1 / 255))
    scale = scale if config.get("do_rescale", True) else 255.0
    if not config.get("do_normalize", True):
        return Normalisation("RGB", scale, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), _PREPROCESSOR
    return _table(scale, config["image_mean"], config["image_std"]), _PREPROCESSOR


def _of_timm(path: Path) -> tuple[Normalisation, str]:
    config, source = _timm_config(path)
    return _table(1.0, config["mean"], config["std"]), source


def _table(scale: float, mean: Any, std: Any) -> Normalisation:
    red, green, blue = map(float, mean)
    first, second, third = map(float, std)
    if min(first, second, third, scale) <= 0:
        raise ValueError("a spread or a scale of 0")
    return Normalisation("RGB", round(scale, 9), (red, green, blue), (first, second, third))


def value_of(normalisation: Normalisation) -> str | dict[str, Any]:
    """``normalisation`` for ``models.toml``: its name if it has one, else a table."""
    for name, usual in NORMALISATIONS.items():
        if usual == normalisation:
            return name
    plain = (normalisation.order, normalisation.scale) == ("RGB", 1.0)
    return {
        **({} if plain else {"order": normalisation.order, "scale": normalisation.scale}),
        "mean": list(normalisation.mean),
        "std": list(normalisation.std),
    }


def are_imagenet(names: Sequence[str]) -> bool:
    """Whether ``names`` are ImageNet's classes, with or without a background class first."""
    ours: Labels = imagenet()
    names = names[-len(ours) :]
    alike = sum(
        folded(mine) in {folded(part) for part in theirs.split(",")}
        for mine, theirs in zip(ours.names, names, strict=False)
    )
    return len(names) == len(ours) and alike >= _ALIKE * len(ours)


def _jatic(path: Path) -> dict[str, Any]:
    """The JATIC_ONNX metadata beside the model file ``path``; empty if there is none.

    Raises ``UnusableError`` for a model that is no image classifier by its metadata.
    """
    for file in sorted(path.parent.glob("*.json"))[:_MOST_FILES]:
        try:
            metadata = _json(file)
            name, use = metadata["interface"]["name"], metadata["io"]["interface"]
            channels = metadata["io"]["input"].get("channels", "RGB")
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if name == JATIC:
            if use == "IMAGE_CLASSIFICATION" and channels == "RGB":
                return metadata
            raise UnusableError(
                f"expected IMAGE_CLASSIFICATION of RGB images, got {use} of {channels} in "
                f"{file.name}"
            )
    return {}


def stated_shape(path: Path) -> Shape | None:
    """Height and width of the input by JATIC_ONNX metadata; None if free, not square or not there.

    Raises ``UnusableError`` for a model that is no image classifier by its metadata.
    """
    size = _jatic(path).get("io", {}).get("input", {})
    height, width = size.get("height"), size.get("width")
    return (height, height) if isinstance(height, int) and height == width and height > 0 else None
