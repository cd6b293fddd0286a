"""Images in a domain whose truth is known: the worst composition of a run, and interactions."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.measure.condition import Condition
from robustness.measure.domain import domain_of
from robustness.measure.worst import search_worst, worst_of
from robustness.statistics.domain import Judged, judge_count
from robustness.statistics.grid import ConditionKey, Grid
from robustness.statistics.interactions import interactions

Random = np.random.Generator
Flags = NDArray[np.bool_]

DOMAIN = domain_of(
    {
        "name": "simulated",
        "min_accuracy": 0.5,
        "ranges": {
            "fog": [0, 0.4],
            "gaussian_noise": [0, 0.4],
            "darkness": [0, 0.4],
            "brightness": [0, 0.4],
        },
    }
)
PAIR = domain_of(
    {"name": "a pair", "min_accuracy": 0.5, "ranges": {"fog": [0, 0.4], "contrast": [0, 0.4]}}
)


class Population:
    """Images that are correct while what a composition takes is below the lead of their class.

    Their leads are skewed: most are easy up to ``ease``, and a tail with the scale ``spread`` is
    hard. The limits of the first two ranges take ``together`` beyond what each takes, and the other
    two cancel out. Every composition adds ``noise`` of its own to an image.
    """

    def __init__(
        self, ease: float, spread: float, together: float, noise: float, *, images: int = 20_000
    ) -> None:
        rng = np.random.default_rng(0)
        self.images = images
        self._lead = ease - rng.gamma(1.0, spread, images)
        self._taken = rng.gamma(2.0, [0.6, 0.5, 0.4, 0.4], (images, 4))
        self._together = together
        self._noise = noise
        self._correct: dict[Condition, Flags] = {}

    def correct(self, condition: Condition) -> Flags:
        """(images,): whether the prediction under ``condition`` is correct."""
        if condition not in self._correct:
            strengths = dict(condition.steps)
            shares = [strengths.get(each.perturbation, 0.0) / each.high for each in DOMAIN.ranges]
            fog, noise, darkness, brightness = shares
            loss = fog * self._taken[:, 0] + noise * self._taken[:, 1]
            loss += self._together * fog * noise
            loss += np.abs(darkness * self._taken[:, 2] - brightness * self._taken[:, 3])
            rng = np.random.default_rng(list(condition.id.encode()))
            loss += rng.normal(0, self._noise, self.images)
            self._correct[condition] = loss < self._lead
        return self._correct[condition]


class Found(NamedTuple):
    """The worst composition of a run as ``judged``, as ``naive`` on all images, and its truth."""

    judged: Judged
    naive: Judged
    truth: float


def worst_of_run(population: Population, images: int, rng: Random) -> Found:
    """Search as a run does on a sample of the ``population``."""
    sample = rng.choice(population.images, images, replace=False)
    chooses = rng.random(images) < 0.5

    def share(condition: Condition) -> float:
        return float(population.correct(condition)[sample[chooses]].mean())

    search = search_worst(DOMAIN, worst_of({each: share(each) for each in DOMAIN.conditions}))
    candidates = next(search)
    while True:
        try:
            candidates = search.send([share(each) for each in candidates])
        except StopIteration as end:
            worst: Condition = end.value
            break
    correct = population.correct(worst)[sample]
    judging = correct[~chooses]
    return Found(
        judged=judge_count(DOMAIN, "", worst, int(judging.sum()), len(judging)),
        naive=judge_count(DOMAIN, "", worst, int(correct.sum()), images),
        truth=float(population.correct(worst).mean()),
    )


def worst_pair(population: Population, images: int, rng: Random) -> tuple[Judged, float]:
    """The condition of a pair with the lowest figure on a sample of ``population``, and its truth.

    The images that choose it judge it as well.
    """
    sample = rng.choice(population.images, images, replace=False)
    passed = {}
    for cell in DOMAIN.pairs:
        for condition in cell.conditions:
            passed[condition] = int(population.correct(condition)[sample].sum())
    worst = worst_of(passed)
    truth = float(population.correct(worst).mean())
    return judge_count(DOMAIN, "", worst, passed[worst], images), truth


def holds(judged: Judged, truth: float) -> bool:
    """Whether the interval has the truth; one that there are too few images for does."""
    return judged.low is None or judged.high is None or judged.low <= truth <= judged.high


class Additive(NamedTuple):
    """A pair that costs the sum of its losses: how often its interval leaves that out, and how
    often it is called an interaction."""

    missed: float
    named: float


def additive_pairs(
    losses: tuple[float, float], images: int, runs: int, rng: Random, alike: float = 0.0
) -> Additive:
    """Runs of the domain ``PAIR``, of which both conditions lose ``losses`` alone and their sum
    together. A share ``alike`` of the images that one of them loses is lost by both as well."""
    missed = 0
    named = 0
    for _ in range(runs):
        found = interactions(PAIR, _additive(losses, images, rng, alike))
        limit = next(each for each in found if each.condition == PAIR.pairs[0].limit)
        if limit.more_low is not None and limit.more_high is not None:
            missed += not limit.more_low <= 0 <= limit.more_high
        named += any(each.significant for each in found)
    return Additive(missed / runs, named / runs)


def _additive(losses: tuple[float, float], images: int, rng: Random, alike: float) -> Grid:
    keys = []
    columns = []
    first, second = losses
    for level in ("middle", "limit"):
        draws = rng.random((images, 3))
        is_alike = rng.random(images) < alike
        # The same draw for all three keeps the sum: the losses of the single ones do not overlap.
        draws[is_alike] = draws[is_alike, :1]
        single = [getattr(cell, level) for cell in PAIR.singles]
        keys += [*single, getattr(PAIR.pairs[0], level)]
        columns.append(draws[:, 0] >= first)
        columns.append((draws[:, 1] < first) | (draws[:, 1] >= first + second))
        columns.append(draws[:, 2] >= first + second)
    flags = np.column_stack(columns).astype(np.int8)
    return grid_of([key.id for key in keys], flags)


def grid_of(ids: list[str], flags: NDArray[np.int8]) -> Grid:
    """A grid with ``flags`` (images, conditions) under ``ids``; all originals are correct."""
    conditions = tuple(ConditionKey(text, text, None) for text in ids)
    names = np.array([f"{index}.png" for index in range(len(flags))], object)
    cells = {"clean_correct": np.ones_like(flags), "correct": flags, "consistent": flags}
    return Grid("SqueezeNet", names, conditions, np.ones(flags.shape, bool), partial(_read, cells))


def _read(cells: dict[str, Any], column: str) -> Any:
    return cells[column]
