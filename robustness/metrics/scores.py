"""The metrics, each of which compares originals with their perturbed versions.

Metrics of visible change are over study images, float32 RGB in [0, 1], (N, S, S, 3). Those of
changed predictions are over class probabilities (N, C), which sum to 1 except for quantised models,
whose probabilities are rounded. Those over features (N, D) tell how far a representation moved.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from robustness.metrics.record import (
    FEATURES,
    PICTURE,
    PREDICTION,
    REGISTRY,
    RUN,
    STRENGTHS,
    Floats,
    Scores,
    metric,
)

SSIM_SIGMA = 1.5
SSIM_TRUNCATE = 3.5
SSIM_K1 = 0.01
SSIM_K2 = 0.03
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
    scores = np.empty(len(perturbed))
    if len(clean) == 1:
        original = _moments(clean[0])  # once for all its versions
        for index, image in enumerate(perturbed):
            scores[index] = _ssim(original, image)
    else:
        for index, image in enumerate(perturbed):
            scores[index] = _ssim(_moments(clean[index]), image)
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
    light_a = mean_a + np.float32(0.5)
    light_b = mean_b + np.float32(0.5)
    product = light_a * light_b
    squares = light_a * light_a + light_b * light_b
    c1 = np.float32(SSIM_K1**2)
    c2 = np.float32(SSIM_K2**2)
    local = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    border = int(SSIM_TRUNCATE * SSIM_SIGMA + 0.5)
    if min(local.shape[:2]) > 2 * border:
        local = local[border:-border, border:-border]
    return float(local.mean(dtype=np.float64))


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
    errors = np.empty(len(perturbed))
    for index, image in enumerate(perturbed):
        original = clean[0] if len(clean) == 1 else clean[index]
        difference = (image - original).ravel()
        errors[index] = float(np.dot(difference, difference)) / difference.size
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(errors)


def amplified_difference(
    clean: Floats, perturbed: Floats, gain: float, *, signed: bool = False
) -> Floats:
    """|perturbed - clean| times ``gain``, clipped to [0, 1]: black where nothing changed.

    With ``signed``, (perturbed - clean) times ``gain`` around a grey of 0.5: the change of an
    attack has nearly the same size everywhere, so that its signs alone form an image.
    """
    change = (perturbed - clean) * np.float32(gain)
    if signed:
        change = change + np.float32(0.5)
    else:
        change = np.abs(change)
    return np.clip(change, 0.0, 1.0)


_TINY = 1e-12


@metric(
    label="Prediction consistency",
    subject=PREDICTION,
    higher_is_better=True,
    formula="share of perturbed images with the original's top-1 class",
    meaning="The share of perturbed images with an unchanged prediction. It is not accuracy: a "
    "model that stays incorrect is consistent.",
    views=(),
)
def consistent(clean: Floats, perturbed: Floats) -> Scores:
    """1.0 if the most probable class is the same, else 0.0."""
    return (clean.argmax(1) == perturbed.argmax(1)).astype(np.float64)


def top_k(probabilities: Floats, k: int = 5) -> np.ndarray:
    """Indices (N, k) of the ``k`` most probable classes, most probable first; ties by index."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :k]


@metric(
    label="Top-5 overlap",
    subject=PREDICTION,
    higher_is_better=True,
    formula="|top5(original) ∩ top5(perturbed)| / 5",
    meaning="The share of the original top-5 classes that are still in the top-5, in any order.",
    form=".1%",
    views=(RUN,),
    tolerance=math.inf,  # classes of nearly equal probability trade places
)
def top5_overlap(clean: Floats, perturbed: Floats) -> Scores:
    """Share of the original top-5 classes that stay in the top-5, in any order."""
    before = top_k(clean)
    after = top_k(perturbed)
    return (before[:, :, None] == after[:, None, :]).any(2).mean(1)


@metric(
    label="Confidence change",
    subject=PREDICTION,
    higher_is_better=True,
    low=-1.0,
    formula="p(c, perturbed) - p(c, original), c the original top-1 class",
    meaning="The change in the probability of the original top-1 class; negative is a loss.",
    views=(),
)
def confidence_change(clean: Floats, perturbed: Floats) -> Scores:
    """Change in the probability of the original top-1 class, in [-1, 1]; negative is a loss."""
    winner = np.broadcast_to(clean.argmax(1), len(perturbed))
    rows = np.arange(len(perturbed))
    before = np.broadcast_to(clean, perturbed.shape)[rows, winner].astype(np.float64)
    return perturbed[rows, winner] - before


@metric(
    label="Jensen-Shannon divergence",
    subject=PREDICTION,
    higher_is_better=False,
    formula="(KL(p || m) + KL(q || m)) / 2 in bits, m = (p + q) / 2, p and q over their sums",
    meaning="The distance between the class probabilities before and after, in bits: 0 if they are "
    "equal, 1 if no class has a probability in both.",
    unit="bits",
    views=(),
)
def divergence(clean: Floats, perturbed: Floats) -> Scores:
    """Jensen-Shannon divergence in bits, in [0, 1]: Lin, IEEE Trans. Inf. Theory 37, 1991.

    Each row is divided by its sum first, which is not 1 for a quantised model.
    """
    # Full copies: summing a broadcast view would make the order of addition depend on the batch.
    p = _normalised(np.broadcast_to(clean, perturbed.shape).astype(np.float64, order="C"))
    q = _normalised(perturbed.astype(np.float64, order="C"))
    middle = (p + q) / 2
    mean = _relative_entropy(p, middle) / 2 + _relative_entropy(q, middle) / 2
    return np.clip(mean, 0.0, 1.0)


def _normalised(rows: Scores) -> Scores:
    return rows / np.maximum(rows.sum(1, keepdims=True), _TINY)


def _relative_entropy(p: Scores, q: Scores) -> Scores:
    """Kullback-Leibler divergence of each row of ``p`` from that of ``q``, in bits."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return (p * np.log2(ratio)).sum(1)


@metric(
    label="Cosine similarity",
    subject=FEATURES,
    higher_is_better=True,
    low=-1.0,
    formula="a · b / (||a|| ||b||)",
    meaning="Compares the direction of two features, not their length: 1 for the same direction, 0 "
    "if they have nothing in common.",
    title="Cosine",
    views=(STRENGTHS, RUN),
)
def cosine(clean: Floats, perturbed: Floats) -> Scores:
    """Cosine similarity, in [-1, 1]; two zero vectors count as 1, one zero vector as 0."""
    a, b = _aligned(clean, perturbed)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = np.einsum("nd,nd->n", a, b)
    similarity = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    both_zero = ~a.any(1) & ~b.any(1)
    return np.clip(np.where(both_zero, 1.0, similarity), -1.0, 1.0)


@metric(
    label="Euclidean similarity",
    subject=FEATURES,
    higher_is_better=True,
    formula="1 - ||a - b|| / (||a|| + ||b||)",
    meaning="Compares direction and length: 1 minus the distance of the two features divided by "
    "the sum of their lengths. 1 if they are equal, 0 if they point in opposite directions.",
    title="Euclidean",
    views=(STRENGTHS, RUN),
)
def euclidean(clean: Floats, perturbed: Floats) -> Scores:
    """1 - ||a - b|| / (||a|| + ||b||), in [0, 1]; two zero vectors count as 1."""
    a, b = _aligned(clean, perturbed)
    distances = np.linalg.norm(a - b, axis=1)
    lengths = np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1)
    relative = np.divide(distances, lengths, out=np.zeros_like(distances), where=lengths > 0)
    return np.clip(1.0 - relative, 0.0, 1.0)


RESCALED = {
    record.name: f"{record.name}_rescaled" for record in REGISTRY if record.subject == FEATURES
}
"""Names of the metrics above after ``rescaled``."""


def rescaled(similarity: Scores, floor: float) -> Scores:
    """(similarity - floor) / (1 - floor): 1 is unchanged, 0 like unrelated images.

    ``floor`` is the mean similarity of unrelated images. Features that are equal for all images
    have a floor of 1 and keep their ``similarity``.
    """
    span = 1.0 - floor
    if span > _NO_SPAN:
        return (similarity - floor) / span
    return similarity  # also where the floor is not a number


_NO_SPAN = 1e-6  # float32 rounding of equal features


def _aligned(clean: Floats, perturbed: Floats) -> tuple[Scores, Scores]:
    """Both in float64, with a single row of ``clean`` repeated for each perturbed one."""
    a, b = np.broadcast_arrays(clean.astype(np.float64), perturbed.astype(np.float64))
    return a, b
