"""The framing of the study images: one for all models, or each model's own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robustness.base.errors import ParameterError
from robustness.models.model_record import REGISTRY
from robustness.pictures.fitting import Framing, check_fit, check_side
from robustness.pictures.picture import Picture

DEFAULT = "default"
"""As a fit or side: that of each model's own framing."""

OWN_SIDE = "model"
"""As a side: the published input side of each model."""


def framing(fit: str, side: int | str, name: str | None = None) -> Framing:
    """How the model ``name`` sees images; without one, a model without a framing of its own.

    ``fit`` is one of ``FITS`` or ``DEFAULT``; ``side`` is a number of pixels, ``OWN_SIDE`` or
    ``DEFAULT``. Raises ``UnknownNameError`` or ``ParameterError`` for anything else.
    """
    side = side_of(side)
    record = REGISTRY[name] if name is not None and name in REGISTRY else None
    default = Framing() if record is None else record.framing
    if side == OWN_SIDE and record is not None:
        side = record.input_size
    return Framing(
        default.fit if fit == DEFAULT else check_fit(fit),
        default.side if isinstance(side, str) else check_side(side),
    )


def side_of(side: int | str) -> int | str:
    """``side`` as a number, unless it is ``OWN_SIDE`` or ``DEFAULT``."""
    if isinstance(side, int) or side in (DEFAULT, OWN_SIDE):
        return side
    if not re.fullmatch(r"[0-9]{1,4}", side):
        raise ParameterError(
            f"Expected a side in pixels, such as 384, {OWN_SIDE!r} for the published side of each "
            f"model, or {DEFAULT!r}, got {side!r}."
        )
    return int(side)


def usual(fit: str, side: int | str) -> tuple[str, int | str]:
    """``fit`` and ``side`` with the usual crop in place of ``DEFAULT``."""
    crop = Framing()
    return crop.fit if fit == DEFAULT else fit, crop.side if side == DEFAULT else side


def by_framing(fit: str, side: int | str, names: Sequence[str]) -> dict[Framing, tuple[str, ...]]:
    """The models ``names`` by their framing, in order of appearance; raises as ``framing``."""
    groups: dict[Framing, tuple[str, ...]] = {}
    for name in names:
        own = framing(fit, side, name)
        groups[own] = (*groups.get(own, ()), name)
    return groups


def common_framing(fit: str, side: int | str, names: Sequence[str]) -> Framing:
    """The framing of the models ``names``; raises ``ParameterError`` if they differ."""
    framings = list(by_framing(fit, side, names)) or [framing(fit, side)]
    if len(framings) > 1:
        texts = " and ".join(one.text for one in framings)
        raise ParameterError(
            f"Expected models that see images alike, got {texts}: choose a fit and a side for all, "
            "or models of one framing."
        )
    return framings[0]


def version_for(picture: Picture, name: str) -> Picture:
    """The version of ``picture`` that the model ``name`` sees."""
    return picture.at(framing(*picture.framing_request, name))


def options(fit: str, side: int | str, names: Sequence[str]) -> dict[str, str]:
    """The fewest of ``fit`` and ``side`` that give the models ``names`` these framings."""
    both = {"fit": fit, "side": str(side)}
    choices = [{}, {"fit": fit}, {"side": str(side)}, both]
    framings = by_framing(fit, side, names)
    return next(
        choice
        for choice in choices
        if by_framing(choice.get("fit", DEFAULT), choice.get("side", DEFAULT), names) == framings
    )
