"""Two runs compared on the images and conditions that both have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.statistics.means_with_intervals import number, over_conditions, shares
from robustness.statistics.measurement_grid import Grid, mean_of_rows, pool_profiles
from robustness.statistics.model_pairs_and_ranks import QUANTITIES
from robustness.statistics.paired_differences import by_condition, established, holm, overall
from robustness.statistics.robust_accuracy_under_attack import attack_survivors, budgets

Sides = list[NDArray[np.float64]]
"""Values (images, k) of the first run and of the second."""

CLEAN = "clean_accuracy"

BETTER, WORSE, OPEN = "better", "worse", "not established"


def verdict_text(verdict: str) -> str:
    """A ``q_verdict`` in words for people."""
    return "not significant" if verdict == OPEN else f"significantly {verdict}"


def changes(shared: Iterable[Grid]) -> list[dict[str, Any]]:
    """The differences of the second run from the first, on ``shared`` images and conditions.

    ``shared`` are grids with the columns ``x_a`` and ``x_b`` of both runs. One entry per model over
    all conditions (``condition`` is None), then one per model and condition. Keys: ``model``,
    ``condition``, ``perturbation`` and ``strength`` (of the second), ``n_images``, and for each
    quantity q of ``QUANTITIES``: ``q_a``, ``q_b``, ``q_difference`` (b minus a) with its paired
    interval, ``q_images`` (counted images), ``q_moved`` (images that did better or worse), ``q_p``
    and ``q_verdict`` (better, worse, not established; by ``established``, p with Holm's
    correction over the models, or over models and conditions). None where labels or attacks are
    missing. Consistency counts an attack where both runs had a prediction to break. ``judged_by``
    is the quantity of the verdict: robust accuracy for attacks on labelled images, else
    consistency. Entries over all conditions have the same keys of ``clean_accuracy``, that of the
    originals.
    """
    entries = [entry for grid in shared for entry in _entries(pool_profiles(grid))]
    wholes = [entry for entry in entries if entry["condition"] is None]
    for quantity in QUANTITIES:
        _settle(wholes, quantity)
        _settle([e for e in entries if e["condition"] is not None], quantity)
    _settle(wholes, CLEAN)
    order = [name for _, names in models.by_labels(e["model"] for e in entries) for name in names]
    return sorted(entries, key=lambda e: (e["condition"] is not None, order.index(e["model"])))


def _entries(grid: Grid) -> list[dict[str, Any]]:
    """The entries of one model: over all conditions, then each condition."""
    keys = (None, *grid.conditions)
    attacks = [key.is_attack for key in grid.conditions]
    images = [grid.there.any(axis=1).sum(), *grid.there.sum(axis=0)]
    originals = [mean_of_rows(flags)[:, None] for flags in _shared_by(grid, "clean_correct")]
    whole = _changes(originals, originals)[0]
    clean = {f"{CLEAN}_{name}": value for name, value in whole.items()}
    shared = _shared_by(grid, "consistent")
    changes = {"consistency": _changes(shared, shared, grid.there)}
    del shared  # these arrays are large
    right = _shared_by(grid, "correct")
    changes["perturbed_accuracy"] = _changes(right, right)
    robust = [attack_survivors(flags, budgets(grid.conditions)) for flags in right]
    for flags in right:
        flags[:, np.logical_not(attacks)] = np.nan
    changes["robust_accuracy"] = _changes(robust, right)
    entries: list[dict[str, Any]] = []
    for at, key in enumerate(keys):
        by_robust = attacks[at - 1] if key else all(attacks)
        by_robust &= changes["robust_accuracy"][at]["a"] is not None
        entry = {
            "model": grid.model,
            "condition": key.id if key else None,
            "perturbation": key.perturbation if key else None,
            "strength": key.strength if key else None,
            "n_images": int(images[at]),
            "judged_by": "robust_accuracy" if by_robust else "consistency",
        }
        for quantity, estimates in changes.items():
            entry |= {f"{quantity}_{name}": value for name, value in estimates[at].items()}
        entry |= {} if key else clean
        entries += [entry] if images[at] else []
    return entries


def _shared_by(grid: Grid, column: str) -> Sides:
    """The values of ``column`` in both runs, where both have one."""
    a, b = (grid.values(f"{column}_{side}") for side in "ab")
    present = ~np.isnan(a) & ~np.isnan(b)
    return [np.where(present, x, np.nan) for x in (a, b)]


def _changes(
    whole: Sides, columns: Sides, there: NDArray[np.bool_] | None = None
) -> list[dict[str, Any]]:
    """The figures over all of ``whole`` (images, k), then of each column of ``columns``.

    ``there``: where ``whole`` has a row; by default where it is not NaN.
    """
    present, present_each = (~np.isnan(values[0]) for values in (whole, columns))
    rows = present if there is None else there
    changes = [overall(_gaps(whole), present, rows), *by_condition(_gaps(columns), present_each)]
    rates = [
        np.append(over_conditions(some, rows, shares).value, mean_of_rows(values.T))
        for some, values in zip(whole, columns, strict=True)
    ]
    return [
        {
            "a": number(a),
            "b": number(b),
            "difference": gap.value,
            "difference_low": gap.low,
            "difference_high": gap.high,
            "images": gap.images,
            "moved": gap.moved,
            "p": None if gap.value is None else gap.p,
        }
        for gap, a, b in zip(changes, *rates, strict=True)
    ]


def _gaps(sides: Sides) -> NDArray[Any]:
    """Bytes, unless a profile is a condition."""
    gaps = np.nan_to_num(sides[1] - sides[0])
    whole = gaps.astype(np.int8)
    return whole if np.array_equal(whole, gaps) else gaps


def _settle(entries: list[dict[str, Any]], quantity: str) -> None:
    """Add the verdicts on ``quantity``."""
    tested = [entry for entry in entries if entry[f"{quantity}_p"] is not None]
    adjusted = holm([entry[f"{quantity}_p"] for entry in tested])
    for entry in entries:
        entry[f"{quantity}_verdict"] = None
    for entry, p in zip(tested, adjusted, strict=True):
        direction = BETTER if entry[f"{quantity}_difference"] > 0 else WORSE
        bounds = (entry[f"{quantity}_difference_{side}"] for side in ("low", "high"))
        entry[f"{quantity}_verdict"] = direction if established(p, *bounds) else OPEN
