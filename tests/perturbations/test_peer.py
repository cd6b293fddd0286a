"""The perturbations against the originals of ImageNet-C, in the 8 bits that those hand out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.support.original_corruptions import Pixels, levels_above, original
from robustness.perturbations import REGISTRY, Images, Perturbation, apply
from tests.support.oracles import at_every_severity, photo_bytes, photos, radial_power

COUNTERPARTS = [record for record in REGISTRY if record.imagenet_c is not None]

OFF = {"defocus_blur": 0.015}
"""Share of the values that may be off, where ours departs on purpose: see ``defocus_gain``."""
ROUNDED_TWICE = {"pixelate": (-1, 0, 1)}
"""Levels above the original that are right where that rounds twice on its way, not cuts."""

REPLAYED = (
    *("fog", "gaussian_noise", "speckle_noise", "motion_blur", "snow", "spatter"),
    *("elastic_transform", "glass_blur"),
)
"""``test_replay`` compares these with the originals pixel by pixel, on the same random numbers."""

RUNS = {"frost": 36}
"""Seeds averaged over, 8 by default; sheets of ice differ more from one another than noises do."""
TOLERANCE = {"frost": (0.05, 0.012, 0.5)}
"""Of mean and spread in full scale, and of the power in a band as a share of the original's.

About four standard errors (two for the mean under frost). By default (0.0015, 0.0008, 0.12)."""


@at_every_severity
@pytest.mark.parametrize(
    "record", [r for r in COUNTERPARTS if not r.random], ids=lambda record: record.name
)
def test_deterministic_ones_are_the_originals(record: Perturbation, severity: int) -> None:
    name = record.imagenet_c
    assert name is not None
    chosen = ("coffee", "astronaut")
    ours = apply(record, photos(*chosen), record.severity_strengths[severity - 1])
    for photo, result in zip(chosen, ours, strict=True):
        above = levels_above(result, original(name, photo_bytes(photo), severity))
        off = ~np.isin(above, ROUNDED_TWICE.get(name, (0, 1)))
        assert off.mean() <= OFF.get(name, 0.0), photo
        assert np.abs(above).max() <= 3, photo


@pytest.mark.parametrize(
    ("record", "severity"),
    [
        pytest.param(record, severity, id=f"{record.name}-{severity}")
        for record in COUNTERPARTS
        if record.random
        if record.name not in REPLAYED
        for severity in ((1, 5) if record.name == "frost" else (1, 3, 5))
    ],
)
def test_random_ones_are_distributed_as_the_originals(record: Perturbation, severity: int) -> None:
    """Mean and spread of the image, and the spectrum of the change, averaged over seeds."""
    name = record.imagenet_c
    assert name is not None
    clean = photos("chelsea")
    runs = range(RUNS.get(record.name, 8))
    strength = record.severity_strengths[severity - 1]
    ours = [
        traits(rounded(apply(record, clean, strength, seed=seed)[0]), clean[0]) for seed in runs
    ]
    read = cut_nothing if name == "impulse_noise" else uncut
    theirs = [
        traits(read(original(name, photo_bytes("chelsea"), severity, seed)), clean[0])
        for seed in runs
    ]
    (mean, spread, *power), (their_mean, their_spread, *their_power) = (
        np.mean(results, axis=0) for results in (ours, theirs)
    )
    of_mean, of_spread, of_power = TOLERANCE.get(record.name, (0.0015, 0.0008, 0.12))
    assert mean == pytest.approx(their_mean, abs=of_mean)
    assert spread == pytest.approx(their_spread, abs=of_spread)
    assert power == pytest.approx(their_power, rel=of_power)


def rounded(image: Images) -> NDArray[np.float64]:
    """``image`` on the grid of 8 bits."""
    return np.rint(image.astype(np.float64) * 255) / 255


def uncut(pixels: Pixels) -> NDArray[np.float64]:
    """``pixels`` in [0, 1], with the half level that cutting took from all but black and white."""
    return (pixels + 0.5 * ((pixels > 0) & (pixels < 255))) / 255


def cut_nothing(pixels: Pixels) -> NDArray[np.float64]:
    """``pixels`` in [0, 1], of a corruption that leaves whole numbers whole."""
    return pixels / 255


def traits(result: NDArray[np.floating], clean: Images) -> list[float]:
    """Mean, spread and power in each band of the change, finer than a few waves a side."""
    return [result.mean(), result.std(), *radial_power(result - clean)[1:]]
