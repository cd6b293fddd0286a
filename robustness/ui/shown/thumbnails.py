"""A row of small images, each with the class that it was and the one that it became."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from robustness.base.text import plain
from robustness.evaluation.condition import Condition
from robustness.pictures.fitting import to_png
from robustness.report.wording import class_title
from robustness.runs import Run
from robustness.ui.work import memo

_WIDTH = 132  # pixels


class Thumbnail(NamedTuple):
    """An image as a PNG, its caption and its text alternative."""

    png: bytes
    caption: str
    alt: str


def thumbnail(
    run: Run, model: str, image: str, condition: str, classes: tuple[int, int]
) -> Thumbnail:
    """``image`` of ``run`` under ``condition``; ``classes`` are those before and after.

    An attacked image is shown unattacked: an attack takes too long for a glance. Raises
    ``RunError`` or ``ImageError`` if the image cannot be read any more.
    """
    picture, done = run.picture(image), Condition.parse(condition)
    shown = picture.image
    if done.in_files:
        shown = run.perturbed(picture, done)
    elif not done.needs_model:
        shown = memo.change(picture, done, run.seed).image
    caption = " → ".join(class_title(model, index) for index in classes)
    return Thumbnail(to_png(shown), caption, f"{picture.name} under {done.described}")


def row(thumbnails: Sequence[Thumbnail], key: str) -> None:
    """Draw ``thumbnails`` side by side, as many in a line as fit."""
    with st.container(horizontal=True, gap="small", key=key):
        for png, caption, alt in thumbnails:
            st.image(png, caption=plain(caption), width=_WIDTH, output_format="PNG", alt=alt)
