"""Applies one perturbation, or several in their fixed order, to a batch of study images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from robustness.perturbations.perturbation import REGISTRY, Images, Perturbation, check_strength
from robustness.pictures.eight_bits import round_to_grid
from robustness.pictures.picture import image_digest


def stream(seed: int, digest: str, name: str) -> np.random.Generator:
    """The random stream of one image under one perturbation.

    It depends on neither the strength nor the batch: moving a slider scales the same noise.
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

    ``digests`` (N strings) name the images in their random streams; by default they are taken of
    ``images``. The result is not rounded to 8 bits, as that of ``compose`` is. Strength 0 returns
    a copy. Raises ``ParameterError`` for a strength out of range.
    """
    if check_strength(strength) == 0.0:
        return images.copy()
    streams: list[np.random.Generator] = []
    if perturbation.random:
        digests = digests if digests is not None else [image_digest(image) for image in images]
        streams = [stream(seed, digest, perturbation.name) for digest in digests]
    return perturbation.function(images, strength, streams)


def ordered(strengths: Mapping[str, float]) -> list[tuple[Perturbation, float]]:
    """The perturbations of ``strengths`` that do something, in the order in which they compose."""
    place = {name: index for index, name in enumerate(REGISTRY.names)}
    active = [(REGISTRY[name], check_strength(value)) for name, value in strengths.items()]
    active = [(record, value) for record, value in active if value > 0]
    return sorted(active, key=lambda pair: (pair[0].stage, place[pair[0].name]))


def compose(
    images: Images,
    strengths: Mapping[str, float],
    *,
    seed: int = 0,
    digests: Sequence[str] | None = None,
) -> Images:
    """``images`` after every perturbation of ``strengths`` {name: strength}; a new array.

    Between perturbations values are as fine as float32; the last result is rounded to 8 bits, as a
    camera's or a file's would be. The order is that of ``ordered``, whatever the order of the
    mapping. Random streams are named by the clean images, so adding one perturbation leaves the
    noise of another as it was.
    """
    digests = digests if digests is not None else [image_digest(image) for image in images]
    result = images.copy()
    for record, strength in ordered(strengths):
        result = apply(record, result, strength, seed=seed, digests=digests)
    return round_to_grid(result)
