"""Metrics of visible change over study images, float32 RGB in [0, 1], (N, S, S, 3)."""

from __future__ import annotations

import cv2
import numpy as np

from robustness.metrics.metric import PICTURE, Floats, Scores, metric

SSIM_SIGMA = 1.5
SSIM_TRUNCATE = 3.5
SSIM_K1, SSIM_K2 = 0.01, 0.03
"""Wang, Bovik, Sheikh & Simoncelli, IEEE Trans. Image Processing 13, 2004: an 11 x 11 Gaussian
window of standard deviation 1.5, population covariances."""


@metric(
    label="SSIM",
    subject=PICTURE,
    higher_is_better=True,
    low=-1.0,
    formula="structural similarity, Gaussian window of sigma 1.5",
    meaning="Structural similarity of two images, from the brightness, contrast and structure "
    "around each pixel. 1 is identical.",
    views=(),
)
def ssim(clean: Floats, perturbed: Floats) -> Scores:
    """Structural similarity, in [-1, 1], 1 for equal images; the mean over the colour channels.

    Equals scikit-image's ``structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1)`` to 1e-4, in a fraction of the time. As there, the
    border of 5 pixels, where the window is incomplete, is left out.
    """
    shared = _moments(clean[0]) if len(clean) == 1 else None
    scores = np.empty(len(perturbed))
    for index, image in enumerate(perturbed):
        scores[index] = _ssim(shared or _moments(clean[index]), image)
    return scores


Moments = tuple[Floats, Floats, Floats]


def _moments(image: Floats) -> Moments:
    """The image shifted by mid-grey, its local mean, and its local mean square.

    The shift leaves variances unchanged and improves their precision in float32.
    """
    centred = image - np.float32(0.5)
    return centred, _window(centred), _window(centred * centred)


def _window(image: Floats) -> Floats:
    size = 2 * int(SSIM_TRUNCATE * SSIM_SIGMA + 0.5) + 1
    blurred = cv2.GaussianBlur(image, (size, size), SSIM_SIGMA, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, np.float32)


def _ssim(clean: Moments, image: Floats) -> float:
    reference, mean_a, square_a = clean
    centred, mean_b, square_b = _moments(image)
    covariance = _window(reference * centred) - mean_a * mean_b
    variances = (square_a - mean_a * mean_a) + (square_b - mean_b * mean_b)
    light_a, light_b = mean_a + np.float32(0.5), mean_b + np.float32(0.5)
    product = light_a * light_b
    squares = light_a * light_a + light_b * light_b
    c1, c2 = np.float32(SSIM_K1**2), np.float32(SSIM_K2**2)
    local = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    pad = int(SSIM_TRUNCATE * SSIM_SIGMA + 0.5)
    inner = local[pad:-pad, pad:-pad] if min(local.shape[:2]) > 2 * pad else local
    return float(inner.mean(dtype=np.float64))


@metric(
    label="PSNR",
    subject=PICTURE,
    higher_is_better=True,
    high=float("inf"),
    formula="-10 log10(mean squared error) dB, peak 1",
    meaning="Peak signal-to-noise ratio of two images, from their mean squared difference, in "
    "decibels. Higher is more similar; infinite if they are identical.",
    unit="dB",
    views=(),
    tolerance=0.01,
)
def psnr(clean: Floats, perturbed: Floats) -> Scores:
    """Peak signal-to-noise ratio in dB, peak 1; infinite for equal images."""
    error = np.empty(len(perturbed))
    for index, image in enumerate(perturbed):
        difference = (image - clean[0 if len(clean) == 1 else index]).ravel()
        error[index] = float(np.dot(difference, difference)) / difference.size
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(error)


def amplified_difference(
    clean: Floats, perturbed: Floats, gain: float, *, signed: bool = False
) -> Floats:
    """|perturbed - clean| times ``gain``, clipped to [0, 1]: black where nothing changed.

    With ``signed``, (perturbed - clean) times ``gain`` around a grey of 0.5: the change of an
    attack has nearly the same size everywhere, so that its signs alone form an image.
    """
    change = (perturbed - clean) * np.float32(gain)
    return np.clip(change + np.float32(0.5) if signed else np.abs(change), 0.0, 1.0)
