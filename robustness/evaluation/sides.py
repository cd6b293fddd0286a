"""Side of the study images: one for all models, or each model's own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robustness import models
from robustness.base.errors import ParameterError
from robustness.pictures.fitting import STUDY_SIDE, check_side

OWN_SIDE = "model"
"""Stands for the published input side of each model."""


def by_side(asked: str | None, names: Sequence[str]) -> dict[int, tuple[str, ...]]:
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
    if not re.fullmatch(r"[0-9]{1,4}", asked):
        raise ParameterError(
            f"Expected a side in pixels, such as 384, or {OWN_SIDE!r} for the published side of "
            f"each model, got {asked!r}."
        )
    return {check_side(int(asked)): tuple(names)}


def one_side(asked: str | None, names: Sequence[str]) -> int:
    """The side of the study images of all models ``names``.

    Raises ``ParameterError`` as ``by_side`` does, and where ``OWN_SIDE`` means several.
    """
    found = by_side(asked, names)
    if len(found) > 1:
        groups = "; ".join(f"{side}: {', '.join(group)}" for side, group in found.items())
        raise ParameterError(
            f"Expected models of one input size, got {groups}. Choose models of one size, or give "
            "a side in pixels."
        )
    return next(iter(found))
