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
"""Points, before which every round tries a fit of every size."""
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
_JUMP = 0.4
"""Distance over which a correction holds, and what another active perturbation adds to a distance:
clipping and smooth areas change at once with the weakest noise."""
_NEAR = (0.02, 0.06)
_NEXT = 0.15
_BESIDE = 0.05
"""Distance beyond which the best fit is simulated, without a likely point and with one; that for
other fits; the step to points that correct slopes."""
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
        best = self.fits[0]
        return {self.names[k]: float(best.strengths[k]) for k in best.support}

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


def estimate(
    production: Floats, emulator: Emulator, simulate: Simulate, seed: int, note: Note
) -> Estimate:
    """Fit the scaled statistics of production images (n, D) that differ from the reference.

    The fit begins with all images. Where it is not likely, another begins with the unusual ones:
    the mean of all may show nothing of what happened to a few.
    """
    from scipy import linalg  # slow to import

    problem = _Problem(emulator, simulate)
    everything = np.ones(len(production), bool)
    fitted, likely = _estimate_share(problem, production, everything, seed, note)
    originals = emulator.originals
    lower = linalg.cholesky(shrunk_covariance(originals), lower=True)
    distances, usual = (
        np.sum(linalg.solve_triangular(lower, (side - originals.mean(0)).T, lower=True) ** 2, 0)
        for side in (production, originals)
    )
    unusual = distances > np.quantile(usual, _USUAL)
    if likely or not _FEWEST <= unusual.sum() < len(production):
        return fitted
    other, likely = _estimate_share(problem, production, unusual, seed, note)
    return other if likely and other.share < 1 else fitted


def _estimate_share(
    problem: _Problem, production: Floats, chosen: NDArray[np.bool_], seed: int, note: Note
) -> tuple[Estimate, bool]:
    """The estimate from the ``chosen`` images, then from those that it affects; whether likely."""
    for _ in range(_REPEATS):
        problem.use(production[chosen])
        fits, likely = _fit(problem, note)
        probabilities = np.ones(len(production))
        decided = True
        if not fits[0].support:
            break
        probabilities, decided = find_affected(production, problem.emulator, fits[0].strengths)
        before = chosen
        chosen = probabilities > 0.5
        if chosen.sum() < _FEWEST:  # no share that a fit could describe
            probabilities = np.ones(len(production))
            decided = False
            break
        if (chosen == before).all():
            break
    # Draws: a linear bootstrap of every fit, and of each draw the best fit.
    shifts = np.random.default_rng(seed).normal(size=(DRAWS, len(problem.mean)))
    draws = []
    scores = []
    for fit in fits:
        support = list(fit.support)
        residual, slopes = problem.slopes(fit.strengths, fit.support)
        jacobian = -slopes
        moved = np.tile(fit.strengths, (DRAWS, 1))
        moved[:, support] = np.clip(moved[:, support] + shifts @ np.linalg.pinv(jacobian).T, 0, 1)
        left = residual + shifts - (moved - fit.strengths)[:, support] @ jacobian.T
        draws.append(moved)
        scores.append((left**2).sum(1) + PENALTY * len(support))
    best = np.stack(draws)[np.argmin(scores, 0), np.arange(DRAWS)]
    alike = tuple(fit for fit in fits if fit.score < fits[0].score + ALIKE)
    share = float(probabilities.mean())
    return Estimate(problem.emulator.names, alike, best, share, decided), likely


def find_affected(production: Floats, emulator: Emulator, strengths: Values) -> tuple[Values, bool]:
    """The probability (n,) of each image that the composition affects it; whether that is decided.

    Originals and simulations of the reference are two Gaussians on their linear discriminant.
    Their shares are fitted by expectation and maximisation. Without a clear gain all are 1: over
    one composition for all images, and over one Gaussian anywhere, as of strengths that vary.
    """
    from scipy import linalg, stats  # slow to import

    sides = (emulator.originals, emulator.images(strengths))
    pooled = (np.cov(sides[0].T) + np.cov(sides[1].T)) / 2 + emulator.error
    gap = (sides[1].mean(0) - sides[0].mean(0)).astype(np.float64)
    direction = linalg.solve(pooled, gap, assume_a="pos")
    noise = direction @ emulator.error @ direction
    scores = production @ direction
    means = [float((side @ direction).mean()) for side in sides]
    errors = [float(np.sqrt((side @ direction).var() + noise)) for side in sides]
    separate = abs(means[1] - means[0]) > _SEPARATE * max(errors)
    logs = np.stack(
        [stats.norm.logpdf(scores, *side) for side in zip(means, errors, strict=True)], 1
    )
    highest = logs.max(1, keepdims=True)
    densities = np.exp(logs - highest)
    shares = np.array([0.5, 0.5])
    for _ in range(_SHARE_STEPS):
        parts = densities * shares
        parts /= parts.sum(1, keepdims=True)
        shares = parts.mean(0)
    mixture = float(np.sum(np.log(densities @ shares) + highest[:, 0]))
    one = float(np.sum(stats.norm.logpdf(scores, scores.mean(), scores.std() + 1e-9)))
    clear = mixture - max(float(logs[:, 1].sum()), one) > _CLEAR
    return np.asarray(parts[:, 1] if clear else np.ones(len(scores))), separate or clear


def _fit(problem: _Problem, note: Note) -> tuple[list[Fit], bool]:
    """The best fits, best first, corrected by true simulation; whether the first is likely."""
    for done in range(_ROUNDS + 1):
        note("Fitting", done, _ROUNDS)
        scores = problem.scores()
        best = int(np.argmin(scores))
        point = problem.points[best]
        most = float(scores[best])
        problem.weigh(point, _BIAS if best else 10 * _BIAS)
        fits = problem.search()
        likely = bool(most - PENALTY * np.count_nonzero(point) < _LIKELY * len(problem.mean))
        if done == _ROUNDS or not problem.explore(fits, point, most, likely):
            break
    # By simulations of all images, at the best point and where the fits lead.
    fits = fits[:_FITS]
    strengths = problem.points[int(np.argmin(problem.scores()))]
    points: list[Fit] = []
    for _ in range(_LAST_STEPS):
        points.append(problem.measure(strengths))
        problem.weigh(strengths)
        fits = sorted((problem.solve(fit.support, fit) for fit in fits), key=lambda fit: fit.score)
        strengths = fits[0].strengths
        if fits[0].score > min(points, key=lambda fit: fit.score).score - _GAIN:
            break
    first = _drop_needless(problem, min(points, key=lambda fit: fit.score))
    # What no composition explains may be as large in all directions: errors grow with it.
    excess = problem.excess(first)
    problem.weigh(first.strengths)
    problem.whitening /= np.sqrt(excess)
    cost = float(np.sum(problem.residuals(first.strengths[None]) ** 2))
    others = [
        problem.solve(fit.support, fit)
        for fit in fits
        if fit.support != first.support and len(fit.support) <= len(first.support)
    ]
    return [replace(first, cost=cost), *sorted(others, key=lambda fit: fit.score)], excess == 1


def _drop_needless(problem: _Problem, best: Fit) -> Fit:
    """``best`` without the perturbations that fit no worse left out, by simulation.

    The others are fitted anew. The distance must grow by a penalty for each perturbation, times
    the excess: where much is left that nothing explains, a small gain is chance.
    """
    while best.support:
        least = PENALTY * problem.excess(best)
        fits = []
        for k in best.support:
            support = tuple(other for other in best.support if other != k)
            problem.weigh(best.strengths)
            fit = problem.solve(support, best)
            for rows in (problem.some, slice(None)) if support else (slice(None),):
                point = problem.measure(fit.strengths, rows)
                problem.weigh(fit.strengths)
                again = problem.solve(support, fit)
                nearer = problem.measure(again.strengths, rows) if support else point
                fit = min(point, nearer, key=lambda other: other.cost)
                if fit.cost - best.cost > _CLEARLY * least:
                    break
            fits.append(fit)
        other = min(fits, key=lambda fit: fit.cost)
        if other.cost - best.cost > least:
            break
        best = other
    return best


class _Problem:
    """The statistics of production images, and fits of supports to them.

    ``corrections`` (m, D) are what true simulation adds to the emulator's mean at ``points``
    (m, K), the originals first; between them they are interpolated, as by a Gaussian process.
    """

    def __init__(self, emulator: Emulator, simulate: Simulate) -> None:
        self.emulator = emulator
        self.simulate = simulate
        originals = emulator.originals
        none = np.zeros(len(emulator.names))
        self.emulated = emulator.means(_ROWS)
        self.base = originals.mean(0) - originals[_ROWS].mean(0)
        self.points: Values = np.zeros((0, len(none)))
        self.corrections: Values = np.zeros((0, originals.shape[1]))
        self.spreads: list[Values] = []
        self.some = slice(None, None, max(1, len(originals) // _SIMULATED))
        self.least = shrunk_covariance(originals)
        self.add(none, slice(None))

    def use(self, production: Floats) -> None:
        """Fit these images from now on; corrections stay."""
        self.last: dict[Support, Fit] = {}
        self.mean = production.mean(0).astype(np.float64)
        self.count = len(production)

    def add(self, strengths: Values, rows: slice) -> None:
        """Correct the emulator by a simulation of the images ``rows`` at ``strengths`` (K,)."""
        simulated = self.simulate(strengths, rows)
        emulated = self.emulator.images(strengths)
        bias = simulated.mean(0) - emulated[rows].mean(0)
        bias += emulated.mean(0) - self.base - self.emulated(strengths[None])[0]
        others = np.flatnonzero((self.points != strengths).any(1))  # all images replace some
        self.points = np.vstack([self.points[others], strengths])
        self.corrections = np.vstack([self.corrections[others], bias])
        self.spreads = [*(self.spreads[k] for k in others), spread(simulated, self.least)]
        inside = _kernel(self.points, self.points) + 1e-4 * np.eye(len(self.points))
        self.weights = np.asarray(np.linalg.solve(inside, self.corrections))

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
        """The cost of every point under its own covariance, with the penalty; none is original."""
        gaps = self.gaps(self.points)
        costs = [distance(gap, self.error_at(index)) for index, gap in enumerate(gaps)]
        active = np.count_nonzero(self.points, 1)
        return np.where(active, np.array(costs) + PENALTY * active, np.inf)

    def gaps(self, strengths: Values) -> Values:
        """The differences (n, D) of the production's mean from those at strengths (n, K)."""
        corrections = _kernel(strengths, self.points) @ self.weights
        return np.asarray(self.mean - (self.base + corrections + self.emulated(strengths)))

    def residuals(self, strengths: Values) -> Values:
        """``gaps``, whitened."""
        return np.asarray(self.gaps(strengths) @ self.whitening.T)

    def slopes(self, strengths: Values, support: Support) -> tuple[Values, Values]:
        """The residual (D,) at strengths (K,), and its derivatives (D, k) by those of a support."""
        chosen = list(support)
        steps = np.where(strengths[chosen] < 0.5, _STEP, -_STEP)
        points = np.tile(strengths, (1 + len(chosen), 1))
        points[np.arange(1, len(points)), chosen] += steps
        residuals = self.residuals(points)
        slopes = (residuals[1:] - residuals[0]) / steps[:, None]
        return residuals[0], np.ascontiguousarray(slopes.T)

    def solve(self, support: Support, near: Fit | None = None) -> Fit:
        """The least-squares strengths of ``support``, from those of ``near``, by damped steps."""
        best = np.zeros(len(self.emulator.names))
        chosen = list(support)
        start = near.strengths[chosen] if near else best[chosen]
        best[chosen] = np.clip(np.where(start > 0, start, 0.3), 0.01, 0.99)
        residual, slopes = self.slopes(best, support)
        cost = float(residual @ residual)
        damping = 0.01
        for _ in range(_ITERATIONS if support else 0):
            gradient = slopes.T @ residual
            curvature = slopes.T @ slopes
            values = best[chosen]
            free = ~((values <= 0) & (gradient > 0) | (values >= 1) & (gradient < 0))
            if not free.any():
                break
            inside = curvature[np.ix_(free, free)]
            inside = inside + damping * np.diag(np.diag(inside) + 1e-9)
            moved = best.copy()
            change = np.zeros(len(chosen))
            change[free] = -np.linalg.solve(inside, gradient[free])
            moved[chosen] = np.clip(values + change, 0, 1)
            other, more = self.slopes(moved, support)
            if (lower := float(other @ other)) < cost:
                gain = cost - lower
                size = np.abs(moved - best).max()
                best = moved
                residual = other
                slopes = more
                cost = lower
                damping /= 5
                if gain < 0.01 * cost or size < 0.002:
                    break
            else:
                damping = max(10 * damping, 0.1)
        return Fit(support, best, cost)

    def search(self) -> list[Fit]:
        """Fits of supports, best first, by a beam over one more perturbation at a time.

        Each begins with the last fit of the support.
        """
        beam = [self.solve(())]
        fits: list[Fit] = []
        for size in range(1, MOST + 1):
            larger: dict[Support, Fit] = {}
            for fit in beam:
                for k in range(len(self.emulator.names)):
                    support = tuple(sorted({*fit.support, k}))
                    if len(support) == size and support not in larger:
                        larger[support] = self.solve(support, self.last.get(support, fit))
            self.last |= larger
            fits += larger.values()
            beam = sorted(larger.values(), key=lambda fit: fit.cost)[: 5 if size == 1 else 7]
        return sorted(fits, key=lambda fit: fit.score)

    def explore(self, fits: list[Fit], point: Values, most: float, likely: bool) -> bool:
        """Simulate where a better composition may be; return whether anywhere.

        That is at the best fit. Unless the best ``point`` is ``likely``, it is beside both, too,
        where slopes may be wrong, and at fits that may score below ``most``, that of the point: at
        first one of every size.
        """
        count = len(self.points)
        strengths = np.stack([fit.strengths for fit in fits])
        if new := self.is_new(strengths[0], _NEAR[likely]):
            self.add(strengths[0], self.some)
        if likely:
            return new
        for centre in [point] if new else [point, strengths[0]]:
            for k, step in product(np.flatnonzero(centre), (-_BESIDE, _BESIDE)):
                beside = centre.copy()
                beside[k] = np.clip(beside[k] + step, 0, 1)
                if self.is_new(beside, _NEAR[False] / 2):
                    self.add(beside, self.some)
        scores, sizes = np.array([(fit.score, len(fit.support)) for fit in fits]).T
        groups = [sizes == 1 + k for k in range(MOST)] if count < _FEW else [sizes > 0]
        for group in groups:
            distances = _distances(strengths, self.points).min(1)
            near = np.exp(-(distances**2) / (2 * _REACH**2))
            hopes = scores * (_HOPE + (1 - _HOPE) * near)
            hopes[(distances < _NEXT) | ~group] = np.inf
            best = int(np.argmin(hopes))
            if hopes[best] < most:
                self.add(strengths[best], self.some)
        return len(self.points) > count

    def is_new(self, strengths: Values, least: float) -> bool:
        """Whether no point is nearer to ``strengths`` (K,) than ``least``."""
        return bool(_distances(strengths[None], self.points).min() > least)


def _distances(first: Values, second: Values) -> Values:
    """Distances between strengths, on square roots: weak ones differ more, and from none most."""
    first, second = (np.sqrt(side) + _JUMP * (side > 0) for side in (first, second))
    return np.asarray(np.linalg.norm(first[:, None] - second[None], axis=2))


def _kernel(first: Values, second: Values) -> Values:
    return np.asarray(np.exp(-(_distances(first, second) ** 2) / (2 * _REACH**2)))
