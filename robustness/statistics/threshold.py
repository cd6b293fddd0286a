"""From which confidence may predictions be accepted, so that few of the accepted ones are wrong?

Learn then Test (Angelopoulos, Bates, Candes, Jordan & Lei 2021): a random 30% of the images says
which thresholds to test, and in which order. The other images test them in this order until one
fails. The order is fixed before a test is seen, so with a chance of ``LEVEL`` at most a threshold
passes that breaks its promise. Of those that pass, the one that accepts most is returned.

The error among accepted predictions need not fall as the threshold grows
(aangelopoulos/conformal-prediction#12). So the order begins where the first part has most evidence,
and not at the strictest threshold. Thresholds stricter than that never accept more and are not
tested.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robustness.statistics.grid import UNKNOWN, Grid
from robustness.statistics.means import holm, image_values, shares
from robustness.statistics.pairs import without_attacks

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

LEVEL = 0.05
"""Largest chance that a threshold breaks its promise."""

MAX_ERROR = 0.05
"""Largest share of wrong predictions among the accepted ones, unless another is asked for."""

FIRST_PART = 0.3
FEWEST_UNITS = 20
"""Fewest images, or groups of images, from which a threshold is sought."""

Promise = Literal["suite", "condition"]
"""Whether the error is limited over all conditions together, or in each of them."""

SCORES = ("probability", "margin")
"""The top probability, or what it exceeds the next by; the first part of the images chooses."""

CANDIDATES: Floats = np.unique(
    np.round(
        [
            *np.arange(0, 0.9, 0.01),
            *(
                1 - unit * step
                for unit in (0.1, 0.01, 1e-3, 1e-4, 1e-5)
                for step in np.arange(0.1, 1.01, 0.02)
            ),
        ],
        7,
    )
)
"""Thresholds that may be tested: 0.01 apart up to 0.9, finer towards 1. They do not depend on the
images, and each can be written down exactly."""

SUITE = "suite"
ORIGINAL = "original"
"""Keys of what is accepted over all conditions, and of the originals, beside ids of conditions."""

PROVEN = "proven"
TOO_FEW_PREDICTIONS = "too few predictions"
NOT_MET = "not met"

_STAKES: Floats = np.geomspace(0.01, 0.97, 24)
"""Stakes that the first part may choose, as shares of the one that could lose everything."""

_AT_ONCE = 2048  # images whose values are in memory together
_SEED = 0x5AFE


@dataclass(frozen=True)
class Certificate:
    """A threshold of ``score``, tested.

    ``threshold`` is None where none passed. ``strongest`` has most evidence on the first part.
    ``images_needed`` estimates from how many images that one would pass; None where its error on
    these images is not below the limit.
    """

    score: str
    threshold: float | None
    strongest: float
    images_needed: int | None


def certify(
    scores: Mapping[str, Floats],
    wrong: Floats,
    max_error: float,
    promise: Promise = "suite",
    *,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> Certificate | None:
    """Find a threshold from which at most ``max_error`` of the accepted predictions are wrong.

    A prediction is accepted if its score is at least the threshold. Each of ``scores``, in [0, 1],
    and ``wrong``, 1 or 0, are (images, conditions), NaN where there is no prediction. Images of one
    of the ``groups`` (images,), such as frames of one video, stay together in the split and are one
    piece of evidence. ``seed`` draws the split. Returns None for fewer than ``FEWEST_UNITS``
    images and where no condition has a prediction; a condition without any is left out.

    Over the ``suite`` an image has the mean over conditions of accepted x (wrong - max_error); that
    these means are negative on average is tested by betting. In each ``condition``, and in a suite
    of one, the wrong ones among the accepted predictions are counted: an exact binomial test, of
    which the largest p decides. Groups are always tested by betting.
    """
    units = len(wrong)
    unit_of = np.arange(len(wrong))
    if groups is not None:
        names, unit_of = np.unique(groups, return_inverse=True)
        units = len(names)
        unit_of = unit_of.ravel()
    if units < FEWEST_UNITS:
        return None
    order = np.random.default_rng([_SEED, seed]).permutation(units)
    first, rest = np.split(order, [round(FIRST_PART * units)])
    present = [~np.isnan(score) & ~np.isnan(wrong) for score in scores.values()]
    columns = np.flatnonzero(np.logical_or.reduce(present).any(axis=0)).tolist()
    if not columns:
        return None
    parts: list[Sequence[int]] = [columns] if promise == "suite" else [[at] for at in columns]
    best: tuple[float, float] = (-math.inf, -math.inf)
    for name, score in scores.items():
        claims = [
            _claim(score[:, part], wrong[:, part], max_error, unit_of, exact=groups is None)
            for part in parts
        ]
        learned = [claim.weigh(first) for claim in claims]
        strength = np.min([evidence for evidence, _ in learned], axis=0)
        if (promising := _promising(strength, len(rest) / len(first))) > best:
            best = promising
            choice = (name, claims, learned, strength)
    name, claims, learned, strength = choice
    start = int(np.argmax(strength))
    tests = np.argsort(-strength, kind="stable")
    tested = [claim.weigh(rest, own) for claim, (_, own) in zip(claims, learned, strict=True)]
    passes = np.min([evidence for evidence, _ in tested], axis=0) >= -math.log(LEVEL)
    passed = [*itertools.takewhile(passes.__getitem__, tests[tests <= start].tolist())]
    threshold = float(CANDIDATES[min(passed)]) if passed else None
    needed = None if passed else _images_needed(claims, start, order, len(wrong))
    return Certificate(name, threshold, float(CANDIDATES[start]), needed)


def safe_thresholds(
    grids: Sequence[Grid],
    column: str,
    max_error: float = MAX_ERROR,
    promise: Promise = "suite",
    groups: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The threshold of each model over the conditions of a run that are no attacks.

    ``column`` tells good predictions: "correct", or "consistent" without labels. ``groups`` names
    the group of each image, by its id. Keys: ``model``; ``threshold``, ``score``, ``strongest`` and
    ``images_needed`` of its ``Certificate``; ``images``. At the threshold, or at ``strongest``
    without one: ``accepted``, by condition the share of predictions that are accepted; ``error``,
    likewise ``{value, low, high}`` of the wrong ones among them; ``status``, by condition what is
    proven of it alone, corrected for all conditions and models (Holm); ``acceptance``,
    ``{value, low, high}`` of what is accepted in all. ``SUITE`` stands for all conditions together,
    ``ORIGINAL`` for the originals. A model without probabilities, or with too few images, has None
    and empty tables.
    """
    entries = [_of_model(grid, column, max_error, promise, groups) for grid in grids]
    _settle(entries, max_error)
    return entries


def _of_model(
    grid: Grid,
    column: str,
    max_error: float,
    promise: Promise,
    groups: Mapping[str, str] | None,
) -> dict[str, Any]:
    natural = without_attacks(grid)
    measured = np.flatnonzero(~np.isnan(natural.values(column)).all(axis=0))
    good = natural.values(column)[:, measured]
    scores = {name: natural.values(name)[:, measured] for name in SCORES}
    unknown = np.isnan(scores["probability"])
    if not np.array_equal(np.isnan(scores["margin"]), unknown):  # top-5 lists may be missing
        del scores["margin"]
    counted = ~(np.isnan(good) | unknown).all(axis=1)
    group_of = None if groups is None else np.array([groups.get(i, i) for i in grid.images])
    certificate = certify(
        {name: score[counted] for name, score in scores.items()},
        1 - good[counted],
        max_error,
        promise,
        groups=None if group_of is None else group_of[counted],
    )
    entry: dict[str, Any] = {
        "model": grid.model,
        **{name: getattr(certificate, name, None) for name in Certificate.__dataclass_fields__},
        "images": int(counted.sum()),
        "acceptance": {"value": None, "low": None, "high": None},
        "accepted": {},
        "error": {},
        "status": {},
    }
    if certificate is None:
        return entry
    at = certificate.strongest if certificate.threshold is None else certificate.threshold
    score = scores[certificate.score]
    ids = [natural.conditions[place].id for place in measured]
    parts = {SUITE: (score, good)}
    parts |= {text: (score[:, [at]], good[:, [at]]) for at, text in enumerate(ids)}
    if column == "correct":  # an original has not changed its own prediction
        sure, right = (grid.per_image(f"clean_{name}") for name in (certificate.score, column))
        parts[ORIGINAL] = sure[:, None], right[:, None]
    for name, (score, well) in parts.items():
        present = ~(np.isnan(score) | np.isnan(well))
        taken = present & (score >= at)
        counts = [c.sum(axis=1, keepdims=True).astype(np.float64) for c in (taken, present)]
        failed = np.where(taken, 1 - well, 0.0).sum(axis=1, keepdims=True)
        accepted = shares(image_values(*counts)).interval
        entry["accepted"][name] = accepted["value"]
        entry["error"][name] = shares(image_values(failed, counts[0])).interval
        if name == SUITE:
            entry["acceptance"] = accepted
        if name in ids:
            entry["status"][name] = int(failed.sum()), int(taken.sum())
    return entry


def _settle(entries: Sequence[dict[str, Any]], max_error: float) -> None:
    """Replace each (failed, accepted) in the ``status`` of ``entries`` by what it proves.

    ``NOT_MET`` has as much evidence as ``PROVEN``: that more than ``max_error`` are wrong. Exact
    binomial tests, each kind with Holm's correction over all that the entries show.
    """
    from scipy.special import bdtr  # slow to import

    places = [(entry["status"], name) for entry in entries for name in entry["status"]]
    counts = [status[name] for status, name in places]
    proofs = holm([float(bdtr(f, n, max_error)) if n else 1.0 for f, n in counts])
    disproofs = holm([float(bdtr(n - f, n, 1 - max_error)) if n else 1.0 for f, n in counts])
    for (status, name), proof, disproof in zip(places, proofs, disproofs, strict=True):
        unproven = NOT_MET if disproof <= LEVEL else TOO_FEW_PREDICTIONS
        status[name] = PROVEN if proof <= LEVEL else unproven


def _promising(strength: Floats, more: float) -> tuple[float, float]:
    """How good a score is by the first part: less the laxest threshold that should pass."""
    passing = np.flatnonzero(strength * more >= -math.log(LEVEL))
    return (-float(CANDIDATES[passing[0]]) if len(passing) else -math.inf), float(strength.max())


def _images_needed(claims: Sequence[_Claim], at: int, units: Integers, images: int) -> int | None:
    """From how many images the threshold ``at`` would pass, if they are like these."""
    strength = min(float(claim.weigh(units)[0][at]) for claim in claims)
    if strength <= 0.5:  # no more than chance gives
        return None
    return math.ceil(1.5 * -math.log(LEVEL) / strength * images / (1 - FIRST_PART))


def _claim(
    score: Floats, wrong: Floats, max_error: float, unit_of: Integers, *, exact: bool
) -> _Claim:
    present = ~(np.isnan(score) | np.isnan(wrong))
    places = np.where(present, np.searchsorted(CANDIDATES, score, side="right"), 0)
    wrong = np.where(present, wrong, 0.0)
    return _Claim(places, wrong, max_error, unit_of, exact and wrong.shape[1] == 1)


@dataclass(frozen=True)
class _Claim:
    """The claim that an error is below its limit, for each of ``CANDIDATES``.

    A prediction (images, conditions) is accepted at the candidates before its place. ``unit_of``
    (images,) are pieces of evidence; ``exact`` is one prediction each.
    """

    places: Integers
    wrong: Floats
    max_error: float
    unit_of: Integers
    exact: bool

    def weigh(self, units: Integers, stakes: Floats | None = None) -> tuple[Floats, Floats]:
        """The evidence of ``units`` for each candidate (m,), and the stakes that they choose (m,).

        An error with the probability of the limit exceeds the evidence with a chance of
        exp(-evidence) at most; it is -inf where nothing is accepted. ``stakes`` are those that
        other units chose, if any.
        """
        return self._count(units) if self.exact else self._bet(units, stakes)

    def _count(self, units: Integers) -> tuple[Floats, Floats]:
        """The wrong ones among the accepted are binomial."""
        from scipy.special import bdtr  # slow to import

        places = self.places[units, 0]
        wrong = self.wrong[units, 0]
        size = len(CANDIDATES) + 1
        accepted = _at_least(np.bincount(places, minlength=size)).astype(np.int64)
        failed = _at_least(np.bincount(places, wrong, minlength=size))
        p = bdtr(failed, np.maximum(accepted, 1), self.max_error)
        strength = np.where(accepted > 0, -np.log(np.maximum(p, 1e-300)), -np.inf)
        return strength, np.zeros(len(CANDIDATES))

    def _bet(self, units: Integers, stakes: Floats | None) -> tuple[Floats, Floats]:
        """A unit's mean of accepted x (wrong - limit) is bet to be negative.

        The capital of a bet against a mean of at least 0 exceeds x with a chance of 1 / x at most,
        whenever one looks (Ville; Waudby-Smith & Ramdas, Journal of the Royal Statistical Society B
        86, 2024). The stakes are fixed before the first of the ``units``.
        """
        largest = 1 / (1 - self.max_error)
        if stakes is None:
            capital = np.zeros((len(_STAKES), len(CANDIDATES)))
            accepted = np.zeros(len(CANDIDATES), bool)
            for values in self._values(units):
                accepted |= (values != 0).any(axis=0)
                for stake, total in zip(_STAKES * largest, capital, strict=True):
                    total += np.log1p(-stake * values).sum(axis=0)
            strength = np.where(accepted, capital.max(axis=0), -np.inf)
            return strength, _STAKES[capital.argmax(axis=0)] * largest
        now = np.zeros(len(CANDIDATES))
        highest = np.zeros(len(CANDIDATES))
        for values in self._values(units):
            run = now + np.log1p(-stakes * values).cumsum(axis=0)
            highest = np.maximum(highest, run.max(axis=0))
            now = run[-1]
        return highest, stakes

    def _values(self, units: Integers) -> Iterator[Floats]:
        """(some units, m): accepted x (wrong - limit), over the rows of the largest unit."""
        size = len(CANDIDATES) + 1
        columns = self.places.shape[1]
        by_unit = np.argsort(self.unit_of, kind="stable")
        counts = np.bincount(self.unit_of)
        starts = np.cumsum(counts) - counts
        rows = columns * int(counts.max())
        for at in range(0, len(units), _AT_ONCE):
            some = units[at : at + _AT_ONCE]
            images = np.concatenate([by_unit[starts[u] : starts[u] + counts[u]] for u in some])
            unit = np.repeat(np.arange(len(some)), counts[some])
            cells = unit[:, None] * size + self.places[images]
            totals = np.bincount(
                cells.ravel(), (self.wrong[images] - self.max_error).ravel(), len(some) * size
            )
            yield _at_least(totals.reshape(len(some), size)) / rows


def _at_least(totals: NDArray[Any]) -> Floats:
    """(..., m): what is accepted at each candidate, from ``totals`` (..., m + 1) by place."""
    sums: Floats = totals[..., ::-1].cumsum(axis=-1, dtype=np.float64)[..., ::-1][..., 1:]
    return sums


# --- the error over what is accepted --------------------------------------------------------------

_POINTS = 40


def curves(grids: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """Risk over coverage of the perturbed images of each model, at 40 coverages at most.

    The coverage is the share of accepted predictions, the risk that of errors among them (El-Yaniv
    & Wiener 2010). Attacks are left out, as they are for a safe threshold: they look for confident
    errors. Keys: ``model``, ``coverage``, ``risk`` (lists) and ``area`` under the curve, lower is
    better.
    """
    # One at a time: its arrays are large.
    return [entry for grid in grids if (entry := _curve(without_attacks(grid), column))]


def _curve(grid: Grid, column: str) -> dict[str, Any]:
    confidence = grid.values("probability")
    well = grid.flags(column)
    present = (well != UNKNOWN) & ~np.isnan(confidence)
    if not present.any():
        return {}
    # By conditions, as they are in memory.
    coverage, risk = risk_coverage(confidence.T[present.T], well.T[present.T])
    steps = np.diff(coverage, prepend=0.0)
    at = np.unique(np.searchsorted(coverage, np.linspace(coverage[0], 1, _POINTS)))
    at = at[at < len(coverage)]
    return {
        "model": grid.model,
        "coverage": coverage[at].tolist(),
        "risk": risk[at].tolist(),
        "area": float(risk @ steps),
    }


def risk_coverage(confidence: Floats, well: NDArray[Any]) -> tuple[Floats, Floats]:
    """(coverage, risk) at each different confidence (n,), from the highest; ``well`` is 0 or 1."""
    order = np.argsort(-confidence)  # in any order where equal, as only their last counts
    confidence = confidence[order]
    errors = np.cumsum(well[order] == 0, dtype=np.int32)
    del order  # these arrays are large
    ends = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    return (ends + 1) / len(errors), errors[ends] / (ends + 1)
