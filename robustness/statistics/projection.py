"""Features in two dimensions, by principal components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def principal(features: Floats) -> tuple[Floats, tuple[float, float]]:
    """The first two principal components (n, 2) of ``features`` (n, D), and their shares of the
    variance.

    The sign of a component makes its largest loading positive.
    """
    centred = features.astype(float) - features.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = (
        axes[:2]
        * np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    )
    coordinates = np.zeros((len(features), 2))
    coordinates[:, : len(axes)] = centred @ axes.T
    shares = np.zeros(2)
    if total := float((sizes**2).sum()):
        shares[: len(axes)] = sizes[:2] ** 2 / total
    return coordinates, (float(shares[0]), float(shares[1]))
