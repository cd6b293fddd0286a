"""Remedies on the prediction: by several views of one image, or by several models."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from robustness.remedies.on_image import autocontrast, gamma, median
from robustness.remedies.remedy import (
    ON_PREDICTION,
    ORIGINAL,
    REGISTRY,
    SEVERAL_MODELS,
    SUREST,
    ImageView,
    Levels,
    Plane,
    Remedy,
    unchanged,
)


def view(
    *, flip: bool = False, turn: int = 0, scale: float = 1.0, shift: tuple[float, float] = (0, 0)
) -> ImageView:
    """The image after a flip, quarter turns, and an enlargement around its centre.

    ``shift`` moves the centre, in shares of the side. Beyond the edges the image is mirrored.
    """

    def matrix(side: int) -> Plane:
        angle, centre = math.pi / 2 * turn, (side - 1) / 2
        cosine, sine = round(math.cos(angle)), round(math.sin(angle))
        linear = scale * np.array([[cosine, sine], [-sine, cosine]]) @ np.diag([1 - 2 * flip, 1])
        offset = centre - linear @ [centre, centre] - scale * side * np.array(shift)
        return np.column_stack([linear, offset]).astype(np.float32)

    def change(image: Levels) -> Levels:
        side = len(image)
        view = cv2.warpAffine(image, matrix(side), (side, side), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(view)

    def back(gradient: Plane) -> Plane:
        side = len(gradient)
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(gradient, matrix(side), (side, side), flags=how)
        return np.asarray(warped * np.float32(scale**2))

    return ImageView(change, back)


_EIGHTH = 8 / 7
"""Crops of 7/8 of the side: 224 of 256 pixels, as in Krizhevsky et al."""

FLIPS = (ORIGINAL, view(flip=True))
CROPS = (
    view(scale=_EIGHTH),
    *(view(scale=_EIGHTH, shift=(x, y)) for x in (-1 / 16, 1 / 16) for y in (-1 / 16, 1 / 16)),
)
SCALES = (ORIGINAL, view(scale=7 / 8), view(scale=_EIGHTH))
TURNS = (ORIGINAL, *(view(turn=turn) for turn in (1, 2, 3)))


def _add(
    name: str,
    views: tuple[ImageView, ...] = (),
    *,
    kind: str = ON_PREDICTION,
    label: str,
    against: str,
    source: str,
    **more: Any,
) -> None:
    REGISTRY.add(Remedy(name, unchanged, label, kind, against, source, views=views, **more))


_add(
    "flip",
    FLIPS,
    label="Average with the mirror image",
    against="chance of the viewpoint",
    source="He et al., CVPR 2016, horizontal flips at test time",
)
_add(
    "five_crops",
    CROPS,
    label="Average of five crops",
    against="chance of the frame",
    source="Krizhevsky, Sutskever & Hinton, NeurIPS 2012: centre and corners, 224 of 256 pixels",
)
_add(
    "three_scales",
    SCALES,
    label="Average of three scales",
    against="unusual size",
    source="Simonyan & Zisserman, ICLR 2015, multi-scale evaluation; 7/8, 1 and 8/7",
)
_add(
    "tta",
    (*FLIPS, *CROPS, SCALES[1]),
    label="Test-time augmentation",
    against="chance of viewpoint, frame and size",
    source="the mean over mirror image, five crops and three scales of the papers that those cite",
)
_add(
    "mixture",
    (ORIGINAL, ImageView(median), ImageView(autocontrast), ImageView(gamma)),
    label="Average of original, median, autocontrast and gamma",
    against="unknown conditions",
    source="this project's choice: the mean over the image and its three cheapest restorations",
)
_add(
    "upright",
    TURNS,
    label="Turn upright if surer",
    against="rotation",
    combine=SUREST,
    margin=0.2,
    source="Gidaris, Singh & Komodakis, ICLR 2018: the four quarter turns; a turn counts if "
    "its confidence exceeds that of the image by the margin 0.2",
)
_add(
    "temperature",
    label="Temperature",
    against="overconfidence, with a number as in temperature=1.7",
    source="Guo, Pleiss, Sun & Weinberger, ICML 2017: one temperature divides all logits",
    range=(0.05, 20.0),
)
_add(
    "average",
    kind=SEVERAL_MODELS,
    label="Average of the models",
    against="errors of single models",
    source="Lakshminarayanan, Pritzel & Blundell, NeurIPS 2017: the mean of the probabilities",
)
_add(
    "vote",
    kind=SEVERAL_MODELS,
    label="Vote of the models",
    against="errors of single models",
    source="Hansen & Salamon, PAMI 1990: the plurality of the top-1 classes; the mean probability "
    "decides between equal counts",
)
