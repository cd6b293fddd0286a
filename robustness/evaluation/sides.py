"""Side of the study images: one for all models, or each model's own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robustness import models
from robustness.base.errors import ParameterError
from robustness.pictures.fitting import STUDY_SIDE, check_side
from robustness.pictures.picture import Picture

OWN_SIDE = "model"
"""Stands for the published input side of each model."""


def by_side(asked: int | str | None, names: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """The models ``names`` by the side of their study images, in order of appearance.

    ``asked`` is a number of pixels, ``OWN_SIDE``, or None for 224. Raises ``ParameterError`` for
    anything else.
    """
    if asked == OWN_SIDE:
        found: dict[int, tuple[str, ...]] = {}
        for name in names:
            side = models.REGISTRY[name].input_size
            found[side] = (*found.get(side, ()), name)
        return found
    if asked is None:
        return {STUDY_SIDE: tuple(names)}
    if isinstance(asked, str) and not re.fullmatch(r"[0-9]{1,4}", asked):
        raise ParameterError(
            f"Expected a side in pixels, such as 384, or {OWN_SIDE!r} for the published side of "
            f"each model, got {asked!r}."
        )
    return {check_side(int(asked)): tuple(names)}


def one_side(asked: int | str | None, name: str) -> int:
    """The side of the study images of the model ``name``; raises as ``by_side`` does."""
    return next(iter(by_side(asked, [name])))


def seen_by(picture: Picture, name: str) -> Picture:
    """The version of ``picture`` at the input side of the model ``name``, if there is one."""
    return picture.at(models.REGISTRY[name].input_size)
