"""The facts that model files and other libraries state, as keys of ``models.toml``.

Foreign texts may say anything: each function returns nothing for what it does not understand. Only
the process with limits calls ``describe``.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from robustness.base.text import folded
from robustness.base.validation import read_object
from robustness.images.framing import PIL, Framing, check_framing
from robustness.models.catalogue import CAFFE, INSIDE_MODEL, MINUS_ONE_TO_ONE, TORCH
from robustness.models.formats import Quantisation, format_of
from robustness.models.graph import SIGMOID, FileFacts, Shape
from robustness.models.record import Normalisation, imagenet

IMAGENET = "imagenet"
INPUT_TYPE = "the type of its input"
"""Marks an input that takes integers."""

_ALIKE = 0.5
"""Share of matching names from which 1,000 classes count as ImageNet's."""

_KEYS = ("names", "labels", "classes", "id2label", "index2label", "label_names")
"""Keys of class names in the metadata of Ultralytics, Hugging Face and timm."""

NORMALISATIONS: Mapping[str, Normalisation] = {
    "0..1": Normalisation(),
    "-1..1": MINUS_ONE_TO_ONE,
    "0..255": INSIDE_MODEL,
    "torch": TORCH,
    "caffe": CAFFE,
}
"""Keyed by the range of pixels the model was trained on, or by Keras' preprocessing mode."""

FRAMING_KEYS = tuple(key for key in Framing._fields if key != "side")
"""The keys of ``models.toml`` that say how images become the input."""

OF_BYTES = "0..255"
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"

_TIMM_FITS = {"center": "crop", "squash": "squash", "border": "letterbox"}
_WHOLE = 384
"""From this side on, ConvNeXT's processor resizes whole images, whatever its ``crop_pct``."""


def size_of(height: int, width: int) -> int | list[int]:
    """The ``input_size`` of a network's input, as an entry has it."""
    return height if height == width else [height, width]


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


def framing_values(values: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` and what is ``stated`` beside them; a fit of one's own has its own crop."""
    crop = ("crop_pct", "padding") if values.get("fit") else ()
    return {**{key: value for key, value in stated.items() if key not in crop}, **values}


# --- of a file ------------------------------------------------------------------------------------


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
        sources["input_size"] = "the file"
    if facts.classes is not None:
        names = class_names(path, facts.classes)
        if names and not are_imagenet(names):
            sources["labels"] = "the file"
        elif facts.classes in (len(imagenet()), len(imagenet()) + 1):
            names = ()
            entry["labels"] = IMAGENET
            sources["labels"] = "the number of classes"
    stated, told_by = stated_entry(path)
    if facts.whole and "normalisation" not in stated:
        stated["normalisation"] = OF_BYTES
        told_by["normalisation"] = INPUT_TYPE
    square = facts.shape is not None and facts.shape[0] == facts.shape[1]
    for key in stated if square else {"normalisation"} & stated.keys():
        entry[key] = stated[key]
        sources[key] = told_by[key]
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


def class_names(path: Path, count: int) -> tuple[str, ...]:
    """The names of the ``count`` classes of the model file ``path``; empty if unknown.

    In the metadata of an ONNX file, in the archive at the end of a TensorFlow Lite file, and in the
    ``config.json`` of its folder or a JSON file of its own name.
    """
    for names in _listed_names(path):
        if len(names) == count == len(set(names)) and all(names):
            return tuple(" ".join(name.split()) for name in names)
    return ()


def _listed_names(path: Path) -> Iterator[list[str]]:
    with suppress(Exception):  # foreign metadata may hold anything
        texts = list(format_of(path).metadata(path))
        for name in _KEYS:
            yield from (_names(_parsed(text)) for key, text in texts if key == name)
    with suppress(Exception):
        for file in (path.with_suffix(".json"), path.parent / CONFIG):
            with suppress(OSError, ValueError):
                metadata = read_object(file)
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


def are_imagenet(names: Sequence[str]) -> bool:
    """Whether ``names`` are ImageNet's classes, with or without a background class first."""
    ours = imagenet()
    names = names[-len(ours) :]
    alike = sum(
        folded(mine) in {folded(part) for part in theirs.split(",")}
        for mine, theirs in zip(ours.names, names, strict=False)
    )
    return len(names) == len(ours) and alike >= _ALIKE * len(ours)


# --- preprocessing, in a file or beside it --------------------------------------------------------


def stated_entry(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The normalisation and framing that the model file ``path`` states, and where it does."""
    entry: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for stated, source in _statements(path):
        for keys in (("normalisation",), FRAMING_KEYS):
            if not entry.keys() & set(keys):  # the first counts
                entry |= {key: stated[key] for key in keys if key in stated}
        sources |= dict.fromkeys(entry.keys() - sources.keys(), source)
    return entry, sources


def _statements(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """What stands in the model file ``path`` and beside it, as entries with their sources."""
    with suppress(Exception):  # foreign metadata may hold anything
        if quantised := format_of(path).numbers(path).input:
            stated = {"normalisation": value_of(of_integers(quantised))}
            yield stated, "the quantisation of its input"
    with suppress(Exception):
        yield hugging_face_entry(read_object(path.parent / PREPROCESSOR)), PREPROCESSOR
    with suppress(Exception):
        config: dict[str, Any] = {}
        for key, text in format_of(path).metadata(path):
            with suppress(ValueError):  # a text that is not JSON
                config[key] = json.loads(text) if text[:1] in "[{0123456789" else text
        config = config.get("pretrained_cfg", config)
        if {"mean", "crop_pct", "interpolation"} & set(config):
            yield timm_entry(config), "the file"
        else:
            yield timm_entry(read_object(path.parent / CONFIG)["pretrained_cfg"]), CONFIG


def of_integers(quantised: Quantisation) -> Normalisation:
    """The normalisation that maps pixels 0 to 255 to the integers of a quantised input."""
    zero = float(quantised.zero_point - quantised.lowest)
    return Normalisation("RGB", 255.0, (zero,) * 3, (1 / quantised.scale,) * 3)


# --- by library ----------------------------------------------------------------------------------


def timm_entry(config: Mapping[str, Any]) -> dict[str, Any]:
    """By timm's ``pretrained_cfg``, as its evaluation transform reads it, with ``input_size``."""
    entry: dict[str, Any] = {}
    with suppress(Exception):  # it may hold anything
        entry["normalisation"] = _normalisation(1.0, config["mean"], config["std"])
    with suppress(Exception):
        height, side = map(int, config["input_size"][-2:])
        entry["input_size"] = size_of(height, side)
        if height == side and {"crop_pct", "interpolation"} & set(config):
            fit = _TIMM_FITS[config.get("crop_mode") or "center"]
            share = float(config.get("crop_pct") or Framing().share)
            interpolation = config.get("interpolation") or "bicubic"
            red, green, blue = (round(255 * float(value)) for value in config["mean"])
            padding = red, green, blue
            entry |= _framing(Framing(fit, side, share, interpolation, PIL, padding=padding))
    return entry


def hugging_face_entry(config: Mapping[str, Any]) -> dict[str, Any]:
    """By a ``preprocessor_config.json``; transformers resize bytes as Pillow does.

    Their crop may begin a pixel before that of torchvision, where the rest is odd.
    """
    entry: dict[str, Any] = {}
    with suppress(Exception):  # it may hold anything
        rescales = config.get("do_rescale", True)
        scale = 255 * float(config.get("rescale_factor", 1 / 255)) if rescales else 255.0
        entry["normalisation"] = (
            _normalisation(scale, config["image_mean"], config["image_std"])
            if config.get("do_normalize", True)
            else value_of(Normalisation(scale=scale))
        )
    with suppress(Exception):
        if not config.get("do_resize", True):
            return entry
        size = config["size"]
        crops = bool(config.get("do_center_crop"))
        if isinstance(size, int):
            size = {"shortest_edge": size} if crops else {"height": size, "width": size}
        share = float(config.get("crop_pct") or 1)
        if "shortest_edge" in size:
            fit = "crop"
            side = int(size["shortest_edge"])
            if config.get("crop_pct") and side >= _WHOLE:
                fit = "squash"
                share = 1.0
        else:
            fit = "squash"
            side = _side(size)
        if crops:
            side, resized = _side(config["crop_size"]), side
            share = share_of(side, resized)
        interpolation = Image.Resampling(int(config.get("resample", 2))).name.lower()
        entry |= _framing(Framing(fit, side, share, interpolation, PIL))
    return entry


def hugging_face_shape(folder: Path) -> Shape | None:
    """The size in ``preprocessor_config.json``: of the crop, or else of the resized image."""
    try:
        config = read_object(folder / PREPROCESSOR)
    except (OSError, ValueError):
        return None
    for value in (config.get("crop_size"), config.get("size")):
        if isinstance(value, dict):
            height = value.get("height", value.get("shortest_edge"))
            value = [height, value.get("width", height)]
        if shape := shape_of(value):
            return shape
    return None


def shape_of(value: Any) -> Shape | None:
    """Height and width of a side, or of two, greater than 0; None if it is neither."""
    sides = value if isinstance(value, list | tuple) else [value, value]
    fixed = len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides)
    return (sides[0], sides[1]) if fixed else None


def torchvision_entry(transforms: Any) -> dict[str, Any]:
    """By ``Weights.transforms()`` of torchvision, with ``input_size`` and ``normalisation``."""
    (side,) = transforms.crop_size
    (resized,) = transforms.resize_size
    share = share_of(side, resized)
    interpolation = transforms.interpolation.value
    return {
        **_framing(Framing("crop", side, share, interpolation, PIL)),
        "input_size": side,
        "normalisation": {"mean": list(transforms.mean), "std": list(transforms.std)},
    }


def is_torchvision(transforms: Any) -> bool:
    """Whether ``transforms`` are those of torchvision's weights for classification."""
    keys = ("crop_size", "resize_size", "interpolation", "mean", "std")
    return all(hasattr(transforms, key) for key in keys)


def share_of(side: int, resized: int) -> float:
    """The shortest ``crop_pct`` by which an image of ``resized`` pixels gives ``side``."""
    exact = side / resized
    shares = (round(exact, digits) for digits in range(1, 9))
    return next((share for share in shares if share and int(side / share) == resized), exact)


def _side(size: Any) -> int:
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    return int(size)


def _normalisation(scale: float, mean: Any, std: Any) -> str | dict[str, Any]:
    red, green, blue = map(float, mean)
    first, second, third = map(float, std)
    if min(first, second, third, scale) <= 0:
        raise ValueError("a spread or a scale of 0")
    means = (red, green, blue)
    spreads = (first, second, third)
    return value_of(Normalisation("RGB", round(scale, 9), means, spreads))


def _framing(framing: Framing) -> dict[str, Any]:
    """What a description says of ``framing``; raises ``ParameterError`` for one that is none."""
    values = check_framing(framing).as_dict()
    del values["side"]
    return values
