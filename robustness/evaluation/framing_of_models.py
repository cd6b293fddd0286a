"""How each model sees an image: as its description says, unless a request overrides that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from robustness.models.model_and_weights_record import REGISTRY
from robustness.pictures.framed_picture import Overrides, Picture
from robustness.pictures.framing_and_study_image import Framing, check_framing


def framing(fit: str | None, side: int | None, name: str | None = None) -> Framing:
    """How the model ``name`` sees images; without one, a model that takes study images.

    A ``fit`` replaces the model's own with the share it keeps, a ``side`` the model's own; with
    both, all models see images alike, as study images are resized. Raises ``UnknownNameError`` or
    ``ParameterError`` for values that do not exist.
    """
    own = REGISTRY[name].framing if name is not None and name in REGISTRY else Framing()
    if fit is not None and side is not None:
        return check_framing(Framing(fit, side))
    if fit is not None:
        own = own._replace(fit=fit, crop_pct=None, padding=Framing().padding)
    elif side is not None:
        own = own._replace(side=side)
    return check_framing(own)


def groups(framings: Iterable[tuple[str, Framing]]) -> dict[Framing, tuple[str, ...]]:
    """The names of ``framings`` by framing, in order of appearance."""
    result: dict[Framing, tuple[str, ...]] = {}
    for name, own in framings:
        result[own] = (*result.get(own, ()), name)
    return result


def by_framing(
    fit: str | None, side: int | None, names: Sequence[str]
) -> dict[Framing, tuple[str, ...]]:
    """The models ``names`` by their framing, in order of appearance; raises as ``framing``."""
    return groups((name, framing(fit, side, name)) for name in names)


def shared_framing(fit: str | None, side: int | None, names: Sequence[str]) -> Framing:
    """The framing of all the models ``names``, or that of the study image where they differ.

    Raises as ``framing``.
    """
    own, *others = by_framing(fit, side, names) or [framing(fit, side)]
    return framing(fit, side) if others else own


def version_for(picture: Picture, name: str) -> Picture:
    """The version of ``picture`` that the model ``name`` sees."""
    return picture.at(framing(*picture.overrides, name))


def options(framings: Mapping[str, Framing]) -> dict[str, str]:
    """The fewest of ``fit`` and ``side`` that give each model its one of ``framings``.

    Empty where none do, as for a description that has changed since.
    """
    first = next(iter(framings.values()), Framing())
    choices: list[Overrides] = [
        (None, None),
        (first.fit, None),
        (None, first.side),
        (first.fit, first.side),
    ]
    for fit, side in choices:
        if all(framing(fit, side, name) == own for name, own in framings.items()):
            both = {"fit": fit, "side": None if side is None else str(side)}
            return {name: value for name, value in both.items() if value is not None}
    return {}
