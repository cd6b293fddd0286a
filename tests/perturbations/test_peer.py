"""The perturbations against the PyPI package ``imagecorruptions``, which made ImageNet-C's code."""

from __future__ import annotations

import numpy as np
import pytest
from imagecorruptions import corruptions as peer
from numpy.typing import NDArray
from PIL import Image

from robustness.perturbations import REGISTRY, Images, Perturbation, apply
from robustness.perturbations.blur import disk
from tests.support.oracles import PHOTOS, at_every_severity, of_peer, photos, psnr, radial_power

COUNTERPARTS = [record for record in REGISTRY if record.imagenet_c is not None]

LEAST_PSNR = 40.0
"""dB, to the peer's uint8, where truncation alone costs all above 53."""
LEAST_UNROUNDED_PSNR = {
    **dict.fromkeys(("brightness", "gaussian_blur", "contrast", "saturate", "zoom_blur"), 130.0),
    "defocus_blur": 58.0,
    "jpeg_compression": 130.0,
    "pixelate": 52.0,  # the peer averages in 8 bits
}
"""dB, to what the peer computes before it rounds, for those that repeat it step by step."""

RUNS = {"fog": 60, "snow": 24, "spatter": 16, "frost": 36}
"""Seeds averaged over, 8 by default; clouds differ more from one another than noises do."""
TOLERANCE = {
    "fog": (0.04, 0.012, 0.08),
    "motion_blur": (0.003, 0.0015, 0.25),
    "glass_blur": (0.0035, 0.001, 0.1),  # the peer cuts to 8 bits half-way: 0.002 darker
    "snow": (0.008, 0.003, 0.25),
    "frost": (0.06, 0.02, 0.6),  # sheets that are drawn, not photographed
    "spatter": (0.003, 0.002, 0.6),
    "elastic_transform": (0.003, 0.0015, 0.25),
}
"""Of mean and spread in full scale, and of the power in a band as a share of the peer's.

About four standard errors (two for the mean under frost, whose sheets differ so much from one
another). By default (0.0015, 0.0008, 0.12)."""


@at_every_severity
@pytest.mark.parametrize(
    "record", [r for r in COUNTERPARTS if not r.random], ids=lambda record: record.name
)
def test_deterministic_ones_equal_the_peer(record: Perturbation, severity: int) -> None:
    name = record.imagenet_c
    assert name is not None
    ours = apply(record, photos(), record.severity_strengths[severity - 1])
    for photo, result in zip(PHOTOS, ours, strict=True):
        unrounded = of_peer(name, photo, severity)
        rounded = (unrounded * 255).astype(np.uint8) / 255  # as its ``corrupt`` hands it out
        assert psnr(result, rounded) >= LEAST_PSNR, photo
        assert psnr(result, unrounded) >= LEAST_UNROUNDED_PSNR.get(record.name, 0.0), photo


@at_every_severity
@pytest.mark.parametrize(
    "record", [r for r in COUNTERPARTS if r.random], ids=lambda record: record.name
)
def test_random_ones_are_distributed_as_the_peers(record: Perturbation, severity: int) -> None:
    """Mean and spread of the picture, and the spectrum of the change, averaged over seeds."""
    name = record.imagenet_c
    assert name is not None
    clean = photos("chelsea")
    runs = range(RUNS.get(record.name, 8))
    strength = record.severity_strengths[severity - 1]
    ours = [traits(apply(record, clean, strength, seed=seed)[0], clean[0]) for seed in runs]
    theirs = [traits(of_peer(name, "chelsea", severity, seed), clean[0]) for seed in runs]
    (mean, spread, *power), (peer_mean, peer_spread, *peer_power) = (
        np.mean(results, axis=0) for results in (ours, theirs)
    )
    of_mean, of_spread, of_power = TOLERANCE.get(record.name, (0.0015, 0.0008, 0.12))
    assert mean == pytest.approx(peer_mean, abs=of_mean)
    assert spread == pytest.approx(peer_spread, abs=of_spread)
    assert power == pytest.approx(peer_power, rel=of_power)


def traits(result: NDArray[np.floating], clean: Images) -> list[float]:
    """Mean, spread and power in each band of the change, finer than a few waves a side."""
    return [result.mean(), result.std(), *radial_power(result - clean)[1:]]


@at_every_severity
@pytest.mark.parametrize("name", ["salt_and_pepper", "impulse_noise"])
def test_each_channel_of_impulses_is_distributed_as_the_peers(name: str, severity: int) -> None:
    """Shares of black and of white within 5 standard deviations of a binomial, on both sides."""
    record = REGISTRY[name]
    amount = record.parameter_at(record.severity_strengths[severity - 1])
    between = np.clip(photos("coffee"), 0.1, 0.9)
    ours = apply(record, between, record.severity_strengths[severity - 1])[0]
    given = Image.fromarray((between[0] * 255).astype(np.uint8))
    theirs = peer.impulse_noise(given, severity, seed=severity) / 255
    tolerance = 5 * np.sqrt(amount / 2 / (224 * 224))
    for result in (ours, theirs):
        for channel in range(3):
            for extreme in (0.0, 1.0):
                share = float(np.mean(result[..., channel] == extreme))
                assert share == pytest.approx(amount / 2, abs=tolerance)


@at_every_severity
def test_disk_is_the_peers_but_for_the_margin_it_lacks(severity: int) -> None:
    radius, alias = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)][severity - 1]
    ours, theirs = (
        np.pad(k, 12 - len(k) // 2) for k in (disk(float(radius), alias), peer.disk(radius, alias))
    )
    # Its blur is mirrored at the end of a grid that reaches to 8, or to a radius above 8.
    safe = 12 if radius < 8 else radius - 2
    core = slice(12 - safe, 13 + safe)
    np.testing.assert_allclose(ours[core, core], theirs[core, core], atol=2e-6, rtol=3e-3)
    assert ours.sum() == pytest.approx(1, abs=1e-6)
