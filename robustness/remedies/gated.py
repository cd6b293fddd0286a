"""Gated remedies: each acts only on images that its detector finds in need of it.

Each threshold was set on 100 ImageNet photographs, so that 2 of them open the gate: the half of
those in docs/datasets.md that chooses. False alarms are counted on the other half.
"""

from __future__ import annotations

import cv2
import numpy as np

from robustness.remedies import on_image  # noqa: F401  (registers what is gated)
from robustness.remedies.remedy import Gate, Levels, add_gated


def impulsive(image: Levels) -> float:
    """The share of values that differ from the median of their 3 x 3 neighbourhood by over 64."""
    return float((cv2.absdiff(image, cv2.medianBlur(image, 3)) > 64).mean())


def flat(image: Levels) -> float:
    """The share of the range 0 to 255 that 99% of the grey values leave unused."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey, (0.5, 99.5))
    return float(1 - (high - low) / 255)


add_gated(
    "median_if_impulsive",
    "median",
    Gate(impulsive, 0.02, 0.05),
    label="Median if impulsive",
    source="the 3 x 3 median of feature squeezing behind a detector of outliers, as in Hwang & "
    "Haddad's adaptive median, IEEE Transactions on Image Processing 1995",
)
add_gated(
    "autocontrast_if_flat",
    "autocontrast",
    Gate(flat, 0.35, 0.09),
    label="Autocontrast if flat",
    source="Pillow's autocontrast behind a detector of low contrast, as scikit-image's "
    "is_low_contrast",
)
