"""A match as a profile: a request file with the compositions, and what a later match compares.

::

    models = ["SqueezeNet"]
    seed = 0
    fit = "crop"

    [[condition]]                  # up to 20 compositions, which count alike and together are one
    profile = "your camera"        # condition of this name; none if the match found no difference
    darkness = 0.31                # or did not explain it

    [[condition]]                  # strength 0 stands for images that are not affected
    profile = "your camera"
    fog = 0.0

    [match]
    images = 50

    [[match.perturbations]]        # the estimate with 95 % intervals
    perturbation = "darkness"
    strength = 0.3
    low = 0.2
    high = 0.4
    share = 1.0                    # of the images

    [[match.accuracies]]           # what to expect of each model
    model = "SqueezeNet"
    value = 0.41
    low = 0.36
    high = 0.47
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from robustness.base.errors import ParameterError
from robustness.base.toml import read_toml
from robustness.base.validation import StrictTable, checked
from robustness.images.framing import Framing
from robustness.matching.run import Match
from robustness.measure.request import RequestTable
from robustness.metrics.intervals import rate_interval

SHARE = "share"
"""Name of the change of the share of affected images."""
_Share = Annotated[float, Field(ge=0, le=1)]


class _Perturbation(StrictTable):
    perturbation: str
    strength: _Share
    low: _Share
    high: _Share
    share: _Share = 1.0


class _Accuracy(StrictTable):
    model: str
    value: _Share
    low: _Share
    high: _Share


class Profile(StrictTable):
    """The table ``match`` of a profile."""

    images: Annotated[int, Field(ge=1)]
    fit: str
    side: int
    perturbations: list[_Perturbation] = Field(default_factory=list)
    accuracies: list[_Accuracy] = Field(default_factory=list)


def read_profile(path: Path, framing: Framing) -> Profile:
    """The estimate in the profile ``path`` of images in this ``framing``.

    Raises ``ParameterError`` for a profile of another framing, and for another file.
    """
    table = checked(RequestTable, read_toml(path), str(path))
    if table.match is None:
        raise ParameterError(
            f"{path}: expected the profile of an earlier match, got a file without [match]."
        )
    profile = checked(Profile, table.match, str(path))
    if (profile.fit, profile.side) != framing[:2]:
        raise ParameterError(
            f"{path}: expected a profile of {framing.text}, like this match, got {profile.fit} at "
            f"{profile.side} px: match with the fit and side of the profile.",
            hint=f"That is --fit {profile.fit} --side {profile.side}.",
        )
    return profile


def as_toml(match: Match) -> str:
    """``match`` as a profile for ``read_profile``, and for ``read_request`` with conditions."""
    settings = match.settings
    lines = _pairs({"models": settings.models, "seed": settings.seed})
    lines += _pairs(
        {key: x for key in ("fit", "side") if (x := getattr(settings, key)) is not None}
    )
    for condition in match.conditions:
        lines += ["", "[[condition]]", *_pairs(condition.as_dict())]
    fit, side, *_ = match.framing
    lines += ["", "[match]", *_pairs({"images": match.images, "fit": fit, "side": side})]
    for part in match.perturbations:
        keys = ("perturbation", "strength", "low", "high", "share")
        lines += ["", "[[match.perturbations]]"]
        lines += _pairs({key: getattr(part, key) for key in keys})
    for model in match.expected_accuracy:
        lines += ["", "[[match.accuracies]]"]
        lines += _pairs({key: getattr(model, key) for key in ("model", "value", "low", "high")})
    return "\n".join(lines) + "\n"


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]


@dataclass(frozen=True)
class MatchChange:
    """A strength or an accuracy in an earlier match and now; ``significant`` at 5 %."""

    name: str
    before: float
    after: float
    significant: bool

    @property
    def loss(self) -> float:
        return self.before - self.after


def changes(match: Match, before: Profile) -> tuple[list[MatchChange], list[MatchChange]]:
    """Changes since ``before``: strengths and share, then accuracies of the models in both."""
    old, new = (
        {part.perturbation: (part.strength, part.low, part.high) for part in side.perturbations}
        for side in (before, match)
    )
    none = 0.0, 0.0, 0.0  # what an estimate does not contain
    strengths = [
        _change(name, old.get(name, none), new.get(name, none))
        for name in dict.fromkeys([*old, *new])
    ]
    shares = []
    for side in (before, match):
        share = side.perturbations[0].share if side.perturbations else 1.0
        interval = rate_interval(round(share * side.images), side.images)
        shares.append((share, interval.low, interval.high))
    if min(shares)[0] < 1:
        strengths.append(_change(SHARE, *shares))
    accuracies = {part.model: (part.value, part.low, part.high) for part in before.accuracies}
    models = [
        _change(part.model, accuracies[part.model], (part.value, part.low, part.high))
        for part in match.expected_accuracy
        if part.model in accuracies
    ]
    return strengths, models


def _change(
    name: str, before: tuple[float, float, float], after: tuple[float, float, float]
) -> MatchChange:
    """The difference of two values with bounds, tested by the error that the bounds imply."""
    error = math.hypot(before[2] - before[1], after[2] - after[1]) / (2 * 1.96)
    gap = abs(after[0] - before[0])
    return MatchChange(name, before[0], after[0], gap > max(1.96 * error, 1e-9))
