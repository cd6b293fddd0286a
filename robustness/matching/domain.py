"""Proposals of a domain: from a match, from the properties of images, or from a preset.

A proposal is a starting point, which people change. Each range has its source: what was measured,
or that it is a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.base.text import counted
from robustness.base.toml import read_toml
from robustness.base.validation import checked
from robustness.datasets import Dataset, sample_pixels
from robustness.images.framing import STUDY_FRAMING
from robustness.images.pixels import from_uint8, to_uint8
from robustness.images.properties import of_pixels
from robustness.matching.profile import Profile
from robustness.measure.domain import (
    FEWEST_RANGES,
    Domain,
    domain_of,
    read_domain,
    strength_at,
)
from robustness.measure.request import RequestTable
from robustness.perturbations import REGISTRY, Images, compose

FLOOR = 0.7
"""The limit of a proposal."""

_SEVERITY_1 = "a choice: severity 1 of ImageNet-C (Hendrycks and Dietterich, ICLR 2019)"

_Ends = Mapping[str, Any]


@dataclass(frozen=True)
class Preset:
    """A usual domain: its title, ranges as in a file, and what it leaves out."""

    title: str
    ranges: Mapping[str, _Ends]
    outside: tuple[str, ...]


PRESETS: Mapping[str, Preset] = {
    "outdoor-camera": Preset(
        "outdoor camera",
        {
            "fog": {"strength": [0, 0.2], "source": _SEVERITY_1},
            "darkness": {
                "value": [0, -1.5],
                "unit": "stops",
                "source": "a choice: 1.5 stops underexposed",
            },
            "exposure": {
                "value": [0, 0.6],
                "unit": "stops",
                "source": "a choice: 0.6 stops overexposed",
            },
            "gaussian_noise": {"strength": [0, 0.2], "source": _SEVERITY_1},
            "motion_blur": {"strength": [0, 0.2], "source": _SEVERITY_1},
            "jpeg_compression": {"strength": [0, 0.2], "source": _SEVERITY_1},
        },
        ("drops and dirt on the lens", "lens flare", "night with artificial light"),
    ),
    "phone": Preset(
        "phone",
        {
            "darkness": {
                "value": [0, -1],
                "unit": "stops",
                "source": "a choice: 1 stop underexposed",
            },
            "gaussian_noise": {"strength": [0, 0.2], "source": _SEVERITY_1},
            "motion_blur": {"strength": [0, 0.2], "source": _SEVERITY_1},
            "warm_cast": {
                "value": [6504, 4500],
                "unit": "K",
                "source": "a choice: indoor light of 4500 K, not balanced",
            },
            "rotation": {
                "value": [0, 10],
                "unit": "degrees",
                "source": "a choice: held 10 degrees askew",
            },
            "jpeg_compression": {
                "strength": [0, 0.2],
                "source": "a choice: shared as JPEG of quality 25 at worst (severity 1 of "
                "ImageNet-C)",
            },
        },
        ("processing by the phone, such as night modes", "screenshots and stickers"),
    ),
    "scanner": Preset(
        "scanner",
        {
            "rotation": {
                "value": [0, 3],
                "unit": "degrees",
                "source": "a choice: paper laid 3 degrees askew",
            },
            "contrast": {
                "value": [1, 0.7],
                "unit": "times",
                "source": "a choice: faded to 0.7 times the contrast",
            },
            "gaussian_blur": {
                "value": [0, 1],
                "unit": "px",
                "source": "a choice: 1 px at a side of 224",
            },
            "greyscale": {
                "strength": [0, 1],
                "source": "a choice: scanned in grey at worst",
            },
            "jpeg_compression": {
                "strength": [0, 0.2],
                "source": "a choice: JPEG of quality 25 at worst (severity 1 of ImageNet-C)",
            },
        },
        ("folds, stamps and shadows of the binding", "moire of printed pictures"),
    ),
}
"""By name."""


def preset_of(name: str) -> Preset:
    """Return the preset ``name``, such as "outdoor camera"; raises ``UnknownNameError``."""
    preset = PRESETS.get(_preset_name(name))
    if preset is None:
        raise UnknownNameError(
            f"There is no preset {name!r}. Known: {', '.join(PRESETS)}.", hint="That is --preset."
        )
    return preset


def _preset_name(text: str) -> str:
    """``text`` as ``PRESETS`` writes a name: "Outdoor camera" becomes "outdoor-camera"."""
    return text.strip().lower().replace(" ", "-").replace("_", "-")


def open_domain(
    source: str | PathLike[str], images: Dataset | None = None, *, has_labels: bool = True
) -> Domain:
    """Return the domain in the file ``source`` or, where there is none, the preset of that name.

    A preset limits what ``images`` allow: see ``usual_limit``. Raises ``ParameterError`` for what
    is neither, and as ``read_domain`` does.
    """
    path = Path(source)
    if names_preset(source):
        preset = preset_of(str(source))
        limit = usual_limit(images, has_labels=has_labels)
        return _domain_of(preset.title, preset.ranges, preset.outside, limit)
    if path.suffix != ".toml" and not path.exists():
        raise ParameterError(
            f"Expected the .toml file of a domain, or a preset ({', '.join(PRESETS)}), got "
            f"{str(source)!r}."
        )
    return read_domain(path)


def names_preset(source: str | PathLike[str]) -> bool:
    """Return whether ``source`` is the name of a preset, and no file."""
    return _preset_name(str(source)) in PRESETS and not Path(source).exists()


def usual_limit(images: Dataset | None, *, has_labels: bool = True) -> str:
    """Return the kind of limit that a proposal has: of accuracy if ``images`` name classes.

    ``has_labels`` says whether these names are read. Without images the limit is of accuracy, too.
    """
    if images is None:
        return "min_accuracy"
    if not has_labels:
        return "min_consistency"
    if any(images.label_texts()) or any(entry.folders for entry in images.entries):
        return "min_accuracy"
    return "min_consistency"


def ranges_of_profile(path: Path) -> dict[str, _Ends]:
    """Return the ranges around the profile ``path`` of a match, whose strengths are the middles.

    Raises ``ParameterError`` for a file that is no profile, and for one without perturbations.
    """
    table = checked(RequestTable, read_toml(path), str(path))
    if table.match is None:
        raise ParameterError(
            f"{path}: expected the profile of a match, got a file without [match]."
        )
    profile = checked(Profile, table.match, str(path))
    if not profile.perturbations:
        raise ParameterError(
            f"{path}: expected a profile with perturbations, got a match that found none."
        )
    ranges = {}
    for part in profile.perturbations:
        ranges[part.perturbation] = range_around(
            part.strength, f"the match of {counted(profile.images, 'image')}"
        )
    return ranges


def range_around(strength: float, origin: str) -> _Ends:
    """Return the range from 0 whose middle is ``strength``, up to 1; ``origin`` says whence."""
    high = min(1.0, round(2 * strength, 3))
    return {"strength": [0.0, high], "source": f"{origin}: {strength:.2f}, the middle"}


# --- from images ----------------------------------------------------------------------------------

SAMPLE = 100
"""Images whose properties are read."""

FEWEST_IMAGES = 10

_TAIL = 0.05
"""The share of images beyond the end of a range."""

_TAIL_TEXT = f"{100 * _TAIL:g}%"
_STEPS = 7
"""Halvings of the range of strengths: to 1/128."""

_WEAKEST = 0.02
"""A range that ends below is no range."""

_STRONGEST = 0.6
"""Where a range from properties ends at the latest: what images show differs more than a camera."""


@dataclass(frozen=True)
class _Trait:
    """A property that a perturbation changes: how it is called, and at which end of its values."""

    perturbation: str
    name: str
    words: str
    is_low: bool


_TRAITS = (
    _Trait("darkness", "brightness", "as dark", is_low=True),
    _Trait("exposure", "brightness", "as bright", is_low=False),
    _Trait("contrast", "contrast", "of as little contrast", is_low=True),
    _Trait("defocus_blur", "sharpness", "as blurred", is_low=True),
    _Trait("gaussian_noise", "noise", "as noisy", is_low=False),
)


def ranges_of_images(
    dataset: Dataset, *, seed: int = 0, note: Callable[[str, int, int], object] | None = None
) -> dict[str, _Ends]:
    """Return the ranges that the properties of a sample of ``dataset`` show.

    A range ends at the strength that makes the image in the middle as dark, blurred or noisy as the
    5% that are most so. Scenes differ, too, so that a range is wide rather than narrow. ``note``
    receives what is done, how much of it and of how much. Raises ``ParameterError`` with too few
    images that can be read.
    """
    tell = note or _ignore
    sample = sample_pixels(dataset, STUDY_FRAMING, SAMPLE, seed, tell)
    if len(sample.pixels) < FEWEST_IMAGES:
        raise ParameterError(
            f"Expected {FEWEST_IMAGES} different images or more that can be read, got "
            f"{len(sample.pixels)}: choose a preset instead."
        )
    images = from_uint8(sample.pixels)
    count = counted(len(images), "image")
    ranges: dict[str, _Ends] = {}
    for number, trait in enumerate(_TRAITS):
        tell("Comparing images", number, len(_TRAITS))
        strength = _strength_of(trait, images)
        if strength is not None:
            source = f"{_TAIL_TEXT} of {count} are {trait.words} as this makes a middling one"
            if strength == _STRONGEST:
                source = f"{_TAIL_TEXT} of {count} are beyond; ends here by choice"
            ranges[trait.perturbation] = {"strength": [0.0, strength], "source": source}
    qualities = []
    for properties in sample.properties:
        if "jpeg_quality" in properties:
            qualities.append(float(properties["jpeg_quality"]))
    if len(qualities) >= FEWEST_IMAGES:
        quality = float(np.quantile(qualities, _TAIL))
        strength = _jpeg_strength(quality)
        if strength >= _WEAKEST:
            source = f"{_TAIL_TEXT} of {counted(len(qualities), 'file')} have a quality below"
            ranges["jpeg_compression"] = {
                "strength": [0.0, strength],
                "source": f"{source} {quality:.0f}",
            }
    return ranges


def _ignore(*_progress: object) -> None:
    """Take progress that nobody wants to hear of."""


def _jpeg_strength(quality: float) -> float:
    record = REGISTRY["jpeg_compression"]
    lowest = record.value_at(1.0)
    highest = record.value_at(0.0)
    strength = strength_at(record, min(max(quality, lowest), highest))
    return min(_STRONGEST, round(strength, 2))


def _values(name: str, images: Images) -> NDArray[np.float64]:
    """The property ``name`` of each of ``images``."""
    found = []
    for pixels in to_uint8(images):
        found.append(of_pixels(pixels)[name])
    return np.array(found, np.float64)


def _strength_of(trait: _Trait, images: Images) -> float | None:
    """The strength at which the median of a property is in its tail; None if that is too weak."""
    values = _values(trait.name, images)
    wanted = float(np.quantile(values, _TAIL if trait.is_low else 1 - _TAIL))
    digests = [str(number) for number in range(len(images))]

    def reaches(strength: float) -> bool:
        changed = compose(images, {trait.perturbation: strength}, digests=digests)
        median = float(np.median(_values(trait.name, changed)))
        return median <= wanted if trait.is_low else median >= wanted

    below = 0.0
    above = _STRONGEST
    if not reaches(above):
        return above
    for _ in range(_STEPS):
        middle = (below + above) / 2
        if reaches(middle):
            above = middle
        else:
            below = middle
    strength = round(above, 2)
    return strength if strength >= _WEAKEST else None


# --- the proposal ---------------------------------------------------------------------------------


def propose(
    *,
    name: str = "",
    preset: str | None = None,
    profile: Path | None = None,
    images: Dataset | None = None,
    seed: int = 0,
    note: Callable[[str, int, int], object] | None = None,
) -> Domain:
    """Return a domain to start from, by a match's ``profile``, by ``images`` and by a ``preset``.

    Of several, the ranges of the first in that order count. Raises ``ParameterError`` where no
    source is given or all together show fewer ranges than a domain needs, and as
    ``ranges_of_profile``, ``ranges_of_images`` and ``preset_of`` do.
    """
    ranges: dict[str, _Ends] = {}
    outside: tuple[str, ...] = ()
    titles = []
    if profile is not None:
        ranges |= ranges_of_profile(profile)
        titles.append(profile.stem)
    if images is not None:
        ranges = {**ranges_of_images(images, seed=seed, note=note), **ranges}
        titles.append(images.title)
    if preset is not None:
        chosen = preset_of(preset)
        ranges = {**chosen.ranges, **ranges}
        outside = chosen.outside
        titles.append(chosen.title)
    if not titles:
        raise ParameterError(
            "Expected a preset, a match or images to propose a domain from, got none. Presets: "
            f"{', '.join(PRESETS)}."
        )
    if len(ranges) < FEWEST_RANGES:
        found = ", ".join(ranges) or "none"
        raise ParameterError(
            f"Expected ranges of {FEWEST_RANGES} perturbations or more, got {found}: name a "
            f"preset, too: {', '.join(PRESETS)}."
        )
    return _domain_of(name or titles[-1], ranges, outside, usual_limit(images))


def _domain_of(
    name: str, ranges: Mapping[str, _Ends], outside: tuple[str, ...], limit: str
) -> Domain:
    """The domain of a proposal, whose ``limit`` is its kind."""
    return domain_of({"name": name, limit: FLOOR, "outside": list(outside), "ranges": ranges})
