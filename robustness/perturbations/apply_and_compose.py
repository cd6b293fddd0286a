"""Application of one perturbation, or of several in a fixed order, to study images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from robustness.base.errors import ParameterError
from robustness.perturbations.perturbation import REGISTRY, Images, Perturbation, check_strength
from robustness.pictures.eight_bits import round_to_grid
from robustness.pictures.framed_picture import image_digest
from robustness.pictures.framing_and_study_image import MIN_SIDE


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
        digests = digests if digests is not None else [image_digest(image) for image in images]
        streams = [stream(seed, digest, perturbation.name) for digest in digests]
    return perturbation.change(images, strength, streams)


def ordered(strengths: Mapping[str, float]) -> list[tuple[Perturbation, float]]:
    """The perturbations of ``strengths`` above 0, in the order of composition.

    Raises ``UnknownNameError``, and ``ParameterError`` for a strength out of range and for one
    perturbation under two names.
    """
    place = {name: index for index, name in enumerate(REGISTRY.names)}
    every = [(REGISTRY[name], check_strength(value)) for name, value in strengths.items()]
    if len({record.name for record, _ in every}) < len(every):
        raise ParameterError(f"Expected each perturbation once, got {', '.join(strengths)}.")
    active = [(record, value) for record, value in every if value > 0]
    return sorted(active, key=lambda pair: (pair[0].stage, place[pair[0].name]))


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
    digests = digests if digests is not None else [image_digest(image) for image in images]
    result = images.copy()
    for record, strength in ordered(strengths):
        result = apply(record, result, strength, seed=seed, digests=digests)
    return round_to_grid(result)
