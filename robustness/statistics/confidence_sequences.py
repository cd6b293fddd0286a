"""Confidence sequences: bounds of means that hold at every number of images at once.

For every candidate mean m, one gambler bets that the mean is above m and one that it is below. If m
is the mean, neither capital is expected to grow, so it exceeds 1 / tail with a chance of at most
tail, whenever one looks (Ville). A candidate is ruled out once a capital has exceeded that. The
stakes are aGRAPA's, which adapt to the mean and variance so far (Waudby-Smith & Ramdas, Journal of
the Royal Statistical Society B 86, 2024).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CANDIDATES = 401
"""Candidate means from 0 to 1: differences from -1 to 1 in steps of half a point."""

_CLOSE = 0.0005
"""From 0.5, a difference of 0, to two more: a bound beyond 0 need not be half a point beyond."""

_LARGEST_STAKE = 0.75
"""Share of the capital that a single image may cost."""


class Bets:
    """The confidence sequences of the means of several series of numbers in [0, 1].

    ``tail`` is the chance with which each bound may ever be wrong: one number, or (series, 2) for
    the lower and upper bounds.
    """

    def __init__(self, series: int, tail: float | Floats, candidates: int = CANDIDATES) -> None:
        steps = np.linspace(0, 1, candidates)
        self._means = np.sort([*steps, 0.5 - _CLOSE, 0.5 + _CLOSE])
        self._bar = -np.log(np.broadcast_to(tail, (series, 2)))[..., None]
        self._capital = np.zeros((series, 2, len(self._means)))  # logarithms
        self._ruled_out = np.zeros((series, 2, len(self._means)), bool)
        self._count, self._total, self._spread = np.zeros((3, series))
        with np.errstate(divide="ignore"):
            self._most = _LARGEST_STAKE / np.stack([self._means, 1 - self._means])

    def add(self, values: Floats) -> None:
        """Bets on the next number of each series, (series,); NaN: there is none."""
        there = ~np.isnan(values)
        mean = (self._total + 0.5) / (self._count + 1)
        away = mean[:, None] - self._means
        stake = away / (((self._spread + 0.25) / (self._count + 1))[:, None] + away**2)
        stakes = np.clip(np.stack([stake, -stake], axis=1), 0, self._most)
        gain = np.where(there, values, 0.0)[:, None] - self._means
        grown = np.log1p(stakes * np.stack([gain, -gain], axis=1))
        self._capital += np.where(there[:, None, None], grown, 0.0)
        self._ruled_out |= self._capital >= self._bar
        self._count += there
        self._total += np.where(there, values, 0.0)
        mean = (self._total + 0.5) / (self._count + 1)
        self._spread += np.where(there, (values - mean) ** 2, 0.0)

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """The lower and upper bounds (series,); 0 and 1 where nothing is ruled out."""
        below = np.logical_and.accumulate(self._ruled_out[:, 0], axis=1).sum(axis=1)
        above = np.logical_and.accumulate(self._ruled_out[:, 1, ::-1], axis=1).sum(axis=1)
        last = len(self._means) - 1
        highest_low, lowest_high = np.maximum(below - 1, 0), np.minimum(last - above + 1, last)
        return self._means[highest_low], self._means[lowest_high]
