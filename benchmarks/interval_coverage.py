"""How often the intervals hold the truth, simulated: the tables of docs/intervals.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.populations import (
    CALIBRATIONS,
    DIFFERENCES,
    MEANS,
    SCORES,
    SHARES,
    beyond,
    beyond_errors,
    score_losses,
    shares,
)
from robustness.metrics.intervals import (
    FEWEST_OF_A_MEAN,
    Bounds,
    difference_bounds,
    mean_bounds,
    share_bounds,
)

Floats = NDArray[np.float64]
Find = Callable[[Floats], Bounds]

PICTURES = (5, 10, 30, 100, 300, 1000)
CONDITIONS = (1, 10, 75, 95)
RATES = (0.02, 0.1, 0.5, 0.9, 0.98)
REPEATS = 10_000
RESAMPLES = 1000
REPEATS_OF_ERRORS = 500
_PLAIN_HOLDS = 0.035  # beyond either bound, simulation error included


class Cell(NamedTuple):
    """One kind of images, so many of them a run: what ``beyond`` found.

    ``plain`` is what it found of mean +- 1.96 standard errors, which a percentile bootstrap comes
    to where images are many.
    """

    what: str
    pictures: int
    too_high: float
    too_low: float
    width: float
    plain: tuple[float, float, float]

    @property
    def held(self) -> float:
        return 1 - self.too_high - self.too_low

    @property
    def against_plain(self) -> float | None:
        """The width by that of the plain interval; None where that one does not hold."""
        too_high, too_low, width = self.plain
        return self.width / width if max(too_high, too_low) <= _PLAIN_HOLDS else None


def measure(find: Find, kinds: Iterable[tuple[str, Floats]]) -> list[Cell]:
    """Every kind of images at every size of a run."""
    rng = np.random.default_rng(0)
    found = []
    for what, values in kinds:
        for pictures in PICTURES:
            runs = min(REPEATS, 10_000_000 // pictures)
            result = beyond(find, values, pictures, runs, rng)
            plain = beyond(plain_bounds, values, pictures, runs // 5, rng)
            found.append(Cell(what, pictures, *result, plain))
    return found


def plain_bounds(values: Floats) -> Bounds:
    """Mean +- 1.96 standard errors."""
    reach = 1.96 * values.std(axis=0) / len(values) ** 0.5
    return values.mean(axis=0) - reach, values.mean(axis=0) + reach


def all_shares() -> Iterable[tuple[str, Floats]]:
    """Every kind of images at every rate, under one condition to many."""
    rng = np.random.default_rng(1)
    for conditions in CONDITIONS:
        for kind in SHARES if conditions > 1 else list(SHARES)[:1]:
            for rate in RATES:
                what = f"{kind}, {rate:.0%}, {conditions} conditions"
                yield what, shares(kind, rate, conditions, rng)


def all_differences() -> Iterable[tuple[str, Floats]]:
    """Every kind of difference, under one condition to many."""
    rng = np.random.default_rng(2)
    for conditions in CONDITIONS:
        for kind, made in DIFFERENCES.items():
            yield f"{kind}, {conditions} conditions", made(conditions, rng)


def all_means() -> Iterable[tuple[str, Floats]]:
    """Every kind of numbers."""
    rng = np.random.default_rng(3)
    for kind, made in MEANS.items():
        yield kind, made(rng)


def all_scores() -> Iterable[tuple[str, Floats]]:
    """Every kind of scores."""
    rng = np.random.default_rng(6)
    for kind, made in SCORES.items():
        yield kind, made(rng)


def all_score_losses() -> Iterable[tuple[str, Floats]]:
    """What every kind of scores loses."""
    rng = np.random.default_rng(7)
    for kind in SCORES:
        yield kind, score_losses(kind, rng)


def print_errors() -> None:
    """A line a size of run: calibration errors, the worst of all kinds, and the median width."""
    rng = np.random.default_rng(5)
    kinds = [
        (made(conditions, rng), together)
        for conditions in (1, 10)
        for made in CALIBRATIONS.values()
        for together in ((True,) if conditions == 1 else (True, False))
    ]
    print("| images | held at least | too high at most | too low at most | width |")
    print("|---|---|---|---|---|")
    for pictures in PICTURES:
        found = [
            beyond_errors(answers, pictures, REPEATS_OF_ERRORS, rng, together=together)
            for answers, together in kinds
        ]
        high, low, width = np.transpose(found)
        print(
            f"| {pictures:,} | {1 - (high + low).max():.1%} | {high.max():.1%} | {low.max():.1%} "
            f"| {np.median(width):.3f} ({width.min():.3f} to {width.max():.3f}) |"
        )


def percentile_bootstrap(values: Floats) -> Bounds:
    """The interval that the product had before, for comparison; ``values`` (n, runs)."""
    n = len(values)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    low, high = np.percentile(draws @ values / n, (2.5, 97.5), axis=0)
    return low, high


def print_worst(cells: list[Cell]) -> None:
    """A line a size of run: the worst of all kinds, and the median width."""
    print("| images | held at least | too high at most | too low at most | width |")
    print("|---|---|---|---|---|")
    for pictures in PICTURES:
        mine = [cell for cell in cells if cell.pictures == pictures]
        widths = [ratio for cell in mine if (ratio := cell.against_plain) is not None]
        width = "none holds"
        if len(widths) > 1:
            width = f"{np.median(widths):.2f} ({len(widths)} of {len(mine)})"
        print(
            f"| {pictures:,} | {min(cell.held for cell in mine):.1%} "
            f"| {max(cell.too_high for cell in mine):.1%} "
            f"| {max(cell.too_low for cell in mine):.1%} | {width} |"
        )


def print_means(cells: list[Cell]) -> None:
    """A line a kind of numbers: how often the mean is held."""
    sizes = [pictures for pictures in PICTURES if pictures >= FEWEST_OF_A_MEAN]
    print(f"| numbers | {' | '.join(f'{pictures:,}' for pictures in sizes)} |")
    print(f"|---|{'---|' * len(sizes)}")
    for what in MEANS:
        mine = [cell for cell in cells if cell.what == what and cell.pictures in sizes]
        held = [f"{cell.held:.0%}" for cell in mine]
        print(f"| {what} | {' | '.join(held)} |")


def print_beside_bootstrap() -> None:
    """A few rates, beside the percentile bootstrap."""
    sizes = PICTURES[1:5]
    print(f"| conditions, rate | {' | '.join(map(str, sizes))} |")
    print(f"|---|{'---|' * len(sizes)}")
    rng = np.random.default_rng(4)
    for conditions in (1, 10, 75):
        for rate in (0.9, 0.98):
            values = shares("answers correlated by 0.2", rate, conditions, rng)
            cells = []
            for pictures in sizes:
                told = [
                    beyond(find, values, pictures, 2000, rng)
                    for find in (share_bounds, percentile_bootstrap)
                ]
                held, peer = (1 - high - low for high, low, _ in told)
                passes, peer_passes = (high for high, _, _ in told)
                cells.append(f"{held:.0%} ({peer:.0%}); {passes:.1%} ({peer_passes:.1%})")
            print(f"| {conditions}, {rate:.2f} | {' | '.join(cells)} |")


def main() -> None:
    """Prints the tables."""
    for title, find, kinds in (
        ("Rates", share_bounds, all_shares()),
        ("Differences", difference_bounds, all_differences()),
        ("Scores", share_bounds, all_scores()),
        ("Losses of scores", difference_bounds, all_score_losses()),
    ):
        print(f"{title}\n")
        print_worst(measure(find, kinds))
        print()
    print("Means of other numbers\n")
    print_means(measure(mean_bounds, all_means()))
    print()
    print("Expected calibration errors\n")
    print_errors()
    print()
    print("Rates beside the percentile bootstrap: held; a missed minimum passes\n")
    print_beside_bootstrap()


if __name__ == "__main__":
    main()
