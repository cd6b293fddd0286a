"""The facts that model files and other libraries state, as keys of ``models.toml``.

Foreign texts may say anything: each function leaves out what it does not understand. Only the
process with limits calls ``describe``.
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
from robustness.models.formats import CONFIG, OPEN_CLIP_CONFIG, Quantisation, format_of
from robustness.models.graph import SIGMOID, FileFacts, Shape
from robustness.models.record import Normalisation, imagenet

IMAGENET = "imagenet"
INPUT_TYPE = "the type of its input"
"""The source of a normalisation that is known because the input takes integers."""

_ALIKE = 0.5
"""Share of matching names from which 1,000 classes count as ImageNet's."""

_NAME_KEYS = ("names", "labels", "classes", "id2label", "index2label", "label_names")
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
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""Where newer transformers write the preprocessing, beside that of texts."""

_TIMM_FITS = {"center": "crop", "squash": "squash", "border": "letterbox"}
_OPEN_CLIP_FITS = {"shortest": "crop", "squash": "squash", "longest": "letterbox"}
_OPEN_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPEN_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""OpenAI's, which open_clip takes where a folder states none."""

_LEAST_SQUASHED_SIDE = 384
"""From this side on, ConvNeXT's processor resizes whole images, whatever its ``crop_pct``."""


def size_of(height: int, width: int) -> int | list[int]:
    """The ``input_size`` of a network's input, as an entry has it: one side if it is square."""
    if height == width:
        return height
    return [height, width]


def value_of(normalisation: Normalisation) -> str | dict[str, Any]:
    """``normalisation`` for ``models.toml``: its name if it has one, else a table."""
    for name, usual in NORMALISATIONS.items():
        if usual == normalisation:
            return name
    table: dict[str, Any] = {}
    if normalisation.order != "RGB" or normalisation.scale != 1.0:
        table["order"] = normalisation.order
        table["scale"] = normalisation.scale
    table["mean"] = list(normalisation.mean)
    table["std"] = list(normalisation.std)
    return table


def framing_values(values: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the ``values`` that the user gives with those that a file or a library has ``stated``.

    The user's count. With a fit of the user's, a stated ``crop_pct`` or ``padding`` is left out, as
    it belongs to the stated fit.
    """
    merged = dict(stated)
    if values.get("fit"):
        merged.pop("crop_pct", None)
        merged.pop("padding", None)
    merged.update(values)
    return merged


# --- of a file ------------------------------------------------------------------------------------


def describe(path: Path, facts: FileFacts) -> dict[str, Any]:
    """What the model file ``path`` tells of itself, as JSON-ready values.

    ``format`` is the name of its format. ``entry`` holds values for ``models.toml``, and
    ``told_by`` the source of each. ``outputs`` is the number of its classes, None if unknown.
    ``classes`` are the names that the file gives them, unless these are ImageNet's. ``warning``
    says why its output may be no logits, "" if nothing suggests it.
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
    is_square = facts.shape is not None and facts.shape[0] == facts.shape[1]
    for key, value in stated.items():
        # A framing gives square images.
        if is_square or key == "normalisation":
            entry[key] = value
            sources[key] = told_by[key]
    if facts.logits is not None:
        entry["output"] = "logits" if facts.logits else "probabilities"
        sources["output"] = "its predictions"
    was_asked = facts.shape is not None and facts.classes is not None
    is_unclear = was_asked and facts.logits is None
    return {
        "format": format_of(path).name,
        "entry": entry,
        "told_by": sources,
        "outputs": facts.classes,
        "classes": names,
        "warning": SIGMOID if is_unclear else "",
    }


def class_names(path: Path, count: int) -> tuple[str, ...]:
    """The names of the ``count`` classes of the model file ``path``; empty if unknown.

    They are looked for in the metadata of an ONNX file, in the archive at the end of a TensorFlow
    Lite file, then in a JSON file of the model's name and in the ``config.json`` of its folder.
    """
    for names in _listed_names(path):
        if len(names) == count == len(set(names)) and all(names):
            return tuple(" ".join(name.split()) for name in names)
    return ()


def _listed_names(path: Path) -> Iterator[list[str]]:
    """Yield every list of names in the file or beside it, the most trusted first."""
    with suppress(Exception):  # foreign metadata may hold anything
        texts = list(format_of(path).metadata(path))
        for name_key in _NAME_KEYS:
            for key, text in texts:
                if key == name_key:
                    yield _as_names(_parsed(text))
    with suppress(Exception):
        for file in (path.with_suffix(".json"), path.parent / CONFIG):
            with suppress(OSError, ValueError):
                metadata = read_object(file)
                for name_key in _NAME_KEYS:
                    if name_key in metadata:
                        yield _as_names(metadata[name_key])


def _parsed(text: str) -> Any:
    """A list or a mapping written as JSON or as Python, or with commas or lines."""
    for parse in (json.loads, ast.literal_eval):
        with suppress(Exception):
            return parse(text)
    if "\n" in text:
        return text.splitlines()
    return text.split(",")


def _as_names(listed: Any) -> list[str]:
    """The names in a list, or in a mapping from class indices, in the order of the indices."""
    if isinstance(listed, Mapping):
        listed = [listed[index] for index in sorted(listed, key=int)]
    return [str(name).strip() for name in listed]


def are_imagenet(names: Sequence[str]) -> bool:
    """Whether ``names`` are ImageNet's classes, with or without a background class first."""
    imagenet_names = imagenet().names
    class_count = len(imagenet_names)
    names = names[-class_count:]  # without a background class
    if len(names) != class_count:
        return False
    alike_count = 0
    for imagenet_name, name in zip(imagenet_names, names, strict=True):
        synonyms = {folded(synonym) for synonym in name.split(",")}
        if folded(imagenet_name) in synonyms:
            alike_count += 1
    return alike_count >= _ALIKE * class_count


# --- preprocessing, in a file or beside it --------------------------------------------------------


def stated_entry(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The normalisation and the framing that the model file ``path`` states, or a file beside it.

    Returns their keys of ``models.toml`` with their values, and the source of each key.
    """
    entry: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for stated, source in _statements(path):
        for keys in (("normalisation",), FRAMING_KEYS):
            # The first source that says anything on a subject counts for all of it: a framing made
            # of two sources would be that of neither.
            if any(key in entry for key in keys):
                continue
            for key in keys:
                if key in stated:
                    entry[key] = stated[key]
                    sources[key] = source
    return entry, sources


def _statements(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what stands in the model file ``path`` and beside it, as entries with their sources."""
    with suppress(Exception):  # foreign metadata may hold anything
        quantised_input = format_of(path).numbers(path).input
        if quantised_input:
            normalisation = of_integers(quantised_input)
            yield {"normalisation": value_of(normalisation)}, "the quantisation of its input"
    with suppress(Exception):
        preprocessor, name = _read_preprocessor(path.parent)
        yield hugging_face_entry(preprocessor), name
    with suppress(Exception):
        yield open_clip_entry(read_object(path.parent / OPEN_CLIP_CONFIG)), OPEN_CLIP_CONFIG
    with suppress(Exception):
        config: dict[str, Any] = {}
        for key, text in format_of(path).metadata(path):
            if text[:1] in "[{0123456789":
                with suppress(ValueError):  # it may be no JSON all the same
                    config[key] = json.loads(text)
            else:
                config[key] = text
        config = config.get("pretrained_cfg", config)
        if {"mean", "crop_pct", "interpolation"} & set(config):
            yield timm_entry(config), "the file"
        else:
            yield timm_entry(read_object(path.parent / CONFIG)["pretrained_cfg"]), CONFIG


def of_integers(quantised: Quantisation) -> Normalisation:
    """The normalisation that maps pixels 0 to 255 to the integers of a quantised input."""
    zero_level = float(quantised.zero_point - quantised.lowest)
    spread = 1 / quantised.scale
    return Normalisation(
        order="RGB",
        scale=255.0,
        mean=(zero_level, zero_level, zero_level),
        std=(spread, spread, spread),
    )


# --- by library ----------------------------------------------------------------------------------


def timm_entry(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that timm's ``pretrained_cfg`` tells, as its evaluation transform reads it.

    Among them is ``input_size``.
    """
    entry: dict[str, Any] = {}
    with suppress(Exception):  # it may hold anything
        entry["normalisation"] = _normalisation(1.0, config["mean"], config["std"])
    with suppress(Exception):
        height, width = map(int, config["input_size"][-2:])
        entry["input_size"] = size_of(height, width)
        if height != width:
            return entry
        if "crop_pct" not in config and "interpolation" not in config:
            return entry
        # timm fills the border of an image with the mean colour.
        red, green, blue = (round(255 * float(value)) for value in config["mean"])
        framing = Framing(
            fit=_TIMM_FITS[config.get("crop_mode") or "center"],
            side=height,
            crop_pct=float(config.get("crop_pct") or Framing().share),
            interpolation=config.get("interpolation") or "bicubic",
            resize=PIL,
            padding=(red, green, blue),
        )
        entry.update(_framing_keys(framing))
    return entry


def hugging_face_entry(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that a ``preprocessor_config.json`` tells.

    Transformers resize bytes as Pillow does. Their crop may begin a pixel before that of
    torchvision, where the rest is odd.
    """
    entry: dict[str, Any] = {}
    with suppress(Exception):  # it may hold anything
        scale = 255.0
        if config.get("do_rescale", True):
            scale *= float(config.get("rescale_factor", 1 / 255))
        if config.get("do_normalize", True):
            normalisation = _normalisation(scale, config["image_mean"], config["image_std"])
        else:
            normalisation = value_of(Normalisation(scale=scale))
        entry["normalisation"] = normalisation
    with suppress(Exception):
        if config.get("do_resize", True):
            entry.update(_framing_keys(_hugging_face_framing(config)))
    return entry


def open_clip_entry(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that an ``open_clip_config.json`` tells, as open_clip's evaluation reads it."""
    entry: dict[str, Any] = {}
    stated = config.get("preprocess_cfg", {})
    with suppress(Exception):  # it may hold anything
        mean = stated.get("mean", _OPEN_CLIP_MEAN)
        std = stated.get("std", _OPEN_CLIP_STD)
        entry["normalisation"] = _normalisation(1.0, mean, std)
    with suppress(Exception):
        grey = int(stated.get("fill_color", 0))
        framing = Framing(
            fit=_OPEN_CLIP_FITS[stated.get("resize_mode", "shortest")],
            side=int(config["model_cfg"]["vision_cfg"].get("image_size", 224)),
            crop_pct=1.0,
            interpolation=stated.get("interpolation", "bicubic"),
            resize=PIL,
            padding=(grey, grey, grey),
        )
        entry.update(_framing_keys(framing))
    return entry


def _hugging_face_framing(config: Mapping[str, Any]) -> Framing:
    size = config["size"]
    crops = bool(config.get("do_center_crop"))
    crop_pct = config.get("crop_pct")
    if isinstance(size, int):  # the older notation
        size = {"shortest_edge": size} if crops else {"height": size, "width": size}
    fit = "squash"
    share = float(crop_pct or 1)
    if "shortest_edge" not in size:
        resized_side = _side(size)
    else:
        resized_side = int(size["shortest_edge"])
        if crop_pct and resized_side >= _LEAST_SQUASHED_SIDE:
            share = 1.0
        else:
            fit = "crop"
    side = resized_side
    if crops:
        side = _side(config["crop_size"])
        share = share_of(side, resized_side)
    interpolation = Image.Resampling(int(config.get("resample", 2))).name.lower()
    return Framing(fit, side, share, interpolation, resize=PIL)


def _read_preprocessor(folder: Path) -> tuple[Mapping[str, Any], str]:
    """The preprocessing of images that ``folder`` states, and the file that states it.

    Raises ``OSError``, ``ValueError`` or ``KeyError`` where none does.
    """
    with suppress(FileNotFoundError):
        return read_object(folder / PREPROCESSOR), PREPROCESSOR
    config = read_object(folder / PROCESSOR)["image_processor"]
    if not isinstance(config, Mapping):
        raise ValueError(f"{PROCESSOR} holds no image_processor")
    return config, PROCESSOR


def hugging_face_shape(folder: Path) -> Shape | None:
    """The size that the preprocessing states: of the crop, or else of the resized image."""
    try:
        config, _ = _read_preprocessor(folder)
    except (OSError, ValueError, KeyError):
        return None
    for size in (config.get("crop_size"), config.get("size")):
        if isinstance(size, dict):
            height = size.get("height", size.get("shortest_edge"))
            size = [height, size.get("width", height)]
        shape = shape_of(size)
        if shape is not None:
            return shape
    return None


def shape_of(value: Any) -> Shape | None:
    """Height and width by ``value``: one side, or a pair of them.

    None unless the sides are whole numbers greater than 0.
    """
    sides = value if isinstance(value, list | tuple) else [value, value]
    if len(sides) != 2:
        return None
    height, width = sides
    if not isinstance(height, int) or not isinstance(width, int):
        return None
    if height <= 0 or width <= 0:
        return None
    return height, width


def torchvision_entry(transforms: Any) -> dict[str, Any]:
    """The keys that ``Weights.transforms()`` of torchvision tell.

    Among them are ``input_size`` and ``normalisation``.
    """
    (side,) = transforms.crop_size
    (resized_side,) = transforms.resize_size
    framing = Framing(
        fit="crop",
        side=side,
        crop_pct=share_of(side, resized_side),
        interpolation=transforms.interpolation.value,
        resize=PIL,
    )
    return {
        **_framing_keys(framing),
        "input_size": side,
        "normalisation": {"mean": list(transforms.mean), "std": list(transforms.std)},
    }


def is_torchvision(transforms: Any) -> bool:
    """Whether ``transforms`` are those of torchvision's weights for classification."""
    keys = ("crop_size", "resize_size", "interpolation", "mean", "std")
    return all(hasattr(transforms, key) for key in keys)


def share_of(side: int, resized_side: int) -> float:
    """The ``crop_pct`` with the fewest digits by which ``resized_side`` pixels give ``side``."""
    exact_share = side / resized_side
    for digits in range(1, 9):
        share = round(exact_share, digits)
        if share and int(side / share) == resized_side:
            return share
    return exact_share


def _side(size: Any) -> int:
    """The side that ``size`` gives: a number, or a mapping with a height or a shortest edge."""
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    return int(size)


def _normalisation(scale: float, mean: Any, std: Any) -> str | dict[str, Any]:
    """The normalisation as ``value_of`` says it; raises an error for values that give none."""
    red_mean, green_mean, blue_mean = map(float, mean)
    red_std, green_std, blue_std = map(float, std)
    if min(red_std, green_std, blue_std, scale) <= 0:
        raise ValueError("expected a std and a scale above 0")
    normalisation = Normalisation(
        order="RGB",
        scale=round(scale, 9),  # 255 times a factor that is written as 0.00392...
        mean=(red_mean, green_mean, blue_mean),
        std=(red_std, green_std, blue_std),
    )
    return value_of(normalisation)


def _framing_keys(framing: Framing) -> dict[str, Any]:
    """What a description says of ``framing``; raises ``ParameterError`` for one that is none."""
    values = check_framing(framing).as_dict()
    del values["side"]
    return values
