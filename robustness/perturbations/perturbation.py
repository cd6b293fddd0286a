"""The record of a perturbation, and the registry of perturbations.

Arrays are study images throughout the package ``perturbations``: float32 RGB in [0, 1], shape
(N, S, S, 3). Parameters in pixels are stated at S = 224 and scale with S.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.argument_and_result_checks import check_finite, checked_array, read_only
from robustness.base.errors import ParameterError, PluginError
from robustness.base.registry import Registry

Images = NDArray[np.float32]
Streams = Sequence[np.random.Generator]
"""One random stream per image of the batch, so that results do not depend on other images; empty
for a perturbation that is not random."""

REFERENCE_SIDE = 224
"""Side in pixels at which pixel-valued parameters are stated."""

LIGHTING = "Lighting & quality"
GEOMETRIC = "Geometric"
NOISE = "Noise"
BLUR = "Blur"
WEATHER = "Weather & obstruction"
COLOUR = "Colour & camera"
DIGITAL = "Compression & resolution"
FAMILIES = (LIGHTING, GEOMETRIC, NOISE, BLUR, WEATHER, COLOUR, DIGITAL)
"""Families in display order; the first three are the study's."""

OWN = "Your own"
"""The family and the risk of a plugin's perturbation that names no other."""

LOW_LIGHT = "low light"
HARSH_LIGHT = "harsh light"
ARTIFICIAL_LIGHT = "artificial light"
BAD_WEATHER = "bad weather"
OBSTRUCTED_VIEW = "obstructed view"
POOR_FOCUS = "poor focus"
VIBRATION = "vibration"
VIEWPOINT = "viewpoint"
CHEAP_CAMERA = "cheap camera"
TRANSMISSION = "transmission"
COLOUR_PROCESSING = "colour processing"
RISKS = (
    *(LOW_LIGHT, HARSH_LIGHT, ARTIFICIAL_LIGHT, BAD_WEATHER, OBSTRUCTED_VIEW, POOR_FOCUS),
    *(VIBRATION, VIEWPOINT, CHEAP_CAMERA, TRANSMISSION, COLOUR_PROCESSING),
)
"""Risks in the world; each perturbation stands for one."""

SEVERITY_STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The strengths of the five ImageNet-C severities, for every graded corruption."""


_ROUNDING = 1e-5
"""How far values may be out of range, as sums of float32 are."""


class Stage(IntEnum):
    """Stages from scene to file at which perturbations act; compositions run in this order."""

    SCENE = 1
    GEOMETRY = 2
    OPTICS = 3
    EXPOSURE = 4
    SENSOR = 5
    FILE = 6


@dataclass(frozen=True)
class Perturbation:
    """A perturbation with its data for tables, controls and reports.

    ``function(images, strength, rng)`` is pure and batched: it never writes to ``images``, and
    returns float32 in [0, 1] of the same shape. It is called with 0 < strength <= 1 only, by
    ``change``.

    ``parameter_at`` maps a strength to the physical value shown beside it, in ``unit``.
    ``wording`` is a template for that value ("contrast {value} x", "{percent} of the pixels");
    the default is number and unit.
    ``risk`` is the risk that the perturbation stands for, one of ``RISKS``.
    ``search`` are more search words, in lower case.
    ``study_strength`` is the study's setting; None for a perturbation outside the study.
    ``imagenet_c`` names the ImageNet-C corruption whose severities 1 to 5 are the perturbation at
    ``SEVERITY_STRENGTHS``.
    ``graded`` is false for a switch: any strength above 0 applies it fully.
    ``monotone``: the mean absolute difference from the original does not shrink as the strength
    grows.
    ``continuous`` is false if the effect has steps, those of a whole ``parameter_at`` (a codec's
    quality, a grid of pixels); the first step may be visible.
    ``matchable``: a match of unlabelled images may contain the perturbation.
    ``checked``: results are checked, as those of plugins are, and ``function`` may take one image
    at a time, unless ``batched``. The laws of the tests hold for all others; a check would take
    as long as the fastest of them.
    """

    name: str
    function: Callable[[Images, float, Any], Images]
    label: str
    family: str
    stage: Stage
    parameter: str
    unit: str
    parameter_at: Callable[[float], float]
    source: str
    risk: str
    search: tuple[str, ...]
    wording: str | None = None
    study_strength: float | None = None
    graded: bool = True
    random: bool = False
    monotone: bool = True
    continuous: bool = True
    imagenet_c: str | None = None
    matchable: bool = False
    batched: bool = True
    checked: bool = False

    def change(self, images: Images, strength: float, streams: Streams) -> Images:
        """``images`` (N, S, S, 3) after ``function``; a new array.

        If ``checked``, raises ``PluginError`` for a result of another shape or type, for values
        that are no numbers or out of range, and for a function that writes to ``images``.
        """
        if not self.checked:
            return self.function(images, strength, streams)
        view: Images = read_only(images)
        if self.batched:
            return self._in_range(self.function(view, strength, streams), images.shape)
        parts = []
        for place in range(len(images)):
            one = view[place : place + 1]
            stream = streams[place] if self.random else None
            parts.append(self._in_range(self.function(one, strength, stream), one.shape))
        return parts[0] if len(parts) == 1 else np.concatenate([view[:0], *parts])

    def _in_range(self, result: object, shape: tuple[int, ...]) -> Images:
        """``result`` as images of its own memory."""
        what = f"perturbation {self.name!r}"
        images = checked_array(what, result, shape, "floating-point images", "f")
        low, high = images.min(initial=0), images.max(initial=1)
        check_finite(what, np.array([low, high]))
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise PluginError(
                f"The {what} returned values from {low:g} to {high:g}: expected values from 0 to "
                "1. Clip them with np.clip."
            )
        if low < 0 or high > 1:
            images = np.clip(images, 0, 1)
        return images.astype(np.float32, copy=not images.flags.writeable)

    def value_at(self, strength: float) -> float:
        """The physical value at ``strength``; raises ``PluginError`` unless it is a number."""
        what = f"parameter_at of the perturbation {self.name!r}"
        value = checked_array(what, self.parameter_at(strength), (), "a number", "f", "i", "u")
        check_finite(what, value)
        return float(value)

    @property
    def severity_strengths(self) -> tuple[float, ...]:
        """The strengths of ImageNet-C's severities 1 to 5; empty outside ImageNet-C."""
        return SEVERITY_STRENGTHS if self.imagenet_c else ()

    def severity_at(self, strength: float) -> int | None:
        """The ImageNet-C severity (0 to 5) nearest to ``strength``; None outside ImageNet-C."""
        if not self.severity_strengths:
            return None
        marks = (0.0, *self.severity_strengths)
        return min(range(len(marks)), key=lambda level: abs(marks[level] - strength))

    def value_text(self, strength: float) -> str:
        """The physical value at ``strength`` as text: "3.5 px", "contrast 2 x"; "off" at 0."""
        if strength == 0:
            return "off"
        if not self.graded:
            return "on"
        value = self.value_at(strength)
        wording = self.wording or f"{{value}} {self.unit}"
        return wording.format(value=_number(value, 3), percent=f"{_number(100 * value, 2)}%")

    @property
    def in_study(self) -> bool:
        return self.study_strength is not None


def _number(value: float, digits: int) -> str:
    """``value`` with that many significant digits; large values as integers."""
    whole = abs(value) >= 10**digits
    return f"{value:.0f}" if whole else f"{value:.{digits}g}"


def words(text: str) -> tuple[str, ...]:
    """The words of ``text`` in lower case."""
    return tuple(re.findall(r"[^\W_]+", text.lower()))


REGISTRY: Registry[Perturbation] = Registry("perturbation")
perturbation = REGISTRY.decorator(Perturbation)
"""A decorator that registers a function; keywords are the fields of ``Perturbation``."""


def severity_curve(identity: float, levels: Sequence[float]) -> Callable[[float], float]:
    """Piecewise linear map from strength to a parameter through the five ImageNet-C levels.

    ``identity`` is the value at strength 0; ``levels`` those at severities 1 to 5.
    """
    marks = (0.0, *SEVERITY_STRENGTHS)
    values = (identity, *levels)
    return lambda strength: float(np.interp(strength, marks, values))


def between_severities(strength: float) -> tuple[int, float]:
    """The ImageNet-C severity (0 to 4) at or below ``strength``, and the share above it.

    At strength 1 it is (4, 1).
    """
    level = min(int(strength * 5), 4)
    return level, strength * 5 - level


def linear(start: float, stop: float) -> Callable[[float], float]:
    """Linear map from strength to a parameter, ``start`` at 0 and ``stop`` at 1."""
    return lambda strength: start + (stop - start) * strength


def check_strength(strength: float) -> float:
    """``strength`` as a float; raises ``ParameterError`` unless it lies in [0, 1]."""
    if not 0.0 <= strength <= 1.0:  # also refuses NaN
        raise ParameterError(
            f"A strength must lie between 0 (no change) and 1 (strongest), got {strength:g}."
        )
    return float(strength)


MAX_SEED = 2**32 - 1


def check_seed(seed: int) -> int:
    """``seed`` itself; raises ``ParameterError`` unless it lies in [0, 2**32 - 1]."""
    if not 0 <= seed <= MAX_SEED:
        raise ParameterError(f"A seed must be a whole number from 0 to {MAX_SEED}, got {seed}.")
    return seed
