"""Heat maps over images, in colours that the colour-blind tell apart; NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError

Floats = NDArray[np.float32]

INFERNO = (
    "#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60",
    "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4",
)  # fmt: skip
"""Ten evenly spaced colours of Smith & van der Walt's inferno (Matplotlib 1.5, 2015), as Plotly
has them. Their lightness rises evenly: they keep their order without red, without green, and
in grey."""

OPACITY = 0.75
"""Of the colour where the evidence is strongest; elsewhere times the root of the heat, so that
weak evidence is seen and none leaves the image bare."""

_STOPS = np.array(
    [[int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] for colour in INFERNO]
)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def colours(heat: Floats) -> Floats:
    """The colour of each value of ``heat``, in [0, 1] and of any shape; (..., 3) in [0, 1]."""
    places = np.linspace(0, 1, len(_STOPS))
    channels = [np.interp(heat, places, _STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def overlay(images: Floats, heat: Floats) -> Floats:
    """``images`` (..., S, S, 3) in grey with ``heat`` (..., S, S) in colour over them.

    Both in [0, 1], and so is the result. The images lose their colours, so that every colour
    is one of the scale. Raises ``ParameterError`` for another shape or range.
    """
    if images.shape != (*heat.shape, 3):
        raise ParameterError(
            f"Expected a heat map of the shape of the image, {images.shape[:-1]}, got {heat.shape}."
        )
    if not (np.all(heat >= 0) and np.all(heat <= 1)):
        raise ParameterError(
            f"Expected heat from 0 to 1, got {heat.min():.3g} to {heat.max():.3g}: divide by the "
            "common scale."
        )
    grey = (images @ _LUMA)[..., None]
    opacity = OPACITY * np.sqrt(heat, dtype=np.float32)[..., None]
    return np.clip(grey * (1 - opacity) + colours(heat) * opacity, 0, 1)


def colour_bar(width: int = 256, height: int = 16) -> Floats:
    """The scale from 0 (left) to 1 as it looks over mid-grey, (height, width, 3) in [0, 1]."""
    heat = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    return overlay(np.full((height, width, 3), 0.5, np.float32), heat)
