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
from typing import Annotated, Any, NamedTuple

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
    """Return the estimate in the profile ``path``.

    Raises ``ParameterError`` for a profile of another framing than ``framing``, and for a file that
    is no profile.
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
    """Return ``match`` as a profile, which ``read_request`` reads, too, if it has conditions."""
    settings = match.settings
    lines = _toml_lines({"models": settings.models, "seed": settings.seed})
    if settings.fit is not None:
        lines += _toml_lines({"fit": settings.fit})
    if settings.side is not None:
        lines += _toml_lines({"side": settings.side})
    for condition in match.conditions:
        lines += ["", "[[condition]]"]
        lines += _toml_lines(condition.as_dict())
    fit, side, *_ = match.framing
    lines += ["", "[match]"]
    lines += _toml_lines({"images": match.images, "fit": fit, "side": side})
    for part in match.perturbations:
        lines += ["", "[[match.perturbations]]"]
        lines += _toml_lines(
            {
                "perturbation": part.perturbation,
                "strength": part.strength,
                "low": part.low,
                "high": part.high,
                "share": part.share,
            }
        )
    for expected in match.expected_accuracy:
        lines += ["", "[[match.accuracies]]"]
        lines += _toml_lines(
            {
                "model": expected.model,
                "value": expected.value,
                "low": expected.low,
                "high": expected.high,
            }
        )
    return "\n".join(lines) + "\n"


def _toml_lines(values: Mapping[str, Any]) -> list[str]:
    # Numbers, texts and lists of them are written alike in JSON and TOML.
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


class _Bounded(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def changes(match: Match, before: Profile) -> tuple[list[MatchChange], list[MatchChange]]:
    """Return the changes since the profile ``before``, of strengths and of accuracies.

    The strengths are those of the perturbations in either, then the share of affected images
    unless all are affected in both; the accuracies are of the models in both.
    """
    old_strengths = _strengths(before)
    new_strengths = _strengths(match)
    absent = _Bounded(0.0, 0.0, 0.0)
    strength_changes = []
    for name in old_strengths | new_strengths:
        old = old_strengths.get(name, absent)
        new = new_strengths.get(name, absent)
        strength_changes.append(_change(name, old, new))
    old_share = _affected_share(before)
    new_share = _affected_share(match)
    if min(old_share.value, new_share.value) < 1:
        strength_changes.append(_change(SHARE, old_share, new_share))

    old_accuracies = {}
    for part in before.accuracies:
        old_accuracies[part.model] = _Bounded(part.value, part.low, part.high)
    accuracy_changes = []
    for expected in match.expected_accuracy:
        if expected.model in old_accuracies:
            new = _Bounded(expected.value, expected.low, expected.high)
            accuracy_changes.append(_change(expected.model, old_accuracies[expected.model], new))
    return strength_changes, accuracy_changes


def _strengths(estimate: Match | Profile) -> dict[str, _Bounded]:
    strengths = {}
    for part in estimate.perturbations:
        strengths[part.perturbation] = _Bounded(part.strength, part.low, part.high)
    return strengths


def _affected_share(estimate: Match | Profile) -> _Bounded:
    """The share of affected images, with the interval of a share of so many images."""
    share = 1.0
    if estimate.perturbations:
        share = estimate.perturbations[0].share  # that of every perturbation
    interval = rate_interval(round(share * estimate.images), estimate.images)
    return _Bounded(share, interval.low, interval.high)


def _change(name: str, before: _Bounded, after: _Bounded) -> MatchChange:
    """The difference of two values, tested by the standard error that their bounds imply."""
    error = math.hypot(before.high - before.low, after.high - after.low) / (2 * 1.96)
    gap = abs(after.value - before.value)
    is_significant = gap > max(1.96 * error, 1e-9)  # with errors of 0, rounding is no change
    return MatchChange(name, before.value, after.value, is_significant)
