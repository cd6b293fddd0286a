"""The estimate: perturbations, their strengths and share, and equally good alternatives.

Supports of up to ``MOST`` perturbations are searched with the emulator, by least squares on the
whitened means of the statistics. True simulation corrects its bias at the best fits and, while no
composition is likely, at those that may be better by simulation. Each simulated composition is
judged by its own covariance: that of a wrong one may hide the right one. Where only some images are
affected, the fit is repeated on these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.base.turns import Note
from robustness.matching.emulator import MOST, Emulator
from robustness.matching.statistics import (
    Floats,
    Values,
    distance,
    mean_covariance,
    shrunk_covariance,
    spread,
)

Support = tuple[int, ...]

PENALTY = 8.0
"""Cost of one more perturbation, in units of chi-square."""
ALIKE = 6.0
"""Two supports whose costs differ by less are equally good."""
DRAWS = 400
_ROWS = slice(0, 80)
"""Reference images on which a fit is computed."""
_SIMULATED = 100
"""Reference images of a simulation, about; those of the last steps have all."""
_ROUNDS = 7
_LAST_STEPS = 4
_FEW = 8
"""Number of points up to which every round tries a fit of every size."""
_FITS = 12
"""Fits that may be alternatives."""
_ITERATIONS = 10
_STEP = 0.02
_REPEATS = 3
_FEWEST = 8
"""Images that a fit to the affected ones needs."""
_USUAL = 0.98
"""Share of the originals that are nearer to their mean than any unusual image."""
_BIAS = 0.01
"""Variance of the emulator's bias, as a share of the variance of its error on an image."""
_LIKELY = 0.6
"""A composition of a lower cost, a statistic, is likely."""
_GAIN = 4.0
"""A fit that promises less is not simulated at the end."""
_HOPE = 0.4
"""Share of the cost by the emulator that a fit may have by simulation, far from every point."""
_CLEARLY = 3.0
"""Times the gain that a perturbation needs, from which a simulation of some images decides."""
_REACH = 0.4
"""Distance over which a correction holds."""
_JUMP = 0.4
"""What another active perturbation adds to a distance: clipping and smooth areas change at once
with the weakest noise."""
_NEAR = 0.02
"""Distance from all points beyond which the best fit is simulated."""
_NEAR_IF_LIKELY = 0.06
"""The same while the best point is likely."""
_NEXT = 0.15
"""Distance from all points beyond which other fits are simulated."""
_BESIDE = 0.05
"""Step to points that correct slopes."""
_MOST_BY_ONE = 0.5
"""Share of the cost of no fit, up to which a perturbation alone is simulated at first."""
_SHARE_STEPS = 200
_SEPARATE = 1.5
"""Standard deviations between originals and simulations, below which 50 images of which half are
affected look as if all were, by less."""
_CLEAR = 8.0
"""Log-likelihood that a mixture must gain over images that are all alike. Measured on folders of 50
photographs: of which 30 to 50 % were affected, 23 or more; under one composition or under strengths
that vary from image to image, less than 0."""

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
        """The cost with the penalty for each perturbation."""
        return self.cost + PENALTY * len(self.support)


@dataclass(frozen=True)
class Estimate:
    """The equally good fits, best first, and draws (``DRAWS``, K) of strengths."""

    names: tuple[str, ...]
    fits: tuple[Fit, ...]
    draws: Values
    share: float = 1.0
    """Share of the production images that are affected."""
    share_decided: bool = True
    """Whether a smaller share would look different."""

    @property
    def strengths(self) -> dict[str, float]:
        """The perturbations of the best fit with their strengths."""
        best = self.fits[0]
        return {self.names[index]: float(best.strengths[index]) for index in best.support}

    def group(self, name: str) -> dict[str, float]:
        """The perturbations that may replace ``name``, with their strengths."""
        best_support = set(self.fits[0].support)
        others = best_support - {self.names.index(name)}
        group: dict[str, float] = {}
        # The worst fit first, so that a better one replaces its strength.
        for fit in reversed(self.fits):
            support = set(fit.support)
            if len(support) != len(best_support) or not others <= support:
                continue
            for index in support - others:  # one; none for a name outside the best fit
                group[self.names[index]] = float(fit.strengths[index])
        return group


def estimate(
    production: Floats,
    emulator: Emulator,
    simulate: Simulate,
    seed: int,
    note: Note,
    *,
    each_alone: bool = False,
) -> Estimate:
    """Fit the scaled statistics of production images (n, D) that differ from the reference.

    With ``each_alone``, every perturbation that may explain much is simulated alone at first: where
    the emulator errs much, as with images that are saved, the right one may look bad.

    The fit begins with all images. Where it is not likely, another begins with the unusual ones:
    the mean of all may show nothing of what happened to a few.
    """
    problem = _Problem(emulator, simulate, each_alone)
    every_image = np.ones(len(production), bool)
    from_all, is_likely = _estimate_share(problem, production, every_image, seed, note)
    unusual = _find_unusual(production, emulator.originals)
    if is_likely or not _FEWEST <= unusual.sum() < len(production):
        return from_all
    from_unusual, is_likely = _estimate_share(problem, production, unusual, seed, note)
    if is_likely and from_unusual.share < 1:
        return from_unusual
    return from_all


def _find_unusual(production: Floats, originals: Floats) -> NDArray[np.bool_]:
    """Whether each production image (n,) is further from the originals' mean than most of them."""
    from scipy import linalg  # slow to import

    lower = linalg.cholesky(shrunk_covariance(originals), lower=True)
    centre = originals.mean(0)

    def squared_distances(statistics: Floats) -> Values:
        whitened = linalg.solve_triangular(lower, (statistics - centre).T, lower=True)
        return np.asarray(np.sum(whitened**2, axis=0))

    limit = np.quantile(squared_distances(originals), _USUAL)
    return np.asarray(squared_distances(production) > limit)


def _estimate_share(
    problem: _Problem, production: Floats, chosen: NDArray[np.bool_], seed: int, note: Note
) -> tuple[Estimate, bool]:
    """The estimate from the ``chosen`` images, then from those that it affects; whether likely."""
    for _ in range(_REPEATS):
        problem.use(production[chosen])
        fits, is_likely = _fit(problem, note)
        probabilities = np.ones(len(production))
        is_decided = True
        if not fits[0].support:
            break
        probabilities, is_decided = find_affected(production, problem.emulator, fits[0].strengths)
        previously_chosen = chosen
        chosen = probabilities > 0.5
        if chosen.sum() < _FEWEST:  # no share that a fit could describe
            probabilities = np.ones(len(production))
            is_decided = False
            break
        if (chosen == previously_chosen).all():
            break
    fitted = Estimate(
        names=problem.emulator.names,
        fits=tuple(fit for fit in fits if fit.score < fits[0].score + ALIKE),
        draws=_draw_strengths(problem, fits, seed),
        share=float(probabilities.mean()),
        share_decided=is_decided,
    )
    return fitted, is_likely


def _draw_strengths(problem: _Problem, fits: list[Fit], seed: int) -> Values:
    """Strengths (``DRAWS``, K): in each draw of a linear bootstrap, those of its best fit."""
    shifts = np.random.default_rng(seed).normal(size=(DRAWS, len(problem.mean)))
    strengths_by_fit = []
    scores_by_fit = []
    for fit in fits:
        support = list(fit.support)
        residual, slopes = problem.slopes(fit.strengths, fit.support)
        jacobian = -slopes
        strengths = np.tile(fit.strengths, (DRAWS, 1))
        steps = shifts @ np.linalg.pinv(jacobian).T
        strengths[:, support] = np.clip(strengths[:, support] + steps, 0, 1)
        clipped_steps = (strengths - fit.strengths)[:, support]
        residuals = residual + shifts - clipped_steps @ jacobian.T
        strengths_by_fit.append(strengths)
        scores_by_fit.append((residuals**2).sum(1) + PENALTY * len(support))
    best = np.argmin(scores_by_fit, axis=0)
    return np.asarray(np.stack(strengths_by_fit)[best, np.arange(DRAWS)])


def find_affected(production: Floats, emulator: Emulator, strengths: Values) -> tuple[Values, bool]:
    """The probability (n,) of each image that the composition affects it; whether that is decided.

    Originals and simulations of the reference are two Gaussians on their linear discriminant.
    Their shares are fitted by expectation and maximisation. Without a clear gain all are 1: over
    one composition for all images, and over one Gaussian anywhere, as of strengths that vary.
    """
    from scipy import linalg, stats  # slow to import

    originals = emulator.originals
    simulated = emulator.images(strengths)
    pooled = (np.cov(originals.T) + np.cov(simulated.T)) / 2 + emulator.error
    gap = (simulated.mean(0) - originals.mean(0)).astype(np.float64)
    direction = linalg.solve(pooled, gap, assume_a="pos")
    emulator_variance = direction @ emulator.error @ direction
    scores = production @ direction

    means = []
    deviations = []
    log_densities = []
    for images in (originals, simulated):
        projected = images @ direction
        mean = float(projected.mean())
        deviation = float(np.sqrt(projected.var() + emulator_variance))
        means.append(mean)
        deviations.append(deviation)
        log_densities.append(stats.norm.logpdf(scores, mean, deviation))
    is_separate = abs(means[1] - means[0]) > _SEPARATE * max(deviations)

    logs = np.stack(log_densities, axis=1)
    highest = logs.max(1, keepdims=True)
    densities = np.exp(logs - highest)
    shares = np.array([0.5, 0.5])
    for _ in range(_SHARE_STEPS):
        memberships = densities * shares
        memberships /= memberships.sum(1, keepdims=True)
        shares = memberships.mean(0)

    mixture = float(np.sum(np.log(densities @ shares) + highest[:, 0]))
    all_affected = float(logs[:, 1].sum())
    one_gaussian = float(np.sum(stats.norm.logpdf(scores, scores.mean(), scores.std() + 1e-9)))
    if mixture - max(all_affected, one_gaussian) > _CLEAR:
        return np.asarray(memberships[:, 1]), True
    return np.ones(len(scores)), is_separate


def _fit(problem: _Problem, note: Note) -> tuple[list[Fit], bool]:
    """The best fits, best first, corrected by true simulation; whether the first is likely."""
    fits = _search_with_simulations(problem, note)[:_FITS]
    simulated, fits = _simulate_best(problem, fits)
    best = _drop_needless(problem, min(simulated, key=_score))
    # What no composition explains may be as large in all directions: errors grow with it.
    excess = problem.excess(best)
    problem.weigh(best.strengths)
    problem.whitening /= np.sqrt(excess)
    cost = float(np.sum(problem.residuals(best.strengths[None]) ** 2))
    others = []
    for fit in fits:
        if fit.support != best.support and len(fit.support) <= len(best.support):
            others.append(problem.solve(fit.support, fit))
    return [replace(best, cost=cost), *sorted(others, key=_score)], excess == 1


def _search_with_simulations(problem: _Problem, note: Note) -> list[Fit]:
    """The fits by the emulator, best first, after simulations of some images have corrected it."""
    for rounds_done in range(_ROUNDS + 1):
        note("Fitting", rounds_done, _ROUNDS)
        scores = problem.scores()
        best = int(np.argmin(scores))
        best_point = problem.points[best]
        best_score = float(scores[best])
        # At first the only point is that of the originals, before any simulation.
        problem.weigh(best_point, _BIAS if best else 10 * _BIAS)
        fits = problem.search()
        best_cost = best_score - PENALTY * np.count_nonzero(best_point)
        is_likely = bool(best_cost < _LIKELY * len(problem.mean))
        if rounds_done == _ROUNDS:
            break
        if not problem.explore(fits, best_point, best_score, is_likely):
            break
    return fits


def _simulate_best(problem: _Problem, fits: list[Fit]) -> tuple[list[Fit], list[Fit]]:
    """Simulate all images at the best point and where ``fits`` lead, until they promise little.

    Returns the fits at the simulated points, and ``fits`` solved anew, best first.
    """
    strengths = problem.points[int(np.argmin(problem.scores()))]
    simulated: list[Fit] = []
    for _ in range(_LAST_STEPS):
        simulated.append(problem.measure(strengths))
        problem.weigh(strengths)
        fits = sorted((problem.solve(fit.support, fit) for fit in fits), key=_score)
        strengths = fits[0].strengths
        if fits[0].score > min(simulated, key=_score).score - _GAIN:
            break
    return simulated, fits


def _drop_needless(problem: _Problem, best: Fit) -> Fit:
    """``best`` without the perturbations that fit no worse left out, by simulation.

    The others are fitted anew. The distance must grow by a penalty for each perturbation, times
    the excess: where much is left that nothing explains, a small gain is chance.
    """
    while best.support:
        least_gain = PENALTY * problem.excess(best)
        smaller_fits = [_fit_without(problem, best, index, least_gain) for index in best.support]
        smaller = min(smaller_fits, key=_cost)
        if smaller.cost - best.cost > least_gain:
            break
        best = smaller
    return best


def _fit_without(problem: _Problem, best: Fit, index: int, least_gain: float) -> Fit:
    """The fit of the support of ``best`` without the perturbation ``index``, by simulation."""
    support = tuple(other for other in best.support if other != index)
    problem.weigh(best.strengths)
    fit = problem.solve(support, best)
    if not support:
        fit = problem.measure(fit.strengths)
        problem.weigh(fit.strengths)
        return fit
    # Some images are enough where the perturbation is clearly needed.
    for rows in (problem.some, slice(None)):
        point = problem.measure(fit.strengths, rows)
        problem.weigh(fit.strengths)
        solved_again = problem.solve(support, fit)
        nearer_point = problem.measure(solved_again.strengths, rows)
        fit = min(point, nearer_point, key=_cost)
        if fit.cost - best.cost > _CLEARLY * least_gain:
            break
    return fit


def _cost(fit: Fit) -> float:
    return fit.cost


def _score(fit: Fit) -> float:
    return fit.score


class _Residuals(NamedTuple):
    """The whitened residual (D,) at some strengths, and its derivatives (D, k) by a support."""

    values: Values
    slopes: Values

    @property
    def cost(self) -> float:
        return float(self.values @ self.values)


class _Problem:
    """The statistics of production images, and fits of supports to them.

    ``corrections`` (m, D) are what true simulation adds to the emulator's mean at ``points``
    (m, K), the originals first; between them they are interpolated, as by a Gaussian process.
    """

    def __init__(self, emulator: Emulator, simulate: Simulate, each_alone: bool = False) -> None:
        self.emulator = emulator
        self.simulate = simulate
        self.each_alone = each_alone
        originals = emulator.originals
        no_strengths = np.zeros(len(emulator.names))
        self.emulated_means = emulator.means(_ROWS)
        # A fit is computed on the first images; this moves their mean to that of all.
        self.base = originals.mean(0) - originals[_ROWS].mean(0)
        self.points: Values = np.zeros((0, len(no_strengths)))
        self.corrections: Values = np.zeros((0, originals.shape[1]))
        self.spreads: list[Values] = []
        self.some = slice(None, None, max(1, len(originals) // _SIMULATED))
        self.least_spread = shrunk_covariance(originals)
        self.add(no_strengths, slice(None))

    def use(self, production: Floats) -> None:
        """Fit these images from now on; corrections stay."""
        self.last_fits: dict[Support, Fit] = {}
        self.mean = production.mean(0).astype(np.float64)
        self.count = len(production)

    def add(self, strengths: Values, rows: slice) -> None:
        """Correct the emulator by a simulation of the images ``rows`` at ``strengths`` (K,)."""
        simulated = self.simulate(strengths, rows)
        emulated = self.emulator.images(strengths)
        correction = simulated.mean(0) - emulated[rows].mean(0)
        correction += emulated.mean(0) - self.base - self.emulated_means(strengths[None])[0]
        # A simulation of all images replaces the one of some at the same strengths.
        others = np.flatnonzero((self.points != strengths).any(1))
        self.points = np.vstack([self.points[others], strengths])
        self.corrections = np.vstack([self.corrections[others], correction])
        self.spreads = [self.spreads[index] for index in others]
        self.spreads.append(spread(simulated, self.least_spread))
        kernel = _kernel(self.points, self.points) + 1e-4 * np.eye(len(self.points))
        self.weights = np.asarray(np.linalg.solve(kernel, self.corrections))

    def measure(self, strengths: Values, rows: slice = slice(None)) -> Fit:
        """The fit at ``strengths`` (K,), the last point, by simulation of the images ``rows``."""
        self.add(strengths, rows)
        cost = distance(self.gaps(strengths[None])[0], self.error_at(-1))
        return Fit(tuple(np.flatnonzero(strengths).tolist()), strengths, cost)

    def error_at(self, index: int) -> Values:
        """The covariance of the gap of the means at a point."""
        return mean_covariance(self.spreads[index], self.count, len(self.emulator.originals))

    def weigh(self, point: Values, error: float = 0.0) -> None:
        """Whiten by the covariance at a ``point`` (K,), with a share of the emulator's error."""
        from scipy import linalg  # slow to import

        (index,) = np.flatnonzero((self.points == point).all(1)).tolist()
        covariance = self.error_at(index) + error * self.emulator.error
        lower = linalg.cholesky(covariance, lower=True)
        self.whitening = linalg.solve_triangular(lower, np.eye(len(lower)), lower=True)

    def excess(self, fit: Fit) -> float:
        """How many times the distance of a likely fit is left, at least 1."""
        return max(1.0, fit.cost / (_LIKELY * len(self.mean)))

    def scores(self) -> Values:
        """The score (m,) of every point, under its own covariance; infinite for the originals."""
        costs = []
        for index, gap in enumerate(self.gaps(self.points)):
            costs.append(distance(gap, self.error_at(index)))
        active_counts = np.count_nonzero(self.points, 1)
        scores = np.array(costs) + PENALTY * active_counts
        return np.where(active_counts > 0, scores, np.inf)

    def gaps(self, strengths: Values) -> Values:
        """The differences (n, D) of the production's mean from those at strengths (n, K)."""
        corrections = _kernel(strengths, self.points) @ self.weights
        means = self.base + corrections + self.emulated_means(strengths)
        return np.asarray(self.mean - means)

    def residuals(self, strengths: Values) -> Values:
        """``gaps``, whitened."""
        return np.asarray(self.gaps(strengths) @ self.whitening.T)

    def slopes(self, strengths: Values, support: Support) -> _Residuals:
        """The residual at strengths (K,), and its derivatives by those of a support."""
        chosen = list(support)
        # A step leads inwards, as strengths end at 0 and 1.
        steps = np.where(strengths[chosen] < 0.5, _STEP, -_STEP)
        points = np.tile(strengths, (1 + len(chosen), 1))
        points[np.arange(1, len(points)), chosen] += steps
        residuals = self.residuals(points)
        slopes = (residuals[1:] - residuals[0]) / steps[:, None]
        return _Residuals(residuals[0], np.ascontiguousarray(slopes.T))

    def solve(self, support: Support, near: Fit | None = None) -> Fit:
        """The least-squares strengths of ``support``, from those of ``near``.

        Damped steps within 0 and 1 (Levenberg and Marquardt).
        """
        chosen = list(support)
        strengths = np.zeros(len(self.emulator.names))
        start = near.strengths[chosen] if near else strengths[chosen]
        strengths[chosen] = np.clip(np.where(start > 0, start, 0.3), 0.01, 0.99)
        current = self.slopes(strengths, support)
        if not support:
            return Fit(support, strengths, current.cost)
        damping = 0.01
        for _ in range(_ITERATIONS):
            change = _damped_step(current, strengths[chosen], damping)
            if change is None:
                break
            moved = strengths.copy()
            moved[chosen] = np.clip(strengths[chosen] + change, 0, 1)
            tried = self.slopes(moved, support)
            if not tried.cost < current.cost:  # a cost that is NaN is no better either
                damping = max(10 * damping, 0.1)
                continue
            gain = current.cost - tried.cost
            largest_move = np.abs(moved - strengths).max()
            strengths = moved
            current = tried
            damping /= 5
            if gain < 0.01 * current.cost or largest_move < 0.002:
                break
        return Fit(support, strengths, current.cost)

    def search(self) -> list[Fit]:
        """Fits of supports, best first, by a beam over one more perturbation at a time.

        Each begins with the last fit of the support.
        """
        beam = [self.solve(())]
        fits: list[Fit] = []
        for size in range(1, MOST + 1):
            larger: dict[Support, Fit] = {}
            for fit in beam:
                for index in range(len(self.emulator.names)):
                    if index in fit.support:
                        continue
                    support = tuple(sorted((*fit.support, index)))
                    if support not in larger:
                        start = self.last_fits.get(support, fit)
                        larger[support] = self.solve(support, start)
            self.last_fits |= larger
            fits += larger.values()
            beam_width = 5 if size == 1 else 7
            beam = sorted(larger.values(), key=_cost)[:beam_width]
        return sorted(fits, key=_score)

    def explore(
        self, fits: list[Fit], best_point: Values, best_score: float, is_likely: bool
    ) -> bool:
        """Simulate where a better composition may be; return whether anywhere.

        That is at the best fit. Unless the best point is likely, it is beside both, too, where
        slopes may be wrong, and at fits that may score below ``best_score``, that of the point: at
        first one of every size.
        """
        count = len(self.points)
        best_fit = fits[0].strengths
        is_new = self.is_new(best_fit, _NEAR_IF_LIKELY if is_likely else _NEAR)
        if is_new:
            self.add(best_fit, self.some)
        if is_likely:
            return is_new
        if self.each_alone and count == 1:
            self._explore_each_alone(fits)
        self._explore_beside(best_point)
        if not is_new:
            self._explore_beside(best_fit)
        sizes = np.array([len(fit.support) for fit in fits])
        if count < _FEW:
            for size in range(1, MOST + 1):
                self._explore_hopeful(fits, sizes == size, best_score)
        else:
            self._explore_hopeful(fits, sizes > 0, best_score)
        return len(self.points) > count

    def _explore_each_alone(self, fits: list[Fit]) -> None:
        """Simulate at the fit of each perturbation that alone may explain much."""
        most_cost = _MOST_BY_ONE * self.solve(()).cost
        for fit in fits:
            is_alone = len(fit.support) == 1
            if is_alone and fit.cost < most_cost and self.is_new(fit.strengths, _NEAR):
                self.add(fit.strengths, self.some)

    def _explore_beside(self, centre: Values) -> None:
        """Simulate at a step to either side of ``centre`` (K,), for each active perturbation."""
        for index, step in product(np.flatnonzero(centre), (-_BESIDE, _BESIDE)):
            beside = centre.copy()
            beside[index] = np.clip(beside[index] + step, 0, 1)
            if self.is_new(beside, _NEAR / 2):
                self.add(beside, self.some)

    def _explore_hopeful(
        self, fits: list[Fit], eligible: NDArray[np.bool_], best_score: float
    ) -> None:
        """Simulate at the eligible fit that may score best, if that is below ``best_score``.

        The further a fit is from every point, the less of its score may be left by simulation.
        """
        strengths = np.stack([fit.strengths for fit in fits])
        distances = _distances(strengths, self.points).min(1)
        nearness = np.exp(-(distances**2) / (2 * _REACH**2))
        scores = np.array([fit.score for fit in fits])
        hopes = scores * (_HOPE + (1 - _HOPE) * nearness)
        hopes[(distances < _NEXT) | ~eligible] = np.inf
        best = int(np.argmin(hopes))
        if hopes[best] < best_score:
            self.add(strengths[best], self.some)

    def is_new(self, strengths: Values, least: float) -> bool:
        """Whether no point is nearer to ``strengths`` (K,) than ``least``."""
        return bool(_distances(strengths[None], self.points).min() > least)


def _damped_step(current: _Residuals, strengths: Values, damping: float) -> Values | None:
    """The change (k,) of a support's strengths (k,); None where every one is held at a bound."""
    gradient = current.slopes.T @ current.values
    curvature = current.slopes.T @ current.slopes
    is_held_low = (strengths <= 0) & (gradient > 0)
    is_held_high = (strengths >= 1) & (gradient < 0)
    free = ~(is_held_low | is_held_high)
    if not free.any():
        return None
    matrix = curvature[np.ix_(free, free)]
    matrix = matrix + damping * np.diag(np.diag(matrix) + 1e-9)
    change = np.zeros(len(strengths))
    change[free] = -np.linalg.solve(matrix, gradient[free])
    return change


def _distances(first: Values, second: Values) -> Values:
    """Distances (n, m) between strengths (n, K) and (m, K), on a bent scale.

    On square roots, as weak strengths differ more, and with a jump between none and the weakest.
    """
    differences = _bent(first)[:, None] - _bent(second)[None]
    return np.asarray(np.linalg.norm(differences, axis=2))


def _bent(strengths: Values) -> Values:
    return np.asarray(np.sqrt(strengths) + _JUMP * (strengths > 0))


def _kernel(first: Values, second: Values) -> Values:
    """How far a correction at one of the strengths (m, K) holds at others (n, K), as (n, m)."""
    return np.asarray(np.exp(-(_distances(first, second) ** 2) / (2 * _REACH**2)))
