"""The gains of remedies: honest about the choice, and about remedies that do nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness.statistics.pairs import PairedTruths, gains


def trial(
    name: str, before: NDArray[np.bool_], after: NDArray[np.bool_], *, condition: str = "fog=0.6"
) -> PairedTruths:
    sure = np.ones(len(before), bool)
    return PairedTruths(name, "SqueezeNet", condition, before, after, sure, sure)


def test_a_gain_is_that_of_the_images_that_did_not_choose() -> None:
    random = np.random.default_rng(3)
    before = random.random(200) < 0.4
    found = gains([trial("good", before, before | (random.random(200) < 0.5))])
    order = np.random.default_rng(0).permutation(200)[100:]
    after = before | (np.random.default_rng(3).random(400)[200:] < 0.5)
    (gain,) = found
    assert gain.images == 100
    assert gain.gain == pytest.approx(after[order].mean() - before[order].mean())
    assert gain.helpful
    assert gain.gain_low is not None
    assert gain.gain_low < gain.gain < (gain.gain_high or 0)


def test_remedies_that_do_nothing_are_called_helpful_in_at_most_five_percent() -> None:
    random = np.random.default_rng(1)
    runs, named = 400, 0
    for _ in range(runs):
        trials = []
        for condition in ("fog=0.6", "snow=0.6", "frost=0.6"):
            before = random.random(120) < 0.5
            for remedy in range(6):
                flips = random.random(120) < 0.1  # both ways alike
                after = np.where(flips, random.random(120) < 0.5, before)
                trials.append(trial(f"null {remedy}", before, after, condition=condition))
        named += any(gain.helpful for gain in gains(trials))
    assert named <= 0.05 * runs + 2 * (0.05 * 0.95 * runs) ** 0.5
