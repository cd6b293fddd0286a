"""How often what is claimed of a run holds, simulated: tables of docs/intervals.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.claim_simulation import (
    IMAGES,
    Pair,
    Random,
    confident_answers,
    logistic,
    one_condition,
    perturbed,
    power,
    verdicts,
)
from robustness.metrics.intervals import difference_bounds
from robustness.perturbations import REGISTRY
from robustness.statistics import Figures
from robustness.statistics.calibration import condition_errors
from robustness.statistics.failures import Hardest
from robustness.statistics.means import images_needed

Floats = NDArray[np.float64]


def ten_conditions(shift: float, own: float) -> Pair:
    """Two models that find the same images hard, but for ``own``; one is better by ``shift``."""
    rng = np.random.default_rng(0)
    hardness = rng.normal(1, 1.5, IMAGES)
    better, worse = (
        rng.binomial(10, logistic(hardness + by + rng.normal(0, own, IMAGES))) for by in (shift, 0)
    )
    return Pair(10, better - worse)


def numbers_named(pair: Pair, images: int, runs: int, tests: int, rng: Random) -> list[int | None]:
    """How many images each pilot of ``images`` asks for that finds nothing significant."""
    nets = pair.drawn(images, runs, rng)
    settled, low, high = verdicts(pair, nets, tests)
    means = nets.mean(axis=0) / pair.conditions
    nearer = np.where(means > 0, low, -high)
    return [
        images_needed(abs(means[at]), nearer[at], images, tests) if means[at] else None
        for at in np.flatnonzero(~settled)
    ]


def untrue(hard: Hardest, ease: Floats) -> bool:
    """Whether a condition is called less harmful than the leader that is as harmful, or more."""
    names = [record.name for record in REGISTRY]
    true = {text: ease[names.index(text.partition("=")[0])] for text in hard.compared}
    less = set(hard.compared) - set(hard.leaders) if hard.leaders else set()
    return any(true[text] <= true[hard.leaders[0]] for text in less)


PAIRS: dict[str, Pair] = {
    **{
        f"{won}% won, {lost}% lost": one_condition(won / 100, lost / 100)
        for lost in (3, 10, 20)
        for won in (lost + 1, lost + 2, lost + 3, lost + 5, lost + 10)
    },
    "ten conditions, alike": ten_conditions(0.25, 0.5),
    "ten conditions, less alike": ten_conditions(0.5, 1.0),
}
PILOTS = (20, 30, 60, 200)
MODELS = (2, 4)
RUNS = 1000
RUNS_OF_TEN = 300
RUNS_OF_POWER = 200

ERRORS = 200
ANSWERS: dict[str, dict[str, Any]] = {
    "true error 0": {},
    "true error 0, answers alike": {"alike": True},
    "too sure by 5 points": {"off": 0.05},
    "too sure by 10 points": {"off": 0.1},
}

PERTURBATIONS = (2, 10, 19, 42)
CLAIMS = 200
LEVELS: dict[str, Callable[[int], Floats]] = {
    "equally hard": np.zeros,
    "one is harder": lambda count: np.where(np.arange(count), 1.0, -0.5),
    "evenly from easy to hard": lambda count: np.linspace(-1.1, 1.9, count),
}
"""Logits of consistency: from a third to three quarters, with images that are easy and hard."""


def print_advice() -> None:
    """A line a pair of models: the power at the number that a pilot names, and how many do."""
    head = [f"{pilot} images, {models} models" for models in MODELS for pilot in PILOTS]
    print(f"| truth | difference, points | {' | '.join(head)} |")
    print(f"|---|---|{'---|' * len(head)}")
    rng = np.random.default_rng(0)
    for what, pair in PAIRS.items():
        cells = []
        for models in MODELS:
            tests = models * (models - 1) // 2
            known = power(pair, RUNS_OF_POWER, tests, rng)
            for pilot in PILOTS:
                runs = RUNS if pair.conditions == 1 else RUNS_OF_TEN
                asked = numbers_named(pair, pilot, runs, tests, rng)
                named = [number for number in asked if number is not None]
                share = len(named) / max(1, len(asked))
                cells.append(f"{known.at(named).mean():.0%} ({share:.0%})" if named else "none")
        print(f"| {what} | {100 * pair.difference:.1f} | {' | '.join(cells)} |", flush=True)


def print_errors() -> None:
    """A line a size of run: how often the lower bound of a mean calibration error is above 0."""
    print(f"| conditions | images | {' | '.join(ANSWERS)} |")
    print(f"|---|---|{'---|' * len(ANSWERS)}")
    rng = np.random.default_rng(1)
    for conditions in (10, 30, 75):
        for images in (300, 1000):
            cells = []
            for kind in ANSWERS.values():
                lows = [
                    condition_errors(*confident_answers(images, conditions, rng, **kind)).mean.low[
                        0
                    ]
                    for _ in range(ERRORS)
                ]
                cells.append(f"{np.mean(np.array(lows) > 0):.1%} ({np.mean(lows):.3f})")
            print(f"| {conditions} | {images:,} | {' | '.join(cells)} |", flush=True)


def print_extremes() -> None:
    """A line a number of perturbations and images: untrue claims, and how many runs claim any."""
    print(f"| perturbations | images | {' | '.join(LEVELS)} |")
    print(f"|---|---|{'---|' * len(LEVELS)}")
    rng = np.random.default_rng(2)
    for count in PERTURBATIONS:
        for images in (30, 100, 300):
            cells = []
            for level in LEVELS.values():
                ease = level(count)
                runs = [Figures(perturbed(ease, images, rng)).hardest[0] for _ in range(CLAIMS)]
                wrong = np.mean([untrue(hard, ease) for hard in runs])
                claimed = np.mean([bool(hard.leaders) for hard in runs])
                cells.append(f"{wrong:.1%} ({claimed:.0%})")
            print(f"| {count} | {images} | {' | '.join(cells)} |", flush=True)


def print_losses() -> None:
    """How many images it takes to show that no more than 2 points were lost where nothing was."""
    rng = np.random.default_rng(3)
    print("| images | shown |")
    print("|---|---|")
    for images in (500, 1000, 1500, 2000, 3000):
        pair = one_condition(0.05, 0.05)
        low, _ = difference_bounds(pair.drawn(images, 2000, rng).astype(float))
        print(f"| {images:,} | {np.mean(low > -0.02):.0%} |")


def main() -> None:
    """Prints the tables."""
    for title, table in (
        (
            "Power at the number of images that a run asks for (share of runs that name one)",
            print_advice,
        ),
        ("Lower bounds of calibration errors above 0 (mean lower bound)", print_errors),
        ("Untrue claims on perturbations (share of runs that claim a difference)", print_extremes),
        ("Runs that show that no more than 2 points were lost, where nothing was", print_losses),
    ):
        print(f"{title}\n")
        table()
        print()


if __name__ == "__main__":
    main()
