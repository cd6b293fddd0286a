"""Thumbnails of the current image under each perturbation, for the search."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
import streamlit as st
from PIL import Image

from robustness.base.errors import PluginError
from robustness.perturbations import REGISTRY, Images, Perturbation, apply
from robustness.pictures.eight_bits import to_uint8
from robustness.pictures.picture import Picture
from robustness.ui.browser.components import first_strength
from robustness.ui.work import memo

SIDE = 72
"""Side of a thumbnail in pixels; parameters in pixels scale with it."""


def thumbnails(picture: Picture) -> str:
    """All perturbations of ``picture`` in one row, in the registry's order, as a base64 JPEG.

    Each has its first strength. For display only: nothing is measured on it.
    """
    return _thumbnails(picture, REGISTRY.names)


@st.cache_data(show_spinner=False, max_entries=16, hash_funcs=memo.KEYS)
def _thumbnails(picture: Picture, names: tuple[str, ...]) -> str:
    small = cv2.resize(picture.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    clean = np.asarray(small, dtype=np.float32)[np.newaxis]
    strip = [_preview(REGISTRY[name], clean) for name in names]
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(np.concatenate(strip, axis=1))).save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _preview(record: Perturbation, clean: Images) -> Images:
    try:
        return apply(record, clean, first_strength(record))[0]
    except PluginError:  # the others are still of use; the page says it once this one is chosen
        return clean[0]
