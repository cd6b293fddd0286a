"""Perturbations without code, described in a TOML file.

interface = 1

[dirty_lens]                 # a folder of PNG images with transparency
overlays = "dirt"
opacity = 0.8                # at strength 1
scale = 0.5                  # width as a share of the image's; 1 covers it

[foggy_night]                # perturbations with their strengths at strength 1
composition = { darkness = 0.6, fog = 0.8 }

[smear]                      # a transform of albumentations or nrtk
transform = "albumentations.MotionBlur"
argument = "blur_limit"      # the argument that grows with the strength
from = [3, 3]                # at strength 0
to = [31, 31]                # at strength 1
arguments = { p = 1.0 }
"""

from __future__ import annotations

import importlib
import inspect
import io
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from robustness.base.disk import read_regular
from robustness.base.errors import PluginError
from robustness.base.toml import read_toml
from robustness.base.validation import StrictTable, checked
from robustness.perturbations import Images, Stage, ordered
from robustness.perturbations.perturbation import OWN
from robustness.pictures.eight_bits import to_uint8
from robustness.plugins.decorators import perturbation
from robustness.plugins.origins import INTERFACE

_MOST_BYTES = 32 * 2**20
_MOST_SIDE = 8192
_SUFFIXES = (".png", ".webp")
_FORMATS = ("PNG", "WEBP")
_MODES = ("RGB", "RGBA", "LA", "P")
"""Pillow's modes of images that OpenCV reads in colour."""
_PACKAGES = ("albumentations", "nrtk")
"""Packages whose transforms a file may name: a data file must not call arbitrary Python."""

Share = Annotated[float, Field(gt=0, le=1)]
Level = int | float | list[int | float]


class _Described(StrictTable):
    """A table of the file; one of the three kinds."""

    label: str = ""
    family: str = OWN
    search: str = ""
    random: bool = True
    overlays: str | None = None
    opacity: Share = 1.0
    scale: Share = 1.0
    composition: dict[str, Share] | None = None
    transform: str | None = None
    argument: str = ""
    begin: Annotated[Level, Field(alias="from")] = 0.0
    end: Annotated[Level, Field(alias="to")] = 1.0
    arguments: dict[str, Any] = Field(default_factory=dict)


def add(file: Path) -> list[Path]:
    """Add the perturbations that ``file`` describes; returns all files they depend on."""
    tables = dict(read_toml(file))
    if (version := tables.pop("interface", None)) != INTERFACE:
        raise PluginError(
            f"expected the interface {INTERFACE}, got {version!r}. Begin the file with the line "
            f"interface = {INTERFACE}."
        )
    files = [file]
    for name, table in tables.items():
        files += _add(name, checked(_Described, table, f"[{name}]"), file.parent)
    return files


def _add(name: str, description: _Described, folder: Path) -> list[Path]:
    kinds = (description.overlays, description.composition, description.transform)
    if sum(kind is not None for kind in kinds) != 1:
        raise PluginError(f"[{name}] expects one of overlays, composition and transform.")
    files: list[Path] = []
    stage, random = Stage.SCENE, description.random
    function: Callable[..., Images]
    if description.overlays is not None:
        files = _listed(name, folder / description.overlays)
        function, stage = (
            partial(_overlaid, files, description.opacity, description.scale),
            Stage.OPTICS,
        )
    elif description.composition is not None:
        if not description.composition:
            raise PluginError(f"[{name}] expects at least one perturbation in composition.")
        steps = ordered(description.composition)  # an unknown name is refused here
        random = any(record.random for record, _ in steps)
        function = partial(_composed, description.composition)
    else:
        function = _transforming(name, description)
    function.__name__, function.__module__ = name, str(folder)
    source = description.transform or "described by the plugin's file"
    add_it = perturbation(
        description.label,
        name=name,
        family=description.family,
        search=description.search,
        stage=stage,
        source=source,
        random=random,
        monotone=description.overlays is not None,
    )
    add_it(function)
    return files


def _listed(name: str, folder: Path) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
    except OSError:
        files = []
    if not files:
        raise PluginError(f"[{name}] expects a folder with PNG or WebP images, got {folder}.")
    for file in files:
        _check_header(file)
    return files


def _check_header(file: Path) -> None:
    """Raise ``PluginError`` unless ``file`` says it is a colour image of a usable size.

    Its pixels are decoded when they are first used.
    """
    try:
        with Image.open(io.BytesIO(read_regular(file, _MOST_BYTES)), formats=_FORMATS) as image:
            usable = max(image.size) <= _MOST_SIDE and image.mode in _MODES
    except (OSError, ValueError, Image.DecompressionBombError):
        usable = False
    if not usable:
        raise _unusable(file)


def _unusable(file: Path) -> PluginError:
    return PluginError(
        f"{file.name} is not a colour image of up to {_MOST_SIDE} pixels a side. Replace it."
    )


@lru_cache(maxsize=64)
def _overlay(file: Path, width: int, height: int | None = None) -> NDArray[np.float32]:
    """The overlay in this size: red, green and blue times opacity, and opacity, (H, W, 4).

    The default ``height`` is in proportion.
    """
    _check_header(file)
    data = np.frombuffer(read_regular(file, _MOST_BYTES), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    if image is None or image.ndim != 3:
        raise _unusable(file)
    peak = 65535 if image.dtype == np.uint16 else 255
    if image.shape[2] == 3:
        image = np.dstack([image, np.full(image.shape[:2], peak, image.dtype)])
    plain = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA).astype(np.float32) / np.float32(peak)
    plain[..., :3] *= plain[..., 3:]  # edges keep their colour when it is resized
    height = height or max(1, round(width * image.shape[0] / image.shape[1]))
    return np.asarray(cv2.resize(plain, (width, height), interpolation=cv2.INTER_AREA))


def _overlaid(
    files: list[Path],
    opacity: float,
    scale: float,
    images: Images,
    strength: float,
    rng: np.random.Generator,
) -> Images:
    """One of the overlays over the image, anywhere; it covers the image if ``scale`` is 1."""
    side = images.shape[1]
    width = max(1, round(scale * side))
    layer = _overlay(files[int(rng.integers(len(files)))], width, width if scale == 1 else None)
    layer = layer[:side, :side]
    height, width = layer.shape[:2]
    top, left = (int(rng.integers(side - size + 1)) for size in (height, width))
    result = images.copy()
    under = result[0, top : top + height, left : left + width]
    cover = np.float32(opacity * strength) * layer
    under *= 1 - cover[..., 3:]
    under += cover[..., :3]
    return result


def _composed(
    strengths: Mapping[str, float], images: Images, strength: float, rng: np.random.Generator
) -> Images:
    """All perturbations of ``strengths``, each at that share of the strength."""
    steps = ordered({name: value * strength for name, value in strengths.items()})
    for record, value in steps:
        images = record.function(images, value, rng.spawn(1) if record.random else [])
    return images


def _transforming(name: str, description: _Described) -> Callable[..., Images]:
    where, _, what = (description.transform or "").rpartition(".")
    if where.partition(".")[0] not in _PACKAGES:
        raise PluginError(
            f"[{name}] expects a transform of {' or '.join(_PACKAGES)}, got "
            f"{description.transform}. Write a Python plugin for anything else."
        )
    try:
        maker = getattr(importlib.import_module(where), what)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(
            f"[{name}] names {description.transform}, which cannot be imported ({error}). "
            "Install its package."
        ) from error
    if not isinstance(maker, type) or maker.__module__.partition(".")[0] not in _PACKAGES:
        raise PluginError(f"[{name}] expects a class of transforms, got {description.transform}.")
    _between(description.begin, description.end, 0.5)
    if not description.argument:
        raise PluginError(f"[{name}] expects argument, the name of the one that grows.")

    def changed(images: Images, strength: float, rng: np.random.Generator) -> Images:
        value = _between(description.begin, description.end, strength)
        seed = int(rng.integers(2**31)) if description.random else 0
        takes = inspect.signature(maker).parameters
        seeded = {"seed": seed} if "seed" in takes else {}
        transform = maker(**{**seeded, **description.arguments, description.argument: value})
        return (_through(transform, to_uint8(images[0]), seed)[None] / 255).astype(np.float32)

    return changed


def _through(transform: Any, image: NDArray[np.uint8], seed: int) -> NDArray[Any]:
    """``image`` after a transform of albumentations or of nrtk (also those of its kind)."""
    if hasattr(transform, "set_random_seed"):  # albumentations
        transform.set_random_seed(seed)
        return np.asarray(transform(image=image)["image"])
    transformed = transform(image=image)
    return np.asarray(transformed[0] if isinstance(transformed, tuple) else transformed)


def _between(begin: Level, end: Level, strength: float) -> Any:
    """The value between both ends; whole between whole ones, and odd between odd ones."""
    if isinstance(begin, list) and isinstance(end, list) and len(begin) == len(end):
        return tuple(_between(a, b, strength) for a, b in zip(begin, end, strict=True))
    if isinstance(begin, list) or isinstance(end, list):
        raise PluginError(
            f"Expected two numbers, or two lists of equal length, as from and to; got {begin} and "
            f"{end}."
        )
    value = begin + (end - begin) * strength
    if isinstance(begin, int) and isinstance(end, int):
        if begin % 2 and end % 2:
            return 2 * round((value - 1) / 2) + 1
        return round(value)
    return value
