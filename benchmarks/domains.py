"""How often what is said of a domain holds, simulated: tables of docs/intervals.md."""

from __future__ import annotations

import numpy as np

from benchmarks.support.domain_simulation import (
    Population,
    additive_pairs,
    holds,
    worst_of_run,
    worst_pair,
)

IMAGES = (20, 50, 100, 200, 500)
RUNS = 1_000
TRUTHS = {
    "easy images, no interaction": (6.0, 1.0, 0.0, 0.3),
    "skewed difficulty": (5.0, 2.0, 0.5, 0.3),
    "skewed difficulty, strong interaction": (5.0, 2.0, 3.0, 0.3),
    "hard images": (3.0, 2.0, 1.0, 0.3),
    "all compositions nearly alike": (1.0, 2.0, 0.0, 5.0),
}
"""Ease of the images, spread of their difficulty, what two ranges take together, and noise."""

LOSSES = ((0.02, 0.02), (0.05, 0.2), (0.3, 0.3))
ALIKE = (0.0, 0.5, 0.9)


def print_worst() -> None:
    """A line a truth: how often the interval of the worst composition holds."""
    print("| images | " + " | ".join(map(str, IMAGES)) + " |")
    print("|---|" + "---|" * len(IMAGES))
    for name, truth in TRUTHS.items():
        rng = np.random.default_rng(1)
        population = Population(*truth)
        cells = []
        for images in IMAGES:
            found = [worst_of_run(population, images, rng) for _ in range(RUNS)]
            held = np.mean([holds(each.judged, each.truth) for each in found])
            naive = np.mean([holds(each.naive, each.truth) for each in found])
            bias = np.mean([(each.naive.value or 0.0) - each.truth for each in found])
            cells.append(f"{held:.1%} ({naive:.1%}, {100 * bias:+.1f})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def print_worst_pair() -> None:
    """A line a truth: how often the interval of the lowest figure of all pairs holds."""
    print("| images | " + " | ".join(map(str, IMAGES)) + " |")
    print("|---|" + "---|" * len(IMAGES))
    for name, truth in TRUTHS.items():
        rng = np.random.default_rng(1)
        population = Population(*truth)
        cells = []
        for images in IMAGES:
            found = [worst_pair(population, images, rng) for _ in range(RUNS)]
            held = np.mean([holds(judged, share) for judged, share in found])
            bias = np.mean([(judged.value or 0.0) - share for judged, share in found])
            cells.append(f"{held:.1%} ({100 * bias:+.1f})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def print_additive() -> None:
    """A line a pair that costs the sum of its losses: how often that is missed, and denied."""
    print("| losses, images alike | " + " | ".join(map(str, IMAGES)) + " |")
    print("|---|" + "---|" * len(IMAGES))
    for losses in LOSSES:
        for alike in ALIKE:
            rng = np.random.default_rng(1)
            cells = []
            for images in IMAGES:
                found = additive_pairs(losses, images, RUNS, rng, alike)
                cells.append(f"{1 - found.missed:.1%} ({found.named:.1%})")
            name = f"{losses[0]:.0%} and {losses[1]:.0%}, {alike:.0%}"
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    print_worst()
    print()
    print_worst_pair()
    print()
    print_additive()


if __name__ == "__main__":
    main()
