"""Statistics of simulated images: what processes give is what this process would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robustness.images.pixels import from_uint8
from robustness.matching.simulation import simulated_statistics
from robustness.matching.statistics import image_statistics
from robustness.perturbations import REGISTRY, compose


def test_processes_give_the_statistics_that_this_one_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = replace(REGISTRY["darkness"], name="of_a_plugin")
    monkeypatch.setitem(REGISTRY._records, own.name, own)
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (3, 64, 64, 3), np.uint8)
    compositions = [{"gaussian_noise": 0.3, "jpeg_compression": 0.5}, {"fog": 0.4}] * 20
    done: list[int] = []
    for last in ({"darkness": 0.5}, {own.name: 0.5}):  # the second is known here alone
        strengths: list[dict[str, float]] = [*compositions, last]
        rows = draws.integers(0, 3, len(strengths))
        digests = [str(index) for index in range(len(rows))]
        expected = [
            image_statistics(
                compose(from_uint8(pixels[row])[None], some, seed=5, digests=[digest])[0]
            )
            for row, some, digest in zip(rows, strengths, digests, strict=True)
        ]
        vectors = simulated_statistics(pixels, rows, strengths, digests, 5, done.append)
        np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-5)
    assert done[-1] == len(rows)
