"""The record of a perturbation, the registry, and the application of one or of several in order.

Arrays are study images throughout the package ``perturbations``: float32 RGB in [0, 1], shape
(N, S, S, 3); one image is (S, S, 3). Parameters in pixels are stated at S = 224 and scale with S.

Beside them: what perturbations share, such as output arrays, pixel units and fast float32 sampling,
and ``find``, the search by label, name, family, risk and ``search`` of the records.
"""

from __future__ import annotations

import hashlib
import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError, PluginError
from robustness.base.registry import Registry
from robustness.base.text import nearest
from robustness.base.validation import check_finite, checked_array, read_only
from robustness.images.framing import MIN_SIDE, image_digest
from robustness.images.pixels import round_to_grid

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
    LOW_LIGHT,
    HARSH_LIGHT,
    ARTIFICIAL_LIGHT,
    BAD_WEATHER,
    OBSTRUCTED_VIEW,
    POOR_FOCUS,
    VIBRATION,
    VIEWPOINT,
    CHEAP_CAMERA,
    TRANSMISSION,
    COLOUR_PROCESSING,
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
        """Return ``images`` (N, S, S, 3) after ``function``, as a new array.

        If ``checked``, raises ``PluginError`` for a result of another shape or type, for values
        that are no numbers or out of range, and for a function that writes to ``images``.
        """
        if not self.checked:
            return self.function(images, strength, streams)
        view: Images = read_only(images)
        if self.batched:
            return self._in_range(self.function(view, strength, streams), images.shape)
        changed = []
        for index in range(len(images)):
            image = view[index : index + 1]
            stream = streams[index] if self.random else None
            result = self.function(image, strength, stream)
            changed.append(self._in_range(result, image.shape))
        if len(changed) == 1:
            return changed[0]
        # With an empty part in front, a batch without images has a shape, too.
        return np.concatenate([view[:0], *changed])

    def _in_range(self, result: object, shape: tuple[int, ...]) -> Images:
        """``result`` as float32 images of this ``shape`` in [0, 1], in memory of their own."""
        subject = f"perturbation {self.name!r}"
        images = checked_array(subject, result, shape, "floating-point images", "f")
        low = images.min(initial=0)
        high = images.max(initial=1)
        check_finite(subject, np.array([low, high]))  # NaN and infinity reach one of them
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise PluginError(
                f"The {subject} returned values from {low:g} to {high:g}: expected values from 0 "
                "to 1. Clip them with np.clip."
            )
        if low < 0 or high > 1:
            images = np.clip(images, 0, 1)
        return images.astype(np.float32, copy=not images.flags.writeable)

    def value_at(self, strength: float) -> float:
        """Return the physical value at ``strength``; raise ``PluginError`` if it is no number."""
        subject = f"parameter_at of the perturbation {self.name!r}"
        value = checked_array(subject, self.parameter_at(strength), (), "a number", "f", "i", "u")
        check_finite(subject, value)
        return float(value)

    @property
    def severity_strengths(self) -> tuple[float, ...]:
        """The strengths of ImageNet-C's severities 1 to 5; empty outside ImageNet-C."""
        return SEVERITY_STRENGTHS if self.imagenet_c else ()

    def severity_at(self, strength: float) -> int | None:
        """Return the nearest ImageNet-C severity (0 to 5) to ``strength``; None outside it."""
        if not self.severity_strengths:
            return None
        marks = (0.0, *self.severity_strengths)
        return min(range(len(marks)), key=lambda level: abs(marks[level] - strength))

    def value_text(self, strength: float) -> str:
        """Return the physical value at ``strength`` as text: "3.5 px"; "off" at 0."""
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
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


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
    if not isinstance(strength, numbers.Real):
        raise ParameterError(
            f"A strength must be a number from 0 (no change) to 1 (strongest), got {strength!r}."
        )
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


def stream(seed: int, digest: str, name: str) -> np.random.Generator:
    """The random stream of one image under one perturbation.

    It does not depend on strength or batch: moving a slider scales the same noise.
    """
    key = hashlib.sha256(f"{seed}\0{name}\0{digest}".encode()).digest()
    return np.random.Generator(np.random.SFC64(np.frombuffer(key, dtype=np.uint32).tolist()))


def apply(
    perturbation: Perturbation,
    images: Images,
    strength: float,
    *,
    seed: int = 0,
    digests: Sequence[str] | None = None,
) -> Images:
    """``images`` (N, S, S, 3) after ``perturbation`` at ``strength`` in [0, 1]; a new array.

    ``digests`` (N strings) seed the random streams; the default is those of ``images``. Unlike
    that of ``compose``, the result is not rounded to 8 bits. Strength 0 returns
    a copy. Raises ``ParameterError`` for a strength out of range or images of one pixel.
    """
    if images.shape[1] < MIN_SIDE:
        raise ParameterError(f"Expected images of {MIN_SIDE} pixels a side or more, got one pixel.")
    if check_strength(strength) == 0.0:
        return images.copy()
    streams: list[np.random.Generator] = []
    if perturbation.random:
        if digests is None:
            digests = [image_digest(image) for image in images]
        streams = [stream(seed, digest, perturbation.name) for digest in digests]
    return perturbation.change(images, strength, streams)


def ordered(strengths: Mapping[str, float]) -> list[tuple[Perturbation, float]]:
    """The perturbations of ``strengths`` above 0, in the order of composition.

    Raises ``UnknownNameError``, and ``ParameterError`` for a strength out of range and for one
    perturbation under two names.
    """
    strength_of: dict[str, float] = {}
    for name, value in strengths.items():
        record = REGISTRY[name]  # which also knows it by its label
        strength = check_strength(value)
        if record.name in strength_of:
            raise ParameterError(f"Expected each perturbation once, got {', '.join(strengths)}.")
        strength_of[record.name] = strength
    in_registry_order = [record for record in REGISTRY if strength_of.get(record.name, 0) > 0]
    by_stage = sorted(in_registry_order, key=lambda record: record.stage)  # a stable sort
    return [(record, strength_of[record.name]) for record in by_stage]


def compose(
    images: Images,
    strengths: Mapping[str, float],
    *,
    seed: int = 0,
    digests: Sequence[str] | None = None,
) -> Images:
    """``images`` after every perturbation of ``strengths`` {name: strength}; a new array.

    Values stay float32 between perturbations; the last result is rounded to 8 bits like a file. The
    order is that of ``ordered``, not of the mapping. The original seeds the random streams, so
    adding one perturbation does not change the noise of another.
    """
    if digests is None:
        digests = [image_digest(image) for image in images]
    result = images.copy()
    for record, strength in ordered(strengths):
        result = apply(record, result, strength, seed=seed, digests=digests)
    return round_to_grid(result)


Plane = NDArray[np.float32]
"""A float32 array that belongs to one image, such as noise or a mask."""


def blank(images: Images) -> Images:
    """An uninitialised C-contiguous array of the shape of ``images``."""
    return np.empty(images.shape, dtype=np.float32)


def clipped(images: Images) -> Images:
    """``images`` clipped to [0, 1] in place; only for an array of the caller."""
    return np.clip(images, 0.0, 1.0, out=images)


def in_pixels(length: float, images: Images) -> float:
    """``length`` in pixels of a 224 x 224 image, converted to pixels of ``images``."""
    return length * images.shape[1] / REFERENCE_SIDE


def at_side(layer: Plane, side: int) -> Plane:
    """``layer``, drawn at side 224, scaled to ``side``: every side has the same pattern."""
    if len(layer) == side:
        return layer
    resized = np.empty((side, side, *layer.shape[2:]), dtype=np.float32)
    cv2.resize(layer, (side, side), dst=resized, interpolation=cv2.INTER_LINEAR)
    return resized


SUBPIXEL_BITS = 4
"""Fractional bits of the coordinates given to OpenCV's drawing."""

DISPLAY_GAMMA = 2.2
"""Exponent from pixel value to light, which approximates sRGB's curve."""


def light_gain(gain: float) -> float:
    """The factor for pixel values that multiplies the light by ``gain``."""
    return float(gain ** (1.0 / DISPLAY_GAMMA))


Word = TypeVar("Word", np.uint16, np.int16, np.uint32)


def random_words(
    stream: np.random.Generator, shape: tuple[int, ...], dtype: type[Word]
) -> NDArray[Word]:
    """Independent integers of ``shape``, uniform over the whole range of ``dtype``.

    Splits 64-bit words, several times faster than drawing ``dtype`` from ``stream``.
    """
    count = math.prod(shape)
    pieces = 8 // np.dtype(dtype).itemsize
    words = stream.integers(2**64, size=math.ceil(count / pieces), dtype=np.uint64)
    return words.view(dtype)[:count].reshape(shape)


def grain_words(
    stream: np.random.Generator, shape: tuple[int, ...], dtype: type[Word], rows: int = 0
) -> NDArray[Word]:
    """``random_words`` for each pixel of images: axes ``rows`` and ``rows`` + 1 of ``shape``.

    They are drawn at side 224, and a pixel of another side has those of the nearest pixel there, so
    that every side sees the same grain, equally strong.
    """
    side = shape[rows]
    if side == REFERENCE_SIDE:
        return random_words(stream, shape, dtype)
    drawn = (*shape[:rows], REFERENCE_SIDE, REFERENCE_SIDE, *shape[rows + 2 :])
    nearest = (2 * np.arange(side) + 1) * REFERENCE_SIDE // (2 * side)
    words = random_words(stream, drawn, dtype)
    return words.take(nearest, axis=rows).take(nearest, axis=rows + 1)


def standard_normals(
    stream: np.random.Generator, shape: tuple[int, ...], out: Plane | None = None
) -> Plane:
    """Standard normal numbers of ``shape``, written to ``out`` if given.

    Looks up 16 random bits each among 65536 mid-quantiles (largest 4.3, standard deviation
    0.99999), several times faster than ``Generator.standard_normal``.
    """
    return normal_quantiles(random_words(stream, shape, np.uint16), out)


def normal_quantiles(words: NDArray[np.uint16], out: Plane | None = None) -> Plane:
    """The standard normal quantile number ``words`` of 65536."""
    return _normal_table().take(words, out=out, mode="clip")  # no index is out of range


@lru_cache(maxsize=1)
def _normal_table() -> Plane:
    quantile = NormalDist().inv_cdf
    upper = [quantile((level + 0.5) / 65536) for level in range(32768, 65536)]
    table = np.array([-value for value in reversed(upper)] + upper, dtype=np.float32)
    table.flags.writeable = False
    return table


MOST_LETTERS = 80
"""Longest query; the rest is ignored."""

_MISSPELT = 0.8
_RELATED = 0.6
"""Similarity from which a word counts as a misspelling or a suggestion."""

_LETTERS = 4
"""Shorter words are never misspellings."""

_USUAL = ("blur", "noise")
"""Suggestions if no word is similar."""

_FILLERS = words(
    "a an and at by for from in is it like looks my not of on or over seen taken the to too very "
    "was with image images photo photos image images"
)
_ENDING = re.compile(
    r"(.{3,}?)(?:i?ness|ation|at(?:ed|es|ing|e)|ions?|ings?|ed|ers?|est|ish|es|s|ly|e|i?y)"
    r"|(.{2,})[ey]"
)


class SearchResult(NamedTuple):
    """The perturbations found, best match first; without any, words to try instead."""

    records: tuple[Perturbation, ...]
    instead: tuple[str, ...] = ()

    @property
    def no_match(self) -> str:
        """The sentence for an empty result."""
        return f"No match. Try {' or '.join(f'“{word}”' for word in self.instead)}."


def find(query: str) -> SearchResult:
    """The perturbations that match every word of ``query``, those by their label first.

    A word without a match is taken as a misspelling of the nearest known one.
    """
    return _find(query[:MOST_LETTERS], tuple(REGISTRY))


@lru_cache(maxsize=256)
def _find(query: str, records: tuple[Perturbation, ...]) -> SearchResult:
    vocabulary: dict[str, None] = {}
    for record in records:
        vocabulary.update(dict.fromkeys(_search_words(record).all))
    query_words = words(query)
    telling_words = [word for word in query_words if word not in _FILLERS]
    terms: list[str] = []
    suggestions: list[str] = []
    for word in telling_words or query_words:
        if _match([word], vocabulary):
            similar = [word]
        else:
            similar = nearest(word, vocabulary, cutoff=_RELATED)
        suggestions += similar
        corrected = []
        if len(word) >= _LETTERS:
            corrected = nearest(word, similar, cutoff=_MISSPELT)
        terms += corrected or [word]
    matches = [record for record in records if _match(terms, _search_words(record).all)]
    if not matches:
        return SearchResult((), tuple(suggestions[:3]) or _USUAL)
    matches.sort(key=lambda record: _distance(query_words, terms, _search_words(record)))
    return SearchResult(tuple(matches))


class _SearchWords(NamedTuple):
    """The words that a perturbation is found by; each set includes the one before it."""

    label: tuple[str, ...]
    own: tuple[str, ...]
    """Also those of its name and ``search``."""
    all: tuple[str, ...]
    """Also those of its family and risk."""


@lru_cache(maxsize=256)
def _search_words(record: Perturbation) -> _SearchWords:
    label = words(record.label)
    own = (*label, *words(record.name), *record.search)
    return _SearchWords(label, own, (*own, *words(f"{record.family} {record.risk}")))


def _distance(query_words: Sequence[str], terms: Sequence[str], known: _SearchWords) -> int:
    """How far a match is from its perturbation.

    0 for words of the label as they are, 1 for other forms of these, 2 for other words of its own,
    3 for those of its family or risk.
    """
    if not _match(terms, known.own):
        return 3
    if not _match(terms, known.label):
        return 2
    if set(query_words) <= set(known.label):
        return 0
    return 1


def _match(query_words: Iterable[str], known_words: Iterable[str]) -> bool:
    """Whether each query word begins a known word or has its stem."""
    return all(_is_known(word, known_words) for word in query_words)


def _is_known(query_word: str, known_words: Iterable[str]) -> bool:
    stem = _stem(query_word)
    return any(word.startswith(query_word) or _stem(word) == stem for word in known_words)


@lru_cache(maxsize=4096)
def _stem(word: str) -> str:
    """``word`` without its endings: "fog" of "foggy", "dark" of "darker" and "darkness"."""
    word = re.sub(r"([^aeious])\1$", r"\1", word)  # "fogg" of "foggy"
    ending = _ENDING.fullmatch(word)
    if ending is None:
        return word
    return _stem(ending[1] or ending[2])
