"""How often races end with a false answer, and how many passes they save, simulated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from robustness.evaluation.random_order import FEW
from robustness.metrics.intervals import difference_bounds
from robustness.runs.racing import BATCH
from robustness.statistics.confidence_sequences import Bets
from robustness.statistics.racing import BEST, ModelRace

Floats = NDArray[np.float64]
Make = Callable[[tuple[int, ...], np.random.Generator], Floats]

IMAGES, CONDITIONS, REPEATS = 1000, 95, 4000
_TAIL = 0.0125
_LEVELS = 3  # candidate means: -1, 0 and 1, and those next to 0


def tied(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Two models that are as often correct on every image."""
    chance = rng.beta(0.5, 0.5, shape)
    return (rng.binomial(FEW, chance, shape) - rng.binomial(FEW, chance, shape)) / FEW


def independent(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Two models that are correct on other images: no image is easy or hard for both."""
    return (rng.binomial(FEW, 0.6, shape) - rng.binomial(FEW, 0.6, shape)) / FEW


def skewed(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Nine images of ten go a little better, one much worse; equal on average."""
    return np.where(rng.random(shape) < 0.1, -0.9, 0.1)


def rare(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """The same, with one image of fifty that is lost."""
    return np.where(rng.random(shape) < 0.02, -0.98, 0.02)


def clustered(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Classes that suit one model or the other, each with ten images; equal on average."""
    suits = rng.choice([-0.4, 0.4], shape)
    won, lost = (rng.binomial(10, 0.5 + sign * suits / 2) / 10 for sign in (1, -1))
    return won - lost


def apart(difference: float) -> Make:
    """Models with accuracies ``difference`` apart, on easy and hard images alike."""

    def made(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        hardness = rng.normal(0, 1.5, shape)
        own = rng.normal(0, 0.6, (2, *shape))
        spread = (1 + 1.5**2 + 0.6**2) ** 0.5
        lead = difference * spread * (2 * np.pi) ** 0.5  # at an accuracy of one half
        won, lost = ndtr(hardness + own[0] + lead), ndtr(hardness + own[1])
        return (rng.binomial(FEW, won) - rng.binomial(FEW, lost)) / FEW

    return made


def ended(differences: Floats) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """For races (images, races) of two models: when each ends, and who is said to be better."""
    count, races = differences.shape
    bets, ends = Bets(races, _TAIL, _LEVELS), np.full(races, np.inf)
    first, second = np.zeros((2, races), bool)
    for image, values in enumerate(differences, 1):
        bets.add((values + 1) / 2)
        if image % BATCH == 0 or image == count:
            low, high = bets.bounds
            now = np.isinf(ends) & ((low > 0.5) | (high < 0.5))
            first |= now & (low > 0.5)
            second |= now & (high < 0.5)
            ends[now] = image
    low, high = difference_bounds(differences, tests=2)
    left = np.isinf(ends)
    first |= left & (low > 0)
    second |= left & (high < 0)
    ends[left] = count
    return ends, first, second


def four_tied(images: int, races: int, rng: np.random.Generator) -> float:
    """The share of races of four equal models that drop one."""
    dropped = 0
    for _ in range(races):
        race = ModelRace("abcd", BEST, 0.0)
        chance = rng.beta(0.5, 0.5, images)
        scores = rng.binomial(FEW, chance[:, None], (images, 4)) / FEW
        for image, row in enumerate(scores, 1):
            race.add({m: s for m, s in zip("abcd", row, strict=True) if m in race.running})
            if image % BATCH == 0:
                race.decide()
        race.decide(last=True)
        dropped += len(race.best) < 4
    return dropped / races


def main() -> None:
    rng = np.random.default_rng(0)
    print("| two equal models | images | told apart (at most 5%) |\n|---|---|---|")
    for kind, images in (
        (tied, IMAGES),
        (independent, 100),
        (independent, 500),
        (independent, IMAGES),
        (skewed, IMAGES),
        (rare, IMAGES),
        (rare, 100),
        (clustered, 100),
    ):
        _, first, second = ended(kind((images, REPEATS), rng))
        units = "classes" if kind is clustered else "images"
        print(f"| {kind.__name__} | {images} {units} | {(first | second).mean():.1%} |")
    print(f"| four tied | 200 images | {four_tied(200, 100, rng):.1%} |")
    print("\n| apart | settled after | decided | falsely | fewer passes |\n|---|---|---|---|---|")
    for difference in (0.1, 0.05, 0.03):
        ends, first, second = ended(apart(difference)((IMAGES, REPEATS // 8), rng))
        every = IMAGES * (1 + CONDITIONS)
        print(
            f"| {100 * difference:g} points | {np.median(ends):.0f} of {IMAGES:,} images | "
            f"{(first | second).mean():.0%} | {second.mean():.1%} | "
            f"{every / (np.median(ends) * (1 + FEW)):.0f} times |"
        )


if __name__ == "__main__":
    main()
