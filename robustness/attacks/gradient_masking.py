"""Signs of gradient masking: that gradients mislead, and a model only seems robust."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.attacks.attack_method import REGISTRY
from robustness.attacks.epsilon_sweep import Point
from robustness.pictures.eight_bits import LEVELS


def masking_signs(points: Sequence[Point]) -> list[str]:
    """Sentences on signs that gradients mislead and a model only seems robust; [] for none.

    ``points`` are those of one model and image, under any attacks. The signs are those of
    Athalye, Carlini & Wagner, ICML 2018, section 3.1.
    """
    signs = []
    if any(point.flat for point in points):
        signs.append(
            "The gradient at the original is zero, so white-box attacks cannot find a direction."
        )
    names = list(dict.fromkeys(point.attack for point in points))
    fooled: dict[str, set[float]] = {name: set() for name in names}
    missed: dict[str, set[float]] = {name: set() for name in names}
    for point in points:
        (fooled if point.success else missed)[point.attack].add(point.epsilon)
    signs += [
        f"{REGISTRY[name].label} succeeds at {_levels(min(fooled[name]))} but not at "
        f"{_levels(max(missed[name]))}: its success does not rise with epsilon."
        for name in names
        if fooled[name] and missed[name] and min(fooled[name]) < max(missed[name])
    ]
    white = [name for name in names if REGISTRY[name].white_box]
    for name in names:
        if REGISTRY[name].white_box or not white:
            continue
        tried = set.intersection(*(fooled[w] | missed[w] for w in white))
        ahead = (fooled[name] & tried).difference(*(fooled[w] for w in white))
        if ahead:
            signs.append(
                f"{REGISTRY[name].label}, which uses predictions only, succeeds at "
                f"{_levels(min(ahead))}, where white-box attacks fail."
            )
    return signs


def _levels(epsilon: float) -> str:
    return f"{epsilon * LEVELS:.3g}/{LEVELS}"
