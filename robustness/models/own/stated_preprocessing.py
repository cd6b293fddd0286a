"""The preprocessing that model files and other libraries state, as keys of ``models.toml``.

What they say may be anything: each function returns nothing for what it does not understand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustness.base.errors import RobustnessError
from robustness.base.files import read_regular
from robustness.models.catalogue.records import CAFFE, INSIDE_MODEL, MINUS_ONE_TO_ONE, TORCH
from robustness.models.file_formats.formats import format_of
from robustness.models.file_formats.model_format import Quantisation, UnusableError
from robustness.models.graph.use import Shape
from robustness.models.model_record import Normalisation
from robustness.pictures.fitting import Framing
from robustness.pictures.resizing import PIL

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
JATIC = "JATIC_ONNX"
"""The interface of the JATIC Interoperability Requirements, version 1: pixels from 0 to 1 in, class
probabilities out, and a JSON file beside the model that says so."""

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_MOST_BYTES, _MOST_FILES = 4 * 2**20, 100

_TIMM_FITS = {"center": "crop", "squash": "squash", "border": "letterbox"}
_PILLOW_NUMBERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
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


def read_object(file: Path) -> dict[str, Any]:
    """The object in the JSON ``file``; raises ``OSError`` or ``ValueError`` where it is none."""
    table = json.loads(read_regular(file, _MOST_BYTES))
    if not isinstance(table, dict):
        raise ValueError("not an object")
    return table


# --- in a file, or beside it ----------------------------------------------------------------------


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
        if values := of_hugging_face(read_object(path.parent / PREPROCESSOR)):
            return values, PREPROCESSOR
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
    return read_object(path.parent / CONFIG)["pretrained_cfg"], CONFIG


def _of_integers(path: Path) -> tuple[Normalisation, str] | None:
    quantised = format_of(path).numbers(path).input
    return None if quantised is None else (of_integers(quantised), "the quantisation of its input")


def of_integers(quantised: Quantisation) -> Normalisation:
    """The normalisation that maps pixels 0 to 255 to the integers of a quantised input."""
    zero = float(quantised.zero_point - quantised.lowest)
    return Normalisation("RGB", 255.0, (zero,) * 3, (1 / quantised.scale,) * 3)


def _of_jatic(path: Path) -> tuple[Normalisation, str] | None:
    return (Normalisation(), JATIC) if jatic_metadata(path) else None


def _of_hugging_face(path: Path) -> tuple[Normalisation, str]:
    config = read_object(path.parent / PREPROCESSOR)
    scale = 255 * float(config.get("rescale_factor", 1 / 255))
    scale = scale if config.get("do_rescale", True) else 255.0
    if not config.get("do_normalize", True):
        return Normalisation(scale=scale), PREPROCESSOR
    return _table(scale, config["image_mean"], config["image_std"]), PREPROCESSOR


def _of_timm(path: Path) -> tuple[Normalisation, str]:
    config, source = _timm_config(path)
    return _table(1.0, config["mean"], config["std"]), source


def _table(scale: float, mean: Any, std: Any) -> Normalisation:
    red, green, blue = map(float, mean)
    first, second, third = map(float, std)
    if min(first, second, third, scale) <= 0:
        raise ValueError("a spread or a scale of 0")
    return Normalisation("RGB", round(scale, 9), (red, green, blue), (first, second, third))


def jatic_metadata(path: Path) -> dict[str, Any]:
    """The JATIC_ONNX metadata beside the model file ``path``; empty if there is none.

    Raises ``UnusableError`` for a model that is no image classifier by its metadata.
    """
    for file in sorted(path.parent.glob("*.json"))[:_MOST_FILES]:
        try:
            metadata = read_object(file)
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
    size = jatic_metadata(path).get("io", {}).get("input", {})
    height, width = size.get("height"), size.get("width")
    return (height, height) if isinstance(height, int) and height == width and height > 0 else None


# --- by library ----------------------------------------------------------------------------------


def timm_entry(config: Mapping[str, Any]) -> dict[str, Any]:
    """The input size, normalisation and framing by timm's ``pretrained_cfg``."""
    try:
        height, width = map(int, config["input_size"][-2:])
        normalisation = _table(1.0, config["mean"], config["std"])
    except (KeyError, TypeError, ValueError, IndexError):
        return {}
    entry = {"input_size": size_of(height, width), "normalisation": value_of(normalisation)}
    return {**entry, **(of_timm(config) if height == width else {})}


def of_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    """By timm's ``pretrained_cfg``, as its evaluation transform reads it."""
    try:
        side = int(config["input_size"][-1])
        fit = _TIMM_FITS[config.get("crop_mode") or "center"]
        if not {"crop_pct", "interpolation"} & set(config):
            return {}
        share = float(config.get("crop_pct") or Framing().share)
        padding = tuple(round(255 * float(value)) for value in config["mean"])
        interpolation = config.get("interpolation") or "bicubic"
        return _values(Framing(fit, side, share, interpolation, PIL, padding=padding))  # type: ignore[arg-type]
    except (RobustnessError, KeyError, TypeError, ValueError, IndexError, AttributeError):
        return {}


def of_hugging_face(config: Mapping[str, Any]) -> dict[str, Any]:
    """By a ``preprocessor_config.json``; transformers resize bytes as Pillow does.

    Their crop may begin a pixel before that of torchvision, where the rest is odd.
    """
    try:
        if not config.get("do_resize", True):
            return {}
        size, crops = config["size"], bool(config.get("do_center_crop"))
        if isinstance(size, int):
            size = {"shortest_edge": size} if crops else {"height": size, "width": size}
        cropped = _side(config["crop_size"]) if crops else None
        share = float(config.get("crop_pct") or 1)
        if "shortest_edge" in size:
            fit, resized = "crop", int(size["shortest_edge"])
            if config.get("crop_pct") and resized >= _WHOLE:
                fit, share = "squash", 1.0
        else:
            fit, resized = "squash", _side(size)
        if cropped:
            share = share_of(cropped, resized)
        interpolation = _PILLOW_NUMBERS[int(config.get("resample", 2))]
        return _values(Framing(fit, cropped or resized, share, interpolation, PIL))
    except (RobustnessError, KeyError, TypeError, ValueError, IndexError, AttributeError):
        return {}


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


def of_torchvision(transforms: Any) -> dict[str, Any]:
    """By ``Weights.transforms()`` of torchvision, with ``input_size`` and ``normalisation``."""
    (side,), (resized,) = transforms.crop_size, transforms.resize_size
    share, interpolation = share_of(side, resized), transforms.interpolation.value
    mean, std = list(transforms.mean), list(transforms.std)
    return {
        **_values(Framing("crop", side, share, interpolation, PIL)),
        "input_size": side,
        "normalisation": {"mean": mean, "std": std},
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


def _values(framing: Framing) -> dict[str, Any]:
    """What a description says of ``framing``; raises ``ParameterError`` for one that is none."""
    values = Framing.of(framing.as_dict()).as_dict()
    del values["side"]
    return values
