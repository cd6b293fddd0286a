"""What remedies gain: paired with the same model without them, on images that did not choose them.

The images are split at random into halves. For each model and condition, the remedy with the
largest gain on the first half is chosen, of equal ones the one that costs originals least. Gains
are measured on the second half alone, so that no figure is inflated by the choice. A chosen remedy
is helpful if its gain is significant: the exact paired test, with Holm's correction over the models
and conditions, and an interval above 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.statistics.paired_differences import by_condition, established, holm

_ROUNDING = 1e-9  # of sums

Truths = NDArray[np.bool_] | NDArray[np.float64]
"""Truth values by image, (images,); under a profile the means over its compositions."""


@dataclass(frozen=True)
class PairedTruths:
    """One remedy on one model under one condition: truth values by image, (images,) each.

    ``before`` and ``after`` say whether the prediction under the condition is correct (or, without
    labels, that of the original), without and with the remedy; ``clean_before`` and
    ``clean_after`` say so of the original.
    """

    remedy: str
    model: str
    condition: str
    before: Truths
    after: Truths
    clean_before: Truths
    clean_after: Truths


@dataclass(frozen=True)
class Gain:
    """The gain of a remedy in accuracy, as a share, on the images that measure it.

    ``gain_low`` and ``gain_high`` are its 95% interval, None with too few images;
    ``cost_on_originals`` is the accuracy lost on the originals. ``chosen`` marks the remedy that
    was best on the other images for this model and condition, and ``helpful`` a chosen one whose
    gain is significant. ``p`` is corrected for the number of chosen ones, None for the others.
    """

    remedy: str
    model: str
    condition: str
    images: int
    gain: float
    gain_low: float | None
    gain_high: float | None
    cost_on_originals: float
    chosen: bool
    helpful: bool
    p: float | None


def gains(trials: Sequence[PairedTruths]) -> list[Gain]:
    """The gain of each of ``trials``, which share their images; [] with fewer than 2 images."""
    count = len(trials[0].before) if trials else 0
    if count < 2:
        return []
    order = np.random.default_rng(0).permutation(count)
    choosing, telling = order[: count // 2], order[count // 2 :]
    best: dict[tuple[str, str], tuple[float, float, int]] = {}
    for place, trial in enumerate(trials):
        gain = float(_net(trial.before, trial.after)[choosing].sum())
        net = float(_net(trial.clean_before, trial.clean_after)[choosing].sum())
        key = trial.model, trial.condition
        if gain > _ROUNDING and (key not in best or (gain, net) > best[key][:2]):
            best[key] = gain, net, place
    chosen = [place for *_, place in best.values()]
    nets = np.column_stack([_net(trial.before, trial.after)[telling] for trial in trials])
    bounds = by_condition(nets, np.ones(nets.shape, bool))
    p_values = dict(zip(chosen, holm([bounds[place].p for place in chosen]), strict=True))
    results = []
    for place, (trial, gap) in enumerate(zip(trials, bounds, strict=True)):
        gain, p = gap.value or 0.0, p_values.get(place)
        cost = -float(_net(trial.clean_before, trial.clean_after)[telling].mean())
        results.append(
            Gain(
                remedy=trial.remedy,
                model=trial.model,
                condition=trial.condition,
                images=gap.images,
                gain=gain,
                gain_low=gap.low,
                gain_high=gap.high,
                cost_on_originals=cost + 0.0,  # no negative zero
                chosen=p is not None,
                helpful=p is not None and gain > 0 and established(p, gap.low, gap.high),
                p=p,
            )
        )
    return results


def _net(before: Truths, after: Truths) -> NDArray[np.float64]:
    return np.subtract(after, before, dtype=np.float64)
