"""Five sample photographs, the same files as in scikit-image's wheel.

The README beside them has sources and terms. Each is checked against a SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from robustness.base.errors import ImageError
from robustness.base.registry import Registry
from robustness.pictures.decoding import read_file

FOLDER = Path(__file__).parent / "photographs"
_REMEDY = "fetch the dashboard's own files again"


@dataclass(frozen=True)
class Sample:
    """A bundled photograph.

    ``alt`` is its text alternative. ``credit`` names the author and the terms of use. ``synset`` is
    the WordNet id of its ImageNet class; None if ImageNet has no such class.
    """

    name: str
    label: str
    alt: str
    synset: str | None
    filename: str
    sha256: str
    credit: str


REGISTRY: Registry[Sample] = Registry("sample")

for _sample in (
    Sample(
        name="coffee",
        label="Cup of espresso",
        alt="A red cup of espresso with a small spoon on a red saucer, on a wooden table.",
        synset="n07920052",
        filename="coffee.png",
        sha256="cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        credit="Rachel Michetti, courtesy of Pikolo Espresso Bar (CC0)",
    ),
    Sample(
        name="chelsea",
        label="Chelsea the cat",
        alt="The face of a light brown tabby cat with green eyes, seen from close up.",
        synset="n02124075",
        filename="chelsea.png",
        sha256="596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        credit="Stefan van der Walt (CC0)",
    ),
    Sample(
        name="rocket",
        label="Rocket at dusk",
        alt="A white rocket upright on its launch pad between lattice towers, at dusk.",
        synset=None,
        filename="rocket.jpg",
        sha256="c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        credit="SpaceX (public domain)",
    ),
    Sample(
        name="motorcycle",
        label="Motorcycle in a garage",
        alt="A red motorcycle on its stand in a garage, in front of shelves full of boxes.",
        synset=None,
        filename="motorcycle_left.png",
        sha256="db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        credit="D. Scharstein et al., Middlebury Stereo Datasets 2014 (published with permission)",
    ),
    Sample(
        name="astronaut",
        label="Astronaut Eileen Collins",
        alt=(
            "A smiling woman in an orange space suit, her helmet in front of her, between a flag "
            "of the United States and a model of a space shuttle."
        ),
        synset=None,
        filename="astronaut.png",
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        credit="NASA (public domain)",
    ),
):
    REGISTRY.add(_sample)


def sample_path(name: str) -> Path:
    """The path of the sample ``name``; the file is not checked.

    Raises ``UnknownNameError`` for an unknown name.
    """
    return FOLDER / REGISTRY[name].filename


SAMPLE = "sample:"
"""Prefix of a sample in place of the path of an image: ``sample:coffee``."""


def picture_file(path: str | os.PathLike[str]) -> str:
    """``path`` itself, or the path of the sample that it names.

    Raises what ``sample_path`` raises.
    """
    text = os.fspath(path)
    return str(sample_path(text.removeprefix(SAMPLE))) if text.startswith(SAMPLE) else text


def sample_bytes(name: str) -> bytes:
    """The file of the sample ``name``, verified; raises as ``sample_path`` does, and
    ``ImageError`` if the file is missing or not the expected one."""
    sample = REGISTRY[name]
    path = sample_path(name)
    try:
        data = read_file(path)
    except ImageError as error:
        raise ImageError(
            f'The sample "{name}" is missing: expected the file {path}; {_REMEDY}.'
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != sample.sha256:
        raise ImageError(
            f'The sample "{name}" is not the expected file: expected SHA-256 '
            f"{sample.sha256[:12]}…, got {digest[:12]}…; {_REMEDY}."
        )
    return data
