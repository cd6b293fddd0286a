"""The random perturbations against ImageNet-C's originals when both draw the same random numbers.

Those draw from NumPy's global functions, which are replaced by replays of our own stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.support.lazy_modules import Later
from benchmarks.support.original_corruptions import levels_above, original
from robustness.images.framing import image_digest
from robustness.perturbations import REGISTRY, apply
from robustness.perturbations.blur import GLASS_SWEEPS
from robustness.perturbations.record import random_words, standard_normals, stream
from tests.support.oracles import at_every_severity, photo_bytes, photos

peer = Later("imagecorruptions.corruptions")
SEED = 5


def source(name: str, photo: str) -> np.random.Generator:
    """The stream that ``apply`` hands to the perturbation ``name`` for ``photo``."""
    return stream(SEED, image_digest(photos(photo)[0]), name)


def off(name: str, photo: str, severity: int, right: tuple[int, ...] = (0, 1)) -> float:
    """Share of the values that are not the original's in 8 bits, which it cuts and we round.

    ``right`` are the levels above the original's that a value may lie.
    """
    record = REGISTRY[name]
    ours = apply(record, photos(photo), record.severity_strengths[severity - 1], seed=SEED)
    above = levels_above(ours[0], original(name, photo_bytes(photo), severity))
    return float(np.mean(~np.isin(above, right)))


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
    assert off("fog", "coffee", severity) == 0.0
    assert taken == numbers.size


def replay_normals(name: str, photo: str, monkeypatch: pytest.MonkeyPatch) -> np.random.Generator:
    """Make the peer draw our normal numbers; returns the stream for further draws."""
    ours = source(name, photo)

    def replay(size: tuple[int, ...], scale: float, loc: float = 0.0) -> NDArray[np.float64]:
        return standard_normals(ours, size).astype(np.float64) * scale + loc

    monkeypatch.setattr(np.random, "normal", replay)
    return ours


@at_every_severity
@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_noises(name: str, severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replay_normals(name, "rocket", monkeypatch)
    assert off(name, "rocket", severity) == 0.0


@at_every_severity
def test_motion_blur(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "uniform", source("motion_blur", "coffee").uniform)
    assert off("motion_blur", "coffee", severity) == 0.0


@at_every_severity
def test_snow(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = replay_normals("snow", "astronaut", monkeypatch)
    monkeypatch.setattr(np.random, "uniform", ours.uniform)
    assert off("snow", "astronaut", severity) < 0.01  # the original cuts the flakes to 8 bits


@at_every_severity
def test_spatter(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replay_normals("spatter", "coffee", monkeypatch)
    assert off("spatter", "coffee", severity) == 0.0


@at_every_severity
def test_elastic_transform(severity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = source("elastic_transform", "coffee")
    corners = ours.uniform(-1, 1, (3, 2))
    numbers = iter([corners, *random_words(ours, (2, 224, 224), np.int16) / 32768])

    def replay(low: float, high: float, size: tuple[int, ...]) -> NDArray[np.float64]:
        chosen = next(numbers)
        assert (low, size) == (-high, chosen.shape)
        return chosen * high

    monkeypatch.setattr(np.random, "uniform", replay)
    assert off("elastic_transform", "coffee", severity) == 0.0


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

    monkeypatch.setattr("imagecorruptions.corruptions._shuffle_pixels_njit_glass_blur", replay)
    # the original cuts to 8 bits twice: half-way, too
    assert off("glass_blur", "chelsea", severity, (0, 1, 2)) == 0.0
