"""Datasets made of the sample photographs: crops at several scales, and drawings."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from robustness.images.decoding import sample_bytes

CLASSES = {"coffee": "n07920052", "chelsea": "Egyptian cat", "motorcycle": "670"}
"""Samples that have an ImageNet class, named in each of the three ways there are."""


def crops(name: str, count: int, seed: int = 0) -> Iterator[Image.Image]:
    """``count`` crops of a sample at random places and scales, at least 60% of its short side."""
    random = np.random.default_rng([seed, *name.encode()])
    with Image.open(io.BytesIO(sample_bytes(name))) as opened:
        picture = opened.convert("RGB")
    for _ in range(count):
        side = int(min(picture.size) * random.uniform(0.6, 1.0))
        left = int(random.integers(0, picture.width - side + 1))
        top = int(random.integers(0, picture.height - side + 1))
        yield picture.crop((left, top, left + side, top + side))


def drawing(seed: int, size: tuple[int, int] = (300, 260)) -> Image.Image:
    """Coloured ellipses on a plain ground."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x = sorted(random.integers(0, size[0], 2))
        y = sorted(random.integers(0, size[1], 2))
        draw.ellipse((x[0], y[0], x[1] + 1, y[1] + 1), tuple(random.integers(0, 256, 3).tolist()))
    return image


def labelled_folder(folder: Path, each: int = 2) -> Path:
    """One sub-folder a class, ``each`` crops in every one."""
    for sample, directory in CLASSES.items():
        (folder / directory).mkdir(parents=True)
        for number, crop in enumerate(crops(sample, each)):
            crop.save(folder / directory / f"{sample}-{number}.jpg", quality=92)
    return folder


def flat_folder(folder: Path, count: int) -> Path:
    """``count`` crops of all samples in turn, without labels."""
    folder.mkdir(parents=True)
    names = [*CLASSES, "rocket", "astronaut"]
    makers = [crops(name, -(-count // len(names))) for name in names]
    for number in range(count):
        crop = next(makers[number % len(names)])
        crop.save(folder / f"{number:05d}.jpg", quality=92)
    return folder
