"""How often a choice names the wrong model, and how often the best, simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from benchmarks.support.claim_simulation import Random, logistic
from robustness.models.variant import Variant
from robustness.remedies import REGISTRY, parse
from robustness.statistics import Criteria, choose
from robustness.statistics.grid import ConditionKey, Grid

NAMES = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")
CONDITIONS = tuple(ConditionKey(f"fog={k / 10}", "fog", k / 10) for k in range(1, 11))
RUNS = 400
SPREAD = 1.5
"""Standard deviation of how hard images are, in logits: answers to one image are much alike."""
TRUTHS = {
    "four equal models": (0.6, 0.6, 0.6, 0.6),
    "four equal models, nearly always correct": (0.95, 0.95, 0.95, 0.95),
    "two equal, two worse by 10 points": (0.6, 0.6, 0.5, 0.5),
    "one better by 1 point": (0.61, 0.6, 0.6, 0.6),
    "one better by 3 points": (0.63, 0.6, 0.6, 0.6),
    "one better by 5 points": (0.65, 0.6, 0.6, 0.6),
    "one better by 10 points": (0.7, 0.6, 0.6, 0.6),
    "one better by 10 points, of rare ones": (0.15, 0.05, 0.05, 0.05),
}
"""The accuracy of each model."""
IMAGES = (60, 500)
REMEDIES = REGISTRY.names[:6]
REMEDY_RUNS = 200
ACTED = (0.05, 1.0)
"""Shares of the images on which remedies that do nothing act."""
SURE = 0.95
"""A candidate that is first in so many resamples may be taken for better than the others."""


@dataclass
class Made:
    """The tables of a run for a choice, and how ``hard`` its images are, (images, 1) in logits."""

    grids: Sequence[Grid]
    hard: NDArray[np.float64]
    ranked_by: str = "perturbed_accuracy"
    score: str = ""

    @property
    def summary(self) -> list[dict[str, Any]]:
        return [{"model": grid.model, "clean_accuracy": None} for grid in self.grids]


def level(share: float) -> float:
    """The logit at which models are correct on ``share`` of all images."""
    hard = np.random.default_rng(0).normal(0, SPREAD, 50_000)
    return float(brentq(lambda at: float(logistic(hard + at).mean()) - share, -12, 12))


def drawn(levels: Sequence[float], images: int, rng: Random) -> Made:
    """A run of models at ``levels`` under ten conditions."""
    hard = rng.normal(0, SPREAD, images)[:, None]
    names = np.array([f"{at:05}" for at in range(images)], object)
    there = np.ones((images, len(CONDITIONS)), bool)
    grids = []
    for name, at in zip(NAMES, levels, strict=True):
        right = _right(hard, at, rng)
        grids.append(Grid(name, names, CONDITIONS, there, partial(_cells, right)))
    return Made(grids, hard)


def _right(hard: NDArray[np.float64], at: float, rng: Random) -> NDArray[np.int8]:
    """Whether a model at the level ``at`` is correct, (images, conditions)."""
    own = rng.normal(0, 0.5, hard.shape)
    return (rng.random((len(hard), len(CONDITIONS))) < logistic(hard + own + at)).astype(np.int8)


def behind_nothing(
    made: Made, levels: Sequence[float], acted: float, rng: Random
) -> dict[Variant, Grid]:
    """Each model behind ``REMEDIES``, as if these acted on the share ``acted`` for nothing.

    The predictions for these images are drawn anew, with the same chances of being correct.
    """
    found = {}
    for grid, at in zip(made.grids, levels, strict=True):
        for remedy in REMEDIES:
            places = rng.random(len(grid.images)) < acted
            right = np.where(places[:, None], _right(made.hard, at, rng), grid.flags("correct"))
            variant = Variant((grid.model,), parse(remedy))
            found[variant] = replace(grid, model=variant.name, read=partial(_cells, right))
    return found


def remedies_that_do_nothing() -> None:
    """A line a share of the images that they act on: what a choice with them claims wrongly."""
    print("| four equal models, six remedies each, act on | images | left out | sure | too high |")
    print("|---|---|---|---|---|")
    levels = [level(0.6)] * 4
    for acted in ACTED:
        for images in IMAGES:
            wrong = 0
            sure = 0
            high = []
            rng = np.random.default_rng(images)
            for _ in range(REMEDY_RUNS):
                made = drawn(levels, images, rng)
                behind = behind_nothing(made, levels, acted, rng)
                found = choose(made, Criteria(), variants=behind)
                wrong += len(found.best) < len(found.models)
                sure += (found.certainty or 0.0) >= SURE
                high.append(found.models[0]["robust"] - 0.6)
            shares = f"{wrong / REMEDY_RUNS:.1%} | {sure / REMEDY_RUNS:.1%}"
            points = f"{100 * np.mean(high):.1f} points"
            print(f"| {acted:.0%} | {images} | {shares} | {points} |", flush=True)


def _cells(found: NDArray[np.int8], _column: str) -> NDArray[np.int8]:
    return found


def main() -> None:
    """A line a truth: how often one of the best is left out, and the best named alone."""
    print("| truth | images | a best one left out | the best named alone |")
    print("|---|---|---|---|")
    rng = np.random.default_rng(0)
    for what, truth in TRUTHS.items():
        levels = [level(share) for share in truth]
        top = max(truth)
        best = {name for name, share in zip(NAMES, truth, strict=True) if share == top}
        for images in IMAGES:
            found = [set(choose(drawn(levels, images, rng), Criteria()).best) for _ in range(RUNS)]
            wrong = np.mean([not best <= names for names in found])
            alone = f"{np.mean([names == best for names in found]):.0%}" if len(best) == 1 else ""
            print(f"| {what} | {images} | {wrong:.1%} | {alone} |", flush=True)
    print()
    remedies_that_do_nothing()


if __name__ == "__main__":
    main()
