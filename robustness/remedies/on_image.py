"""Remedies on the image: denoise, sharpen, restore contrast, exposure and colour.

Each function is complete with OpenCV and NumPy alone, so that a product can copy it.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from robustness.remedies.remedy import ON_IMAGE, Gate, Levels, add_gated, remedy

_on_image = partial(remedy, kind=ON_IMAGE)


@_on_image(
    label="Median 3 x 3",
    against="impulse noise, salt and pepper",
    source="Xu, Evans & Qi, NDSS 2018 (feature squeezing), median smoothing",
    original=0.07,
)
def median(image: Levels) -> Levels:
    """The median of each 3 x 3 neighbourhood, by channel."""
    return cv2.medianBlur(image, 3)


@_on_image(
    label="Median 5 x 5",
    against="strong impulse noise",
    source="Tukey, Exploratory Data Analysis, 1977; a wider window than feature squeezing uses",
    original=0.11,
)
def median_5(image: Levels) -> Levels:
    """The median of each 5 x 5 neighbourhood, by channel."""
    return cv2.medianBlur(image, 5)


@_on_image(
    label="Bilateral filter",
    against="noise, with edges kept",
    source="Tomasi & Manduchi, ICCV 1998; diameter 5 as OpenCV advises for real time, both "
    "sigmas 75 as in OpenCV's tutorial 'Smoothing Images'",
    original=0.05,
)
def bilateral(image: Levels) -> Levels:
    """The mean of near pixels of similar colour."""
    return cv2.bilateralFilter(image, 5, 75, 75)


@_on_image(
    label="Non-local means",
    against="Gaussian and shot noise",
    source="Buades, Coll & Morel, CVPR 2005; search window 11, patch 3, strength 4 as in Xu, "
    "Evans & Qi, NDSS 2018",
    original=0.03,
)
def non_local_means(image: Levels) -> Levels:
    """The mean of pixels with similar surroundings."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.cvtColor(cv2.fastNlMeansDenoisingColored(bgr, None, 4, 4, 3, 11), cv2.COLOR_BGR2RGB)


@_on_image(
    label="Unsharp mask",
    against="blur",
    source="Pillow's UnsharpMask: radius 2, amount 150%",
)
def unsharp_mask(image: Levels) -> Levels:
    """The image with its difference from a blurred copy added 1.5 times."""
    blurred = cv2.GaussianBlur(image, (0, 0), 2)
    return cv2.addWeighted(image, 2.5, blurred, -1.5, 0)


@_on_image(
    label="CLAHE",
    against="low local contrast",
    source="Zuiderveld, Graphics Gems IV, 1994; clip limit 2 and 8 x 8 tiles as in OpenCV's "
    "tutorial",
)
def clahe(image: Levels) -> Levels:
    """Contrast-limited adaptive histogram equalisation of the lightness."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


@_on_image(
    label="Autocontrast",
    against="low contrast, fog",
    source="Pillow's ImageOps.autocontrast, with one gain for all channels and a cutoff of 0.5%",
)
def autocontrast(image: Levels) -> Levels:
    """Stretch all channels alike, so that 0.5% of the values become 0 and 0.5% become 255."""
    low, high = np.percentile(image, (0.5, 99.5))
    gain = 255 / max(high - low, 1)
    return np.clip((image - low) * gain + 0.5, 0, 255).astype(np.uint8)


@_on_image(
    label="Gamma normalisation",
    against="wrong brightness",
    source="middle grey, 18% of the light (Reinhard et al., SIGGRAPH 2002), is 46% of the pixel "
    "range; the power that brings the mean there",
)
def gamma(image: Levels) -> Levels:
    """Raise to the power that brings the mean to middle grey."""
    mean = np.clip(image.mean() / 255, 0.02, 0.98)
    power = np.log(0.46) / np.log(mean)
    table = 255 * (np.arange(256) / 255) ** power
    return cv2.LUT(image, np.rint(table).astype(np.uint8))


@_on_image(
    label="Exposure normalisation",
    against="wrong exposure",
    source="Reinhard et al., SIGGRAPH 2002, equations 1 and 2: the log-average light becomes 18%",
)
def exposure(image: Levels) -> Levels:
    """Scale the light so that its log-average becomes middle grey."""
    light = (image / 255.0) ** 2.2
    average = np.exp(np.log(light.mean(axis=2) + 1e-4).mean())
    bright = np.clip(light * 0.18 / average, 0, 1) ** (1 / 2.2)
    return np.rint(255 * bright).astype(np.uint8)


@_on_image(
    label="Grey world",
    against="colour casts",
    source="Buchsbaum, Journal of the Franklin Institute 1980",
)
def grey_world(image: Levels) -> Levels:
    """Scale each channel so that all have the same mean."""
    means = image.mean(axis=(0, 1)) + 1e-3
    return np.clip(np.rint(image * (means.mean() / means)), 0, 255).astype(np.uint8)


@_on_image(
    label="JPEG, quality 75",
    against="adversarial changes, faint noise",
    source="Guo et al., ICLR 2018 (input transformations), JPEG quality 75",
    original=0.05,
)
def jpeg(image: Levels) -> Levels:
    """Save and read back as JPEG of quality 75."""
    file = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 75]
    )[1]
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB))


@_on_image(
    label="Resize to half and back",
    against="fine noise",
    source="OpenCV's documentation of resize: INTER_AREA to shrink, INTER_CUBIC to enlarge",
    original=0.09,
)
def resize(image: Levels) -> Levels:
    """Average to half the side, then enlarge smoothly (bicubic)."""
    height, width = image.shape[:2]
    half = max(1, width // 2), max(1, height // 2)
    small = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


# Gated remedies: each acts only on images that its detector finds in need of it. Each threshold was
# set on 100 ImageNet photographs, so that 2 of them open the gate: the half of those in
# docs/datasets.md that chooses. False alarms are counted on the other half.


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
