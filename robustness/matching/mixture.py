"""Which production images a composition affects, where only some are affected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustness.matching.emulator import Emulator
from robustness.matching.image_statistics import Floats

_STEPS = 200
_SEPARATE = 1.5
"""Standard deviations between originals and simulations, below which 50 images of which half are
affected look as if all were, by less."""
_CLEAR = 8.0
"""Log-likelihood that a mixture must gain over images that are all alike. Measured on folders of 50
photographs: of which 30 to 50 % were affected, 23 or more; under one composition or under strengths
that vary from image to image, less than 0."""


def affected(
    production: Floats, emulator: Emulator, strengths: NDArray[np.float64]
) -> tuple[NDArray[np.float64], bool]:
    """The probability (n,) of each image that the composition affects it; whether that is decided.

    Originals and simulations of the reference are two Gaussians on their linear discriminant.
    Their shares are fitted by expectation and maximisation. Without a clear gain all are 1: over
    one composition for all images, and over one Gaussian anywhere, as of strengths that vary.
    """
    from scipy import linalg, stats  # slow to import

    sides = (emulator.originals, emulator.images(strengths))
    pooled = (np.cov(sides[0].T) + np.cov(sides[1].T)) / 2 + emulator.error
    gap = (sides[1].mean(0) - sides[0].mean(0)).astype(np.float64)
    direction = linalg.solve(pooled, gap, assume_a="pos")
    noise = direction @ emulator.error @ direction
    scores = production @ direction
    means = [float((side @ direction).mean()) for side in sides]
    errors = [float(np.sqrt((side @ direction).var() + noise)) for side in sides]
    separate = abs(means[1] - means[0]) > _SEPARATE * max(errors)
    logs = np.stack(
        [stats.norm.logpdf(scores, *side) for side in zip(means, errors, strict=True)], 1
    )
    highest = logs.max(1, keepdims=True)
    densities = np.exp(logs - highest)
    shares = np.array([0.5, 0.5])
    for _ in range(_STEPS):
        parts = densities * shares
        parts /= parts.sum(1, keepdims=True)
        shares = parts.mean(0)
    mixture = float(np.sum(np.log(densities @ shares) + highest[:, 0]))
    one = float(np.sum(stats.norm.logpdf(scores, scores.mean(), scores.std() + 1e-9)))
    clear = mixture - max(float(logs[:, 1].sum()), one) > _CLEAR
    return np.asarray(parts[:, 1] if clear else np.ones(len(scores))), separate or clear
