"""What two perturbations cost together beyond the sum of their losses; the worst composition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.support.domain_simulation import (
    PAIR,
    Population,
    additive_pairs,
    grid_of,
    holds,
    worst_of_run,
)
from robustness.measure.domain import domain_of
from robustness.statistics.interactions import interactions


def test_an_interaction_is_the_loss_of_both_less_the_losses_of_each() -> None:
    """Of 40 images, 4 and 8 are lost under each alone, 30 under both."""
    first, second, both = (np.arange(40) >= lost for lost in (4, 8, 30))
    ids = [cell.limit.id for cell in (*PAIR.singles, *PAIR.pairs)]
    flags = np.column_stack([first, second, both]).astype(np.int8)
    (found,) = interactions(PAIR, grid_of(ids, flags))
    assert (found.images, found.together) == (40, 30 / 40)
    assert found.apart == pytest.approx(12 / 40)
    assert found.more == pytest.approx(found.together - found.apart)
    assert found.more_low is not None
    assert found.more_low > 0.1
    assert found.significant
    flags[:, 2] = first & second[::-1]
    (additive,) = interactions(PAIR, grid_of(ids, flags))
    assert additive.more == pytest.approx(0)
    assert not additive.significant


def test_losses_count_from_the_lowest_strengths_of_a_domain() -> None:
    values = {"name": "x", "min_accuracy": 0.5, "ranges": {"fog": [0.1, 0.4], "contrast": [0, 1]}}
    domain = domain_of(values)
    conditions = [domain.at({}), *(cell.limit for cell in (*domain.singles, *domain.pairs))]
    # At the lowest strengths half of the images are lost already, and no more in any other.
    flags = np.repeat(np.arange(40)[:, None] >= 20, len(conditions), axis=1).astype(np.int8)
    (found,) = interactions(domain, grid_of([each.id for each in conditions], flags))
    assert (found.together, found.apart, found.more) == (0, 0, 0)


def test_the_digest_of_an_image_alone_decides_which_half_chooses() -> None:
    grid = grid_of(["fog=0.4"], np.ones((400, 1), np.int8))
    digests = np.array([f"{number:064x}" for number in range(400)], object)
    order = np.random.default_rng(0).permutation(400)
    chooses = replace(grid, digests=digests).chooses
    assert (replace(grid, digests=digests[order]).chooses == chooses[order]).all()
    assert 160 < chooses.sum() < 240


def test_the_interval_of_a_worst_composition_holds_though_it_was_chosen_for_being_low() -> None:
    """All compositions are nearly alike: judged on its own images, the worst seems far worse."""
    rng = np.random.default_rng(2)
    population = Population(1.0, 2.0, 0.0, 5.0, images=5_000)
    found = [worst_of_run(population, 60, rng) for _ in range(120)]
    assert np.mean([holds(each.judged, each.truth) for each in found]) >= 0.95
    assert np.mean([holds(each.naive, each.truth) for each in found]) < 0.9


def test_pairs_that_cost_the_sum_of_their_losses_are_seldom_called_an_interaction() -> None:
    found = additive_pairs((0.05, 0.2), images=60, runs=150, rng=np.random.default_rng(3))
    assert found.missed <= 0.07
    assert found.named <= 0.07
