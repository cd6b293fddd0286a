"""The preprocessing that other libraries write down, as keys of ``models.toml``.

What they say may be anything: each function returns nothing for what it does not understand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustness.base.errors import RobustnessError
from robustness.pictures.fitting import Framing
from robustness.pictures.resizing import PIL

FRAMING_KEYS = tuple(key for key in Framing._fields if key != "side")
"""The keys of ``models.toml`` that say how images become the input."""

_TIMM_FITS = {"center": "crop", "squash": "squash", "border": "letterbox"}
_PILLOW_NUMBERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")


def framing_values(values: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` and what is ``stated`` beside them; a fit of one's own has its own crop."""
    crop = ("crop_pct", "padding") if values.get("fit") else ()
    return {**{key: value for key, value in stated.items() if key not in crop}, **values}


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


_WHOLE = 384
"""From this side on, ConvNeXT's processor resizes whole images, whatever its ``crop_pct``."""


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
