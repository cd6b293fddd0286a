"""The estimate: which perturbations, how strong, on which share, and what cannot be told apart.

Supports of up to ``MOST`` perturbations are searched with the emulator, by least squares on the
whitened means of the statistics. True simulation corrects the emulator's bias at the best few, and
around the best of these the search goes on. Where only some images are affected, the fit is
repeated on these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from robustness.base.progress import Note
from robustness.matching.difference import COLLECTIONS, FLOOR
from robustness.matching.emulator import MOST, Emulator
from robustness.matching.image_statistics import Floats
from robustness.matching.mixture import affected

Values = NDArray[np.float64]
Support = tuple[int, ...]

PENALTY = 8.0
"""Cost of one more perturbation, in units of chi-square."""
ALIKE = 6.0
"""Two supports whose costs differ by less cannot be told apart."""
DRAWS = 400
_ROWS = slice(0, 80)
"""Reference images on which a fit is computed."""
_SIMULATED = slice(0, 64)
_ROUNDS = 6
_REPEATS = 3
_FEWEST = 8
"""Images that a fit to the affected ones needs."""
_REACH = 0.4
"""Distance in strengths over which a correction holds."""
_NEAR, _NEXT = 0.03, 0.15
"""The best fit is simulated beyond this distance from every point, another one beyond that."""
_AT_ONCE = 3
_FAR = 40.0
"""Fits that cost this much more than the best are not simulated."""

Simulate = Callable[[Values, slice], Floats]
"""Scaled statistics of reference images at strengths (K,), by true simulation."""


@dataclass(frozen=True)
class Fit:
    """The best strengths (K,) of one support."""

    support: Support
    strengths: Values
    cost: float

    @property
    def score(self) -> float:
        return self.cost + PENALTY * len(self.support)


@dataclass(frozen=True)
class Estimate:
    """The fits that cannot be told apart, best first, and draws (``DRAWS``, K) of strengths."""

    names: tuple[str, ...]
    fits: tuple[Fit, ...]
    draws: Values
    share: float = 1.0
    """Share of the production images that are affected."""

    @property
    def strengths(self) -> dict[str, float]:
        best = self.fits[0]
        return {self.names[k]: float(best.strengths[k]) for k in best.support}

    @property
    def vector(self) -> Values:
        """The best strengths (K,)."""
        return self.fits[0].strengths

    def group(self, name: str) -> dict[str, float]:
        """The perturbations that may replace ``name``, with their strengths."""
        best = set(self.fits[0].support)
        rest = best - {self.names.index(name)}
        return {
            self.names[k]: float(fit.strengths[k])
            for fit in reversed(self.fits)
            if len(fit.support) == len(best) and rest <= set(fit.support)
            for k in set(fit.support) - rest
        }


def no_perturbation(names: tuple[str, ...]) -> Estimate:
    """The estimate that nothing differs."""
    none = np.zeros(len(names))
    return Estimate(names, (Fit((), none, 0.0),), np.tile(none, (DRAWS, 1)))


class _Problem:
    """The production's statistics, and fits of supports to them.

    ``corrections`` (m, D) are what true simulation added to the emulator's mean at ``points``
    (m, K); between them it is interpolated, as by a Gaussian process.
    """

    def __init__(self, production: Floats, emulator: Emulator, simulate: Simulate) -> None:
        self.emulator, self.simulate = emulator, simulate
        self.emulated = emulator.means(_ROWS)
        self.base = emulator.originals.mean(0) - emulator.originals[_ROWS].mean(0)
        self.points: Values = np.zeros((1, len(emulator.names)))
        self.corrections: Values = np.zeros((1, production.shape[1]))
        self.weights = self.corrections
        self.use(production)

    def use(self, production: Floats) -> None:
        """Fit these images from now on; corrections stay."""
        self.mean = production.mean(0).astype(np.float64)
        self.share = 1 / len(production) + 1 / len(self.emulator.originals) + COLLECTIONS
        self.weigh(self.points[-1], 0.1)

    def weigh(self, strengths: Values, error: float) -> None:
        """Whiten by the covariance at ``strengths``, with that share of the emulator's error."""
        inside = np.cov(self.emulator.images(strengths).T) + self.emulator.error
        covariance = self.share * inside + error * self.emulator.error
        floor = FLOOR * np.eye(len(self.mean))
        lower = linalg.cholesky(covariance + floor, lower=True)
        self.whitening = linalg.solve_triangular(lower, np.eye(len(lower)), lower=True)

    def residual(self, strengths: Values) -> Values:
        """The whitened difference (D,) of the production's mean from that at ``strengths``."""
        correction = _kernel(strengths[None], self.points)[0] @ self.weights
        expected = self.base + correction + self.emulated(strengths)
        return np.asarray(self.whitening @ (self.mean - expected))

    def solve(self, support: Support, near: Fit | None = None) -> Fit:
        """The least-squares strengths of ``support``, from those of ``near``."""
        strengths = np.zeros(len(self.emulator.names))
        chosen = list(support)

        def residual(values: Values) -> Values:
            strengths[chosen] = values
            return self.residual(strengths)

        if support:
            before = near.strengths[chosen] if near else strengths[chosen]
            start = np.clip(np.where(before > 0, before, 0.3), 0.01, 0.99)
            fitted = optimize.least_squares(
                residual, start, bounds=(0, 1), diff_step=0.02, max_nfev=12, xtol=1e-3, ftol=1e-3
            )
            strengths[chosen] = fitted.x
        return Fit(support, strengths, float(np.sum(residual(strengths[chosen]) ** 2)))

    def search(self) -> list[Fit]:
        """Fits of supports, best first, by a beam over one more perturbation at a time."""
        beam = [self.solve(())]
        fits = list(beam)
        for size in range(1, MOST + 1):
            larger: dict[Support, Fit] = {}
            for fit in beam:
                for k in range(len(self.emulator.names)):
                    support = tuple(sorted({*fit.support, k}))
                    if len(support) == size and support not in larger:
                        larger[support] = self.solve(support, fit)
            beam = sorted(larger.values(), key=lambda fit: fit.cost)[: 5 if size == 1 else 7]
            fits += beam
        return sorted(fits, key=lambda fit: fit.score)

    def correct(self, fits: list[Fit]) -> bool:
        """Simulate at the best fits that are far from every point; whether there was any."""
        count = len(self.points)
        for fit in fits:
            first = fit is fits[0]
            distance = _distances(fit.strengths[None], self.points).min()
            if distance > (_NEAR if first else _NEXT) and len(self.points) < count + _AT_ONCE:
                true = self.simulate(fit.strengths, _SIMULATED)
                bias = true - self.emulator.images(fit.strengths, _SIMULATED)
                self.points = np.vstack([self.points, fit.strengths])
                self.corrections = np.vstack([self.corrections, bias.mean(0)])
        inside = _kernel(self.points, self.points) + 1e-4 * np.eye(len(self.points))
        self.weights = np.asarray(np.linalg.solve(inside, self.corrections))
        return len(self.points) > count


def _distances(first: Values, second: Values) -> Values:
    """Distances between strengths, on square roots: weak ones differ more."""
    return np.asarray(np.linalg.norm(np.sqrt(first)[:, None] - np.sqrt(second)[None], axis=2))


def _kernel(first: Values, second: Values) -> Values:
    return np.asarray(np.exp(-(_distances(first, second) ** 2) / (2 * _REACH**2)))


def estimate(
    production: Floats, emulator: Emulator, simulate: Simulate, seed: int, note: Note
) -> Estimate:
    """Fit the scaled statistics of the production images (n, D)."""
    problem = _Problem(production, emulator, simulate)
    chosen = np.ones(len(production), bool)
    for repeat in range(1, _REPEATS + 1):
        fits = _fitted(problem, note)
        probabilities = affected(production, emulator, fits[0].strengths)
        before, chosen = chosen, probabilities > 0.5
        if (chosen == before).all() or chosen.sum() < _FEWEST or repeat == _REPEATS:
            break
        problem.use(production[chosen])
    return _resampled(problem, fits, seed, float(probabilities.mean()))


def _fitted(problem: _Problem, note: Note) -> list[Fit]:
    """The best fits, corrected by true simulation."""
    fits = problem.search()
    for done in range(_ROUNDS):
        note("Fitting", done, _ROUNDS)
        near = fits[0].score + _FAR
        if not problem.correct([fit for fit in fits if fit.score < near]):
            break
        problem.weigh(fits[0].strengths, 0.02)
        fits = problem.search()
    problem.weigh(fits[0].strengths, 0.005)
    return [problem.solve(fit.support, fit) for fit in fits[:12]]


def _resampled(problem: _Problem, fits: list[Fit], seed: int, share: float) -> Estimate:
    """The estimate with draws: a linear bootstrap of every fit, and of each draw the best fit."""
    fits = sorted(fits, key=lambda fit: fit.score)
    shifts = np.random.default_rng(seed).normal(size=(DRAWS, len(problem.mean)))
    draws, scores = [], []
    for fit in fits:
        support = list(fit.support)
        residual = problem.residual(fit.strengths)
        jacobian = _jacobian(problem, fit, residual)
        step = np.linalg.pinv(jacobian) if support else jacobian.T
        moved = np.tile(fit.strengths, (DRAWS, 1))
        moved[:, support] = np.clip(moved[:, support] + shifts @ step.T, 0, 1)
        change = (moved - fit.strengths)[:, support]
        draws.append(moved)
        left = residual + shifts - change @ jacobian.T
        scores.append((left**2).sum(1) + PENALTY * len(support))
    alike = tuple(fit for fit in fits if fit.score < fits[0].score + ALIKE)
    chosen = np.argmin(scores, 0)
    strengths = np.stack(draws)[chosen, np.arange(DRAWS)]
    return Estimate(problem.emulator.names, alike, strengths, share)


def _jacobian(problem: _Problem, fit: Fit, residual: Values) -> Values:
    """The whitened derivatives (D, k) of the mean by the strengths of ``fit``."""
    columns = []
    for k in fit.support:
        step = 0.02 if fit.strengths[k] < 0.5 else -0.02
        moved = fit.strengths.copy()
        moved[k] += step
        columns.append((residual - problem.residual(moved)) / step)
    return np.stack(columns, 1) if columns else np.zeros((len(residual), 0))
