"""The cause of a difference: a composition, where one explains it, judged by one distance.

No composition is the answer that is farther from the production images than the originals are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.progress_and_time_left import Note
from robustness.evaluation.perturbation_and_attack_conditions import Condition, as_profile
from robustness.matching.composition_estimate import DRAWS, Estimate, Fit, estimate
from robustness.matching.image_statistics import NAMES, Floats, Values
from robustness.matching.labelled_and_simulated_accuracy import AccuracyEstimate, ExpectedAccuracy
from robustness.matching.reference_simulation_and_accuracy import ReferenceImages
from robustness.matching.set_difference import SetDifference, difference
from robustness.perturbations import REGISTRY

CONDITIONS = 20
"""Compositions of a profile."""
_LEAST = 0.005
"""Strength from which a perturbation or an alternative is named: 0.00 is none."""
_PAIRS = 5
_SMALL, _WIDEST = 0.1, 2.5
"""The perturbations explain a difference up to such a share of it, if what is left is within so
many times the ordinary distance. Measured: the true composition left up to 0.04 in a tenth of
folders."""
_MOST_LEFT = 0.5
"""Share of the whole distance, ordinary or not, that an explanation leaves at most: what moves the
images by a trifle explains no difference, however small that is."""
_MOST_BY_CHANCE = 0.5
"""Share of random compositions that may agree with the accuracies from confidence, too. Beyond it
the intervals are so wide that agreement is chance."""


@dataclass(frozen=True)
class MatchedPerturbation:
    """A perturbation of the estimate with its 95 % interval.

    ``share`` of the production images are affected, and ``strength`` is theirs. ``group`` are
    other perturbations that fit as well in its place, with their strengths.
    """

    perturbation: str
    strength: float
    low: float
    high: float
    share: float
    group: dict[str, float]

    @property
    def value(self) -> str:
        """The physical value at the strength, on the study image."""
        return REGISTRY[self.perturbation].value_text(self.strength)

    @property
    def severity(self) -> int | None:
        """The nearest ImageNet-C severity."""
        return REGISTRY[self.perturbation].severity_at(self.strength)


@dataclass(frozen=True)
class Cause:
    """The ``estimate`` of a composition, with the differences without it and ``left`` with it.

    ``simulated`` are the scaled statistics (N, D) of the reference under it, of which the rows
    ``unaffected`` are originals.
    """

    estimate: Estimate
    changed: SetDifference
    left: SetDifference
    simulated: Floats
    unaffected: NDArray[np.int64]

    @property
    def remainder(self) -> float:
        """The share of the distance that is left, beyond what is ordinary."""
        return max(self.left.distance - self.left.ordinary, 0.0) / max(self.changed.distance, 1e-9)

    @property
    def explained(self) -> bool:
        """Whether there is no difference, or one that the composition explains."""
        if not self.changed.significant:
            return True
        is_small = self.remainder <= _SMALL and self.left.distance <= _WIDEST * self.left.ordinary
        is_most = self.left.distance <= _MOST_LEFT * self.changed.distance
        return bool(self.perturbations) and is_small and is_most

    @property
    def perturbations(self) -> tuple[MatchedPerturbation, ...]:
        """Those of the composition, strongest first, without those of strength 0.00."""
        fitted, parts = self.estimate, []
        for name, strength in fitted.strengths.items():
            if strength < _LEAST:
                continue
            draws = fitted.draws[:, fitted.names.index(name)]
            some = draws[draws > 0] if (draws > 0).any() else draws
            low, high = np.quantile(some, (0.025, 0.975)).tolist()
            alike = fitted.group(name).items()
            group = {other: value for other, value in alike if other != name and value >= _LEAST}
            bounds = min(low, strength), max(high, strength)
            parts.append(MatchedPerturbation(name, strength, *bounds, fitted.share, group))
        return tuple(sorted(parts, key=lambda part: -part.strength))

    def strengths_of(self, row: int) -> dict[str, float]:
        """The composition of the reference image ``row``."""
        return {} if row in self.unaffected else self.estimate.strengths

    def statistics(self, production: Floats, originals: Floats) -> tuple[dict[str, Any], ...]:
        """Scaled means of each statistic, and the size of what is left in standard errors."""
        means = (side.mean(0).tolist() for side in (production, originals, self.simulated))
        keys = ("statistic", "production", "reference", "simulation", "left")
        rows = zip(NAMES, *means, self.left.sizes.tolist(), strict=True)
        return tuple(dict(zip(keys, row, strict=True)) for row in rows)


def search_cause(production: Floats, side: ReferenceImages, note: Note) -> Cause:
    """Search the cause of the difference of ``production`` (n, D), scaled statistics."""
    originals, names = side.emulator.originals, side.emulator.names
    changed = difference(production, originals, originals, side.seed)
    nothing = np.zeros((DRAWS, len(names)))
    none = Estimate(names, (Fit((), nothing[0], 0.0),), nothing)
    same = Cause(none, changed, changed, originals, np.zeros(0, np.int64))
    if not changed.significant:
        return same
    fitted = estimate(production, side.emulator, side.simulated, side.seed, note)
    best = side.simulated(fitted.fits[0].strengths, slice(None)).copy()
    order = np.random.default_rng(side.seed).permutation(len(best))
    unaffected = order[round(fitted.share * len(best)) :]
    best[unaffected] = originals[unaffected]
    left = difference(production, best, originals, side.seed)
    nearer = Cause(fitted, changed, left, best, unaffected)
    return nearer if left.distance <= changed.distance else same


def explains_accuracy(
    expected: Sequence[ExpectedAccuracy],
    simulated: Mapping[str, AccuracyEstimate],
    by_chance: Mapping[str, Values],
) -> bool:
    """Whether the accuracies that a cause gives on the reference are those from confidence.

    For each model the two estimates must lie in the intervals of each other. ``by_chance`` are the
    accuracies (compositions,) of each model under the same random compositions: too many of these
    must not lie in the intervals of all models, or agreement would be no evidence.
    """
    agree_by_chance: list[NDArray[np.bool_]] = []
    for answer in expected:
        ours, other = answer.confidence, simulated.get(answer.model)
        if ours is None or other is None:
            continue
        if not (ours.low <= other.value <= ours.high and other.low <= ours.value <= other.high):
            return False
        random = by_chance[answer.model]
        agree_by_chance.append((ours.low <= random) & (random <= ours.high))
    if not agree_by_chance:
        return True
    return bool(np.all(agree_by_chance, axis=0).mean() <= _MOST_BY_CHANCE)


def draw_compositions(fitted: Estimate, seed: int) -> tuple[Condition, ...]:
    """Distinct compositions drawn from the estimate, up to ``CONDITIONS``, or the original."""
    if not fitted.strengths:
        return (Condition.of({fitted.names[0]: 0.0}),)
    order = np.random.default_rng(seed).permutation(len(fitted.draws))
    rounded = np.round(fitted.draws[order], 4)
    conditions = (
        Condition.of({name: x for name, x in zip(fitted.names, draw, strict=True) if x > 0})
        for draw in rounded[rounded.any(1)].tolist()
    )
    return tuple(dict.fromkeys(conditions))[:CONDITIONS]


def profile_conditions(
    compositions: Sequence[Condition], share: float, names: Sequence[str]
) -> tuple[Condition, ...]:
    """A profile of compositions of which about ``share`` change the image, as they count alike.

    The others are perturbations at strength 0, each a condition of its own: those of ``names`` that
    the first composition lacks, so that results under its perturbations are of affected images.
    """
    names = [name for name in names if name not in compositions[0].perturbations]
    odds = share / max(1 - share, 1e-9)
    affected = max(1, min(round(CONDITIONS * share), round(len(names) * odds)))
    chosen = tuple(compositions[:affected])
    unchanged = [Condition.of({name: 0.0}) for name in names]
    return as_profile((*chosen, *unchanged[: round(len(chosen) / odds)]))


def nearest_pairs(production: Floats, simulated: Floats) -> list[tuple[int, int]]:
    """Rows of both sides with the nearest statistics, nearest first, each row once."""
    distances = np.linalg.norm(production[:, None] - simulated[None], axis=2)
    pairs = []
    for _ in range(_PAIRS):
        row, other = np.unravel_index(np.argmin(distances), distances.shape)
        pairs.append((int(row), int(other)))
        distances[row], distances[:, other] = np.inf, np.inf
    return pairs
