"""The random perturbations against ``imagecorruptions`` when both draw the same random numbers.

The peer draws from NumPy's global functions, which are replaced by replays of our own stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from imagecorruptions import corruptions as peer
from numpy.typing import NDArray

from robustness.perturbations import REGISTRY, apply
from robustness.perturbations.arrays import random_words, standard_normals
from robustness.perturbations.compose import stream
from robustness.perturbations.motion import GLASS_SWEEPS
from robustness.pictures.picture import image_digest
from tests.support.oracles import at_every_severity, of_peer, photos, psnr

SEED = 5


def source(name: str, photo: str) -> np.random.Generator:
    """The stream that ``apply`` hands to the perturbation ``name`` for ``photo``."""
    return stream(SEED, image_digest(photos(photo)[0]), name)


def agreement(name: str, photo: str, severity: int) -> float:
    """PSNR in dB of our result to the peer's, not rounded."""
    record = REGISTRY[name]
    ours = apply(record, photos(photo), record.severity_strengths[severity - 1], seed=SEED)
    return psnr(ours[0], of_peer(name, photo, severity))


@at_every_severity
def test_fog(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = random_words(source("fog", "coffee"), (256 * 256 - 1,), np.int16) / 32768
    taken = 0

    def replay(low: float, high: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        nonlocal taken
        assert low == -high
        chosen = numbers[taken : taken + int(np.prod(shape))].reshape(shape)
        taken += chosen.size
        return high * chosen

    monkeypatch.setattr(np.random, "uniform", replay)
    assert agreement("fog", "coffee", severity) > 100
    assert taken == numbers.size


def replay_normals(name: str, photo: str, monkeypatch: pytest.MonkeyPatch) -> np.random.Generator:
    """Has the peer draw our normal numbers; returns the stream, for what is drawn after them."""
    ours = source(name, photo)

    def replay(size: tuple[int, ...], scale: float, loc: float = 0.0) -> NDArray[np.float64]:
        return standard_normals(ours, size).astype(np.float64) * scale + loc

    monkeypatch.setattr(np.random, "normal", replay)
    return ours


@at_every_severity
@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_noises(name: str, severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replay_normals(name, "rocket", monkeypatch)
    assert agreement(name, "rocket", severity) > 130


@at_every_severity
@pytest.mark.parametrize("photo", ["coffee", "motorcycle"])
def test_motion_blur(photo: str, severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "uniform", source("motion_blur", photo).uniform)
    assert agreement("motion_blur", photo, severity) > 120


@at_every_severity
def test_snow(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = replay_normals("snow", "astronaut", monkeypatch)
    monkeypatch.setattr(np.random, "uniform", ours.uniform)
    assert agreement("snow", "astronaut", severity) > 48  # the peer rounds the flakes to 8 bits


@at_every_severity
def test_spatter(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replay_normals("spatter", "coffee", monkeypatch)
    assert agreement("spatter", "coffee", severity) > 60


@at_every_severity
def test_elastic_transform(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = iter(random_words(source("elastic_transform", "coffee"), (2, 224, 224), np.int16))

    def replay(low: float, high: float, size: tuple[int, ...]) -> NDArray[np.float64]:
        assert (low, size) == (-high, (224, 224))
        return next(fields) / 32768 * high

    monkeypatch.setattr(np.random, "uniform", replay)
    assert agreement("elastic_transform", "coffee", severity) > 60


@at_every_severity
def test_glass_blur(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    words = random_words(
        source("glass_blur", "chelsea"), (max(GLASS_SWEEPS), 2, 224, 224), np.int16
    )
    sweep = peer._shuffle_pixels_njit_glass_blur.py_func  # the same, not compiled

    def replay(d0: int, d1: int, image: Any, setting: tuple[float, int, int], seed: int) -> Any:
        reach = setting[1]
        inside = slice(reach + 1, 224 - reach + 1)
        looks = np.floor(words[: setting[2], :, inside, inside] * (reach / 32768)).astype(int)
        pairs = iter(looks[:, :, ::-1, ::-1].transpose(0, 2, 3, 1).reshape(-1, 2))
        monkeypatch.setattr(np.random, "randint", lambda low, high, size: next(pairs))
        return sweep(d0, d1, image, setting, seed)

    monkeypatch.setattr(peer, "_shuffle_pixels_njit_glass_blur", replay)
    assert agreement("glass_blur", "chelsea", severity) > 50  # the peer cuts to 8 bits half-way
