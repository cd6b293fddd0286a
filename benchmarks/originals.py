"""Holds the corruptions against ImageNet-C's originals by what models make of them.

Each image goes through the product's corruption and through the original, both in 8 bits, and
through the product's saved as JPEG as ImageNet-C's files were. Every model is asked about all of
them. Run it with ``python -m benchmarks.originals FOLDER [CORRUPTION ...]``: on 200 photographs it
takes a quarter of an hour a model, and on few its intervals say nothing, so that it is no part of
``python -m benchmarks``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.original_corruptions import original
from robustness import models
from robustness.datasets import open_dataset
from robustness.images.framing import study_image
from robustness.images.pixels import to_uint8
from robustness.measure.options import IMAGENET_C_SUITE
from robustness.measure.request import SEVERITIES, suite_names
from robustness.perturbations import REGISTRY, SAVED_AS_JPEG, Images, compose

NAMES = ("SqueezeNet", "EfficientNetLite0")
BATCH = 16
KINDS = ("original", "ours", "as JPEG")

Floats = NDArray[np.float64]


def answers(model: str, images: Images) -> NDArray[np.float32]:
    """Probabilities (N, classes) of ``model`` for ``images``."""
    classifier = models.load(model)
    starts = range(0, len(images), BATCH)
    return np.concatenate([classifier(images[s : s + BATCH]).probabilities for s in starts])


def kinds(name: str, severity: int, images: Images) -> Iterator[Images]:
    """``images`` under the corruption, in the order of ``KINDS``."""
    pixels = [original(name, to_uint8(image), severity, seed) for seed, image in enumerate(images)]
    yield np.stack(pixels).astype(np.float32) / np.float32(255)
    strengths = {name: REGISTRY[name].severity_strengths[severity - 1]}
    yield compose(images, strengths)
    yield compose(images, {**strengths, SAVED_AS_JPEG: 1.0})


def measure(name: str, severity: int, images: Images, model: str) -> tuple[Floats, Floats]:
    """(whether the answer stayed, what its class lost), (3, N) each, by ``KINDS`` and image."""
    clean = answers(model, images)
    top = clean.argmax(axis=1)
    every = np.arange(len(images))
    stayed = []
    lost = []
    for perturbed in kinds(name, severity, images):
        found = answers(model, perturbed)
        stayed.append(found.argmax(axis=1) == top)
        lost.append(clean[every, top] - found[every, top])
    return np.array(stayed, dtype=np.float64), np.array(lost, dtype=np.float64)


def _difference(one: Floats, other: Floats) -> str:
    """Mean of ``one`` - ``other`` in points, with half its 95% interval over images."""
    difference = 100 * (one - other)
    half = 1.96 * difference.std() / np.sqrt(len(difference))
    return f"{difference.mean():+6.1f} +-{half:4.1f}"


def main(arguments: Sequence[str] = ()) -> None:
    """Prints a line a corruption, severity and model, and one for the mean of the severities."""
    source, *names = arguments or ["samples"]
    dataset = open_dataset(source)
    images = np.stack([study_image(dataset.read(entry)) for entry in dataset.entries])
    print(f"{len(images)} images; consistency and probability lost in points, differences with")
    print("95% intervals over images: ours - original, and what saving as JPEG adds to ours")
    heads = ("original", "ours", "difference", "lost, difference", "as JPEG")
    print(f"{'corruption':18} {'at':4} {'model':18}" + "".join(f"{head:>17}" for head in heads))
    for name in names or suite_names(IMAGENET_C_SUITE):
        for model in NAMES:
            found = [measure(name, severity, images, model) for severity in SEVERITIES]
            mean = tuple(np.mean([each[part] for each in found], axis=0) for part in (0, 1))
            for at, (stayed, lost) in zip((*SEVERITIES, "mean"), [*found, mean], strict=True):
                cells = (
                    *(f"{100 * stayed[kind].mean():.1f}" for kind in (0, 1)),
                    _difference(stayed[1], stayed[0]),
                    _difference(lost[1], lost[0]),
                    _difference(stayed[2], stayed[1]),
                )
                print(f"{name:18} {at:<4} {model:18}" + "".join(f"{cell:>17}" for cell in cells))


if __name__ == "__main__":
    main(sys.argv[1:])
