"""Races by made-up scores: against a plain implementation, and by simulation."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from robustness.metrics.intervals import difference_bounds
from robustness.statistics.confidence_sequences import Bets
from robustness.statistics.racing import BEST, BROKEN, KEPT, ORDER, GateRace, ModelRace, RaceLimit


def log_capital(values: list[float], mean: float) -> float:
    """The logarithm of the capital of who bets that the mean is above ``mean``, step by step."""
    capital, seen, spread = 0.0, [0.5], 0.25
    for value in values:
        estimate, variance = sum(seen) / len(seen), spread / len(seen)
        stake = (estimate - mean) / (variance + (estimate - mean) ** 2)
        capital += np.log(1 + min(max(stake, 0.0), 0.75 / mean) * (value - mean))
        seen.append(value)
        spread += (value - sum(seen) / len(seen)) ** 2
    return capital


def test_the_bets_are_those_of_a_plain_implementation() -> None:
    values = np.random.default_rng(0).beta(3, 1, 60)
    bets = Bets(2, 0.025, candidates=21)
    ruled_out = 0
    for count, value in enumerate(values, 1):
        bets.add(np.array([value, np.nan]))
        candidates = np.linspace(0, 1, 21)[1:-1]
        beaten = [log_capital(values[:count].tolist(), m) >= -np.log(0.025) for m in candidates]
        ruled_out = max(ruled_out, beaten.index(False))
    low, high = bets.bounds
    assert low[0] == pytest.approx(0.05 * ruled_out)
    assert low[0] > 0.5
    assert (low[1], high[1]) == (0, 1)


def test_bounds_hold_at_every_image_for_skewed_numbers() -> None:
    random = np.random.default_rng(1)
    numbers = np.where(random.random((300, 400)) < 0.1, 0.05, 0.55)  # their mean is 0.5
    bets, wrong = Bets(400, 0.0125, candidates=5), np.zeros(400, bool)
    for row in numbers:
        bets.add(row)
        low, high = bets.bounds
        wrong |= (low >= 0.5) | (high <= 0.5)
    assert wrong.mean() <= 0.025


def raced(chances: dict[str, float], goal: str, images: int, margin: float = 0.0) -> ModelRace:
    random = np.random.default_rng(2)
    race = ModelRace(tuple(chances), goal, margin)
    for _ in range(images):
        if race.settled:
            break
        race.add({m: random.binomial(5, chances[m]) / 5 for m in race.running})
        race.decide()
    return race


def test_the_best_model_is_found_and_the_others_leave() -> None:
    race = raced({"a": 0.2, "b": 0.8, "c": 0.7}, BEST, 2000)
    assert race.settled
    assert race.best == ("b",)
    (gap,) = [gap for gap in race.gaps if {gap.better, gap.worse} == {"b", "c"}]
    assert gap.better == "b"
    assert 0 <= gap.low < 0.1 < gap.high
    low, high = race.scores["b"]
    assert low < 0.8 < high


def test_the_order_needs_every_pair() -> None:
    race = raced({"a": 0.2, "b": 0.8, "c": 0.5}, ORDER, 2000)
    assert race.settled
    assert race.order == ["b", "c", "a"]


def test_a_margin_gives_ties() -> None:
    race = raced({"a": 0.5, "b": 0.5}, BEST, 3000, margin=0.2)
    assert race.settled
    assert race.best == ("a", "b")
    assert not raced({"a": 0.5, "b": 0.5}, BEST, 100).settled


def test_a_better_model_has_a_bound_above_no_difference() -> None:
    random = np.random.default_rng(6)
    ends = []
    for _ in range(60):
        race = ModelRace(("a", "b"), BEST, 0.01)
        for image in range(600):
            race.add({"a": random.binomial(5, 0.62) / 5, "b": random.binomial(5, 0.5) / 5})
            race.decide()
            if race.settled:
                ends.append(image)
                break
        (gap,) = race.gaps
        assert (gap.low > 0) == (race.best == (gap.better,))
    assert len(ends) > 50


def test_a_certain_difference_below_the_margin_is_a_tie() -> None:
    race = ModelRace(("a", "b"), BEST, 0.2)
    for image in range(2000):
        race.add({"a": 0.6 + 0.1 * (image % 2), "b": 0.6})
    race.decide()
    (gap,) = race.gaps
    assert 0 < gap.low < gap.high < 0.2
    assert race.settled
    assert race.best == ("a", "b")


def test_one_test_at_the_last_image_finds_what_the_bets_did_not() -> None:
    random = np.random.default_rng(3)
    race = ModelRace(("a", "b"), BEST, 0.0)
    for score in random.binomial(5, 0.62, (40, 2)) / 5 * [1, 0.75]:
        race.add(dict(zip("ab", score, strict=True)))
    race.decide()
    assert not race.settled
    race.decide(last=True)
    assert race.settled
    assert race.best == ("a",)
    assert race.gaps[0].low > 0


def test_the_last_test_of_many_models_is_that_of_each_pair() -> None:
    scores = np.random.default_rng(5).random((30, 4)) * [1, 0.8, 0.6, 0.3]
    scores[::7, 2] = np.nan
    race = ModelRace("abcd", ORDER, 0.0)
    for row in scores:
        race.add({name: score for name, score in zip("abcd", row, strict=True) if score == score})
    pairs = list(itertools.combinations(range(4), 2))
    told = np.stack([scores[:, a] - scores[:, b] for a, b in pairs], axis=1)
    np.testing.assert_allclose(race._at_last(), difference_bounds(told, tests=2 * len(pairs)))


def test_a_race_remembers_a_score_of_each_model_alone() -> None:
    names = [str(at) for at in range(20)]
    race = ModelRace(names, BEST, 0.0)
    tracemalloc.start()
    try:
        for _ in range(200):
            race.add(dict.fromkeys(names, 0.5))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 200 * 20 * 8 + 100_000


def test_a_gate_ends_at_the_first_broken_limit_or_once_all_are_kept() -> None:
    def judged(wanted: float) -> GateRace:
        random = np.random.default_rng(4)
        race = GateRace([RaceLimit("a", "consistent", (), wanted), RaceLimit("a", "drop", (), 0.5)])
        for _ in range(600):
            race.add(np.array([random.binomial(5, 0.7) / 5, random.choice([0.2, 0.0, -0.2])]))
            race.decide()
            if race.settled:
                break
        return race

    kept, broken = judged(0.6), judged(0.8)
    assert kept.outcomes == [KEPT, KEPT]
    assert kept.outcome()["passed"]
    assert broken.outcomes[0] == BROKEN
    assert not broken.outcome()["passed"]
    assert broken.high[0] < 0.8
