"""Grad-CAM's formula in NumPy, and what it takes to compare with it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def upsampled(grid: Floats, side: int) -> Floats:
    """OpenCV's bilinear interpolation, the centres of corner cells kept as TensorFlow does."""
    return np.stack(
        [cv2.resize(cells, (side, side), interpolation=cv2.INTER_LINEAR) for cells in grid]
    )


def weighed(activations: Any, gradients: Any) -> Floats:
    """Equations 1 and 2 of Selvaraju et al., on (N, h, w, channels), cell by cell."""
    found = np.zeros(activations.shape[:3], np.float32)
    for n, (maps, slopes) in enumerate(zip(activations.numpy(), gradients.numpy(), strict=True)):
        for k in range(maps.shape[-1]):
            alpha = slopes[:, :, k].sum() / slopes[:, :, k].size
            found[n] += alpha * maps[:, :, k]
    return np.maximum(found, 0)
