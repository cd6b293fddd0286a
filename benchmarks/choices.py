"""How often a choice names the wrong model, and how often the best, simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from robustness.statistics import Criteria, choose
from robustness.statistics.grid import ConditionKey, Grid
from tests.support.made_up_claims import Random, logistic

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


@dataclass
class Made:
    """What a choice reads of a run."""

    grids: Sequence[Grid]
    ranked_by: str = "perturbed_accuracy"
    by_perturbation: list[dict[str, Any]] = field(default_factory=list)

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
        own = rng.normal(0, 0.5, (images, 1))
        right = (rng.random(there.shape) < logistic(hard + own + at)).astype(np.int8)
        grids.append(Grid(name, names, CONDITIONS, there, partial(_cells, right)))
    return Made(grids)


def _cells(found: NDArray[np.int8], _column: str) -> NDArray[np.int8]:
    return found


def main() -> None:
    """A line a truth: how often one of the best is left out, and the best named alone."""
    print("| truth | images | a best one left out | the best named alone |")
    print("|---|---|---|---|")
    rng = np.random.default_rng(0)
    for what, truth in TRUTHS.items():
        levels, top = [level(share) for share in truth], max(truth)
        best = {name for name, share in zip(NAMES, truth, strict=True) if share == top}
        for images in (60, 500):
            found = [set(choose(drawn(levels, images, rng), Criteria()).best) for _ in range(RUNS)]
            wrong = np.mean([not best <= names for names in found])
            alone = f"{np.mean([names == best for names in found]):.0%}" if len(best) == 1 else ""
            print(f"| {what} | {images} | {wrong:.1%} | {alone} |", flush=True)


if __name__ == "__main__":
    main()
