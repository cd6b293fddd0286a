"""Races: models compared, or limits checked, image by image, until the answer stands.

Half of the 5% goes to confidence sequences, which hold at every image at once, half to one test
once all images are asked. Both are shared among the comparisons (Bonferroni), so at most 5% of
races end with a false answer, whenever they end.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.metrics.intervals import difference_bounds, share_bounds
from robustness.statistics.confidence_sequences import Bets

Floats = NDArray[np.float64]

BEST: Literal["best"] = "best"
ORDER: Literal["order"] = "order"
GATE: Literal["gate"] = "gate"
"""What a race settles: the best model, the order of all, or the verdict of a gate."""

_TAIL = 0.025
KEPT, BROKEN, OPEN = "kept", "broken", "not shown"


@dataclass(frozen=True)
class Gap:
    """How much better ``better`` is than ``worse``, in [-1, 1]; certain if ``low`` is above 0."""

    better: str
    worse: str
    low: float
    high: float


class ModelRace:
    """Which of several models is best, or their order.

    A model leaves once it is worse than another (for the best), or once its place is known (for
    the order). Differences that are certainly below ``margin`` are ties.
    """

    def __init__(self, models: Sequence[str], goal: str, margin: float) -> None:
        self.models, self.goal, self.margin = tuple(models), goal, margin
        self._pairs = list(itertools.combinations(range(len(models)), 2))
        self._bets = Bets(len(self._pairs), _TAIL / 2 / max(1, len(self._pairs)))
        self._scores = Bets(len(models), _TAIL)
        self._history: list[Floats] = []
        self._low, self._high = np.full(len(self._pairs), -1.0), np.ones(len(self._pairs))
        self._better = np.zeros((len(models), len(models)), bool)
        self._tied = np.zeros((len(models), len(models)), bool)

    def add(self, scores: Mapping[str, float]) -> None:
        """Take in the scores of one image, in [0, 1]; those of models that left are missing."""
        values = np.array([scores.get(model, np.nan) for model in self.models])
        first, second = (values[[pair[at] for pair in self._pairs]] for at in (0, 1))
        self._history.append(values)
        self._bets.add((first - second + 1) / 2)
        self._scores.add(values)

    def decide(self, *, last: bool = False) -> None:
        """Draw the conclusions from the images so far; ``last`` says that there are no more."""
        low, high = (2 * bound - 1 for bound in self._bets.bounds)
        if last and self._history:
            outcome = self._at_last()
            bounds = (np.nan_to_num(outcome[0], nan=-1.0), np.nan_to_num(outcome[1], nan=1.0))
            open_yet = [self._is_open(*pair) for pair in self._pairs]
            low = np.where(open_yet, np.maximum(low, bounds[0]), low)
            high = np.where(open_yet, np.minimum(high, bounds[1]), high)
        self._low, self._high = low, high
        tied = (low > -self.margin) & (high < self.margin)
        for place, (a, b) in enumerate(self._pairs):
            self._better[a, b] |= bool(low[place] > 0 and not tied[place])
            self._better[b, a] |= bool(high[place] < 0 and not tied[place])
            self._tied[a, b] = self._tied[b, a] = self._tied[a, b] | bool(tied[place])

    def _at_last(self) -> Floats:
        """(2, pairs): the bounds of every difference; those of one model at a time, for memory."""
        values = np.array(self._history)
        bounds = [
            difference_bounds(values[:, [a]] - values[:, a + 1 :], tests=2 * len(self._pairs))
            for a in range(len(self.models) - 1)
        ]
        return np.concatenate([np.stack(bound) for bound in bounds], axis=1)

    def _is_open(self, a: int, b: int) -> bool:
        if self.goal == BEST and (self._better[:, a].any() or self._better[:, b].any()):
            return False
        return not (self._better[a, b] or self._better[b, a] or self._tied[a, b])

    @property
    def running(self) -> tuple[str, ...]:
        """The models that the answer still depends on."""
        needed = {place for pair in self._pairs if self._is_open(*pair) for place in pair}
        return tuple(model for place, model in enumerate(self.models) if place in needed)

    @property
    def settled(self) -> bool:
        return not any(self._is_open(*pair) for pair in self._pairs)

    @property
    def best(self) -> tuple[str, ...]:
        """The best model, or those that no other is known to beat."""
        beaten: list[bool] = np.any(self._better, axis=0).tolist()
        return tuple(
            model for model, is_beaten in zip(self.models, beaten, strict=True) if not is_beaten
        )

    @property
    def gaps(self) -> list[Gap]:
        """Every pair, the one that is or seems better first."""
        entries = []
        for (a, b), low, high in zip(self._pairs, self._low, self._high, strict=True):
            if self._better[b, a] or (not self._better[a, b] and low + high < 0):
                a, b, low, high = b, a, -high, -low
            entries.append(Gap(self.models[a], self.models[b], float(low), float(high)))
        return entries

    @property
    def order(self) -> list[str]:
        """All models, by how many they beat."""
        beaten = self._better.sum(axis=1) - self._better.sum(axis=0)
        return [self.models[place] for place in np.argsort(-beaten, kind="stable")]

    @property
    def scores(self) -> dict[str, tuple[float, float]]:
        """The bounds of each model's score, each 95% whenever the race ends."""
        low, high = self._scores.bounds
        bounds = zip(low.tolist(), high.tolist(), strict=True)
        return dict(zip(self.models, bounds, strict=True))

    def outcome(self) -> dict[str, Any]:
        """JSON-ready: the best, those worse, and every difference."""
        best, scores = self.best, self.scores
        worse = [model for model in self.order if model not in best]
        return {
            "settled": self.settled,
            "best": list(best),
            "worse": worse,
            "order": self.order if self.goal == ORDER else [],
            "scores": {model: list(scores[model]) for model in (*best, *worse)},
            "differences": [vars(gap) for gap in self.gaps],
        }


class RaceLimit(NamedTuple):
    """A limit of a gate: on ``quantity`` of ``model`` under the ``conditions``, all if none.

    ``quantity`` is consistent, correct, or drop (of the accuracy); the figure is to be at least
    ``wanted``, or at most, for a drop.
    """

    model: str
    quantity: str
    conditions: tuple[str, ...]
    wanted: float


class GateRace:
    """Whether all limits of a gate are kept; over once one is broken, or all are kept.

    A false pass needs one broken limit to seem kept, so only the bounds that show a limit broken
    are shared among the limits.
    """

    def __init__(self, limits: Sequence[RaceLimit]) -> None:
        self.limits = tuple(limits)
        self._drop = np.array([limit.quantity == "drop" for limit in limits])
        alone, shared = _TAIL, _TAIL / len(limits)
        tails = np.where(self._drop[:, None], [[shared, alone]], [[alone, shared]])
        self._bets = Bets(len(limits), tails)
        self._values: list[Floats] = []
        self.low, self.high = np.where(self._drop, -1.0, 0.0), np.ones(len(limits))
        self.outcomes = [OPEN] * len(limits)

    def add(self, values: Floats) -> None:
        """Take in the figures of one image, (limits,); NaN where it has none."""
        self._values.append(values)
        self._bets.add(np.where(self._drop, (values + 1) / 2, values))

    def decide(self, *, last: bool = False) -> None:
        """Draw the conclusions from the images so far; ``last`` says that there are no more."""
        low, high = (np.where(self._drop, 2 * b - 1, b) for b in self._bets.bounds)
        if last and self._values:
            for place, values in enumerate(np.array(self._values).T):
                if self.outcomes[place] == OPEN:
                    low[place], high[place] = self._at_last(place, values, low, high)
        self.low, self.high = low, high
        for place, limit in enumerate(self.limits):
            if self.outcomes[place] == OPEN:
                holds, broken = low[place] >= limit.wanted, high[place] < limit.wanted
                if self._drop[place]:
                    holds, broken = high[place] <= limit.wanted, low[place] > limit.wanted
                self.outcomes[place] = KEPT if holds else BROKEN if broken else OPEN

    def _at_last(
        self, place: int, values: Floats, low: Floats, high: Floats
    ) -> tuple[float, float]:
        find = difference_bounds if self._drop[place] else share_bounds
        alone, shared = find(values[:, None]), find(values[:, None], tests=len(self.limits))
        lower, upper = (shared[0], alone[1]) if self._drop[place] else (alone[0], shared[1])
        return (
            float(np.fmax(low[place], lower[0])),
            float(np.fmin(high[place], upper[0])),
        )

    @property
    def settled(self) -> bool:
        return BROKEN in self.outcomes or OPEN not in self.outcomes

    @property
    def running(self) -> tuple[str, ...]:
        """The models with undecided limits."""
        undecided = zip(self.limits, self.outcomes, strict=True)
        return tuple(dict.fromkeys(limit.model for limit, outcome in undecided if outcome == OPEN))

    def outcome(self) -> dict[str, Any]:
        """JSON-ready: whether the gate passes, and every limit."""
        bounds = zip(self.limits, self.outcomes, self.low.tolist(), self.high.tolist(), strict=True)
        return {
            "settled": self.settled,
            "passed": all(outcome == KEPT for outcome in self.outcomes),
            "limits": [
                {**limit._asdict(), "outcome": result, "low": low, "high": high}
                for limit, result, low, high in bounds
            ],
        }
