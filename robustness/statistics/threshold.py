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
from typing import Any, Literal, NamedTuple

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


def _candidates() -> Floats:
    thresholds = list(np.arange(0, 0.9, 0.01))
    for unit in (0.1, 0.01, 1e-3, 1e-4, 1e-5):
        thresholds += [1 - unit * step for step in np.arange(0.1, 1.01, 0.02)]
    return np.unique(np.round(thresholds, 7))


CANDIDATES: Floats = _candidates()
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
    unit_of = np.arange(len(wrong))
    unit_count = len(wrong)
    if groups is not None:
        names, unit_of = np.unique(groups, return_inverse=True)
        unit_of = unit_of.ravel()
        unit_count = len(names)
    if unit_count < FEWEST_UNITS:
        return None
    order = np.random.default_rng([_SEED, seed]).permutation(unit_count)
    first, rest = np.split(order, [round(FIRST_PART * unit_count)])
    is_known = [~np.isnan(score) & ~np.isnan(wrong) for score in scores.values()]
    columns = np.flatnonzero(np.logical_or.reduce(is_known).any(axis=0)).tolist()
    if not columns:
        return None
    blocks: list[Sequence[int]] = [[column] for column in columns]
    if promise == "suite":
        blocks = [columns]

    # The first part of the units chooses the score, the thresholds to test and their order.
    plans = []
    for name, score in scores.items():
        claims = []
        for block in blocks:
            is_exact = groups is None and len(block) == 1
            claims.append(_claim(score[:, block], wrong[:, block], max_error, unit_of, is_exact))
        plans.append(_plan(name, claims, first))
    plan = max(plans, key=lambda plan: plan.promise(len(rest) / len(first)))
    start = int(np.argmax(plan.strength))
    order_of_tests = np.argsort(-plan.strength, kind="stable")

    # The rest tests them in this order, until one fails.
    evidence = []
    for claim, learned in zip(plan.claims, plan.learned, strict=True):
        evidence.append(claim.weigh(rest, learned.stakes).evidence)
    passes = np.min(evidence, axis=0) >= -math.log(LEVEL)
    passed = list(
        itertools.takewhile(
            lambda index: passes[index], order_of_tests[order_of_tests <= start].tolist()
        )
    )
    strongest = float(CANDIDATES[start])
    if passed:
        return Certificate(plan.score, float(CANDIDATES[min(passed)]), strongest, None)
    needed = _images_needed(plan.claims, start, order, len(wrong))
    return Certificate(plan.score, None, strongest, needed)


class _Evidence(NamedTuple):
    """The ``evidence`` for each candidate (m,), and the ``stakes`` of the bets (m,).

    An error with the probability of the limit exceeds the evidence with a chance of exp(-evidence)
    at most; it is -inf where nothing is accepted.
    """

    evidence: Floats
    stakes: Floats


@dataclass(frozen=True)
class _Plan:
    """What the first part of the units says of a ``score``.

    There is a claim for each block of conditions with a promise of its own, with what was
    ``learned`` of it; ``strength`` (m,) is the least evidence of any claim for each candidate.
    """

    score: str
    claims: Sequence[_Claim]
    learned: Sequence[_Evidence]
    strength: Floats

    def promise(self, times: float) -> tuple[float, float]:
        """How good the score is: minus the laxest threshold that should pass, then the evidence.

        There are so many ``times`` the units in the other part.
        """
        passing = np.flatnonzero(self.strength * times >= -math.log(LEVEL))
        laxest = float(CANDIDATES[passing[0]]) if len(passing) else math.inf
        return -laxest, float(self.strength.max())


def _plan(score: str, claims: Sequence[_Claim], units: Integers) -> _Plan:
    learned = [claim.weigh(units) for claim in claims]
    strength = np.min([each.evidence for each in learned], axis=0)
    return _Plan(score, claims, learned, strength)


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
    entries = []
    counts: list[_Count] = []
    for grid in grids:
        entry, of_model = _threshold_entry(grid, column, max_error, promise, groups)
        entries.append(entry)
        counts += of_model
    # One family of tests: all that the entries show.
    for count, status in zip(counts, _statuses(counts, max_error), strict=True):
        count.statuses[count.condition] = status
    return entries


class _Count(NamedTuple):
    """How many predictions are ``accepted`` under a condition, and how many of these ``failed``.

    ``statuses`` is the table of an entry that gets the status.
    """

    condition: str
    failed: int
    accepted: int
    statuses: dict[str, str]


def _threshold_entry(
    grid: Grid,
    column: str,
    max_error: float,
    promise: Promise,
    groups: Mapping[str, str] | None,
) -> tuple[dict[str, Any], list[_Count]]:
    """The entry of one model, and what its statuses, which are empty yet, follow from."""
    predictions = _predictions(grid, column)
    group_of = None
    if groups is not None:
        group_of = np.array([groups.get(image, image) for image in grid.images])
    certificate = _certify_predictions(predictions, max_error, promise, group_of)
    statuses: dict[str, str] = {}
    entry: dict[str, Any] = {
        "model": grid.model,
        "score": None,
        "threshold": None,
        "strongest": None,
        "images_needed": None,
        "images": int(predictions.is_counted.sum()),
        "acceptance": {"value": None, "low": None, "high": None},
        "accepted": {},
        "error": {},
        "status": statuses,
    }
    if certificate is None:
        return entry, []
    entry |= vars(certificate)
    threshold = certificate.threshold
    if threshold is None:
        threshold = certificate.strongest
    counts = []
    for name, (score, went_well) in _parts(grid, column, predictions, certificate.score).items():
        is_known = ~(np.isnan(score) | np.isnan(went_well))
        is_accepted = is_known & (score >= threshold)
        known = is_known.sum(axis=1, keepdims=True).astype(np.float64)
        accepted = is_accepted.sum(axis=1, keepdims=True).astype(np.float64)
        failed = np.where(is_accepted, 1 - went_well, 0.0).sum(axis=1, keepdims=True)
        acceptance = shares(image_values(accepted, known)).interval
        entry["accepted"][name] = acceptance["value"]
        entry["error"][name] = shares(image_values(failed, accepted)).interval
        if name == SUITE:
            entry["acceptance"] = acceptance
        if name in predictions.conditions:
            counts.append(_Count(name, int(failed.sum()), int(accepted.sum()), statuses))
    return entry, counts


@dataclass(frozen=True)
class _Predictions:
    """The predictions of a model under the conditions (k) that are no attacks and have any.

    ``scores`` and ``went_well`` are (images, k), NaN where a value is missing; ``is_counted``
    (images,) says which images have a prediction.
    """

    conditions: Sequence[str]
    scores: Mapping[str, Floats]
    went_well: Floats
    is_counted: NDArray[np.bool_]


def _predictions(grid: Grid, column: str) -> _Predictions:
    natural = without_attacks(grid)
    went_well = natural.values(column)
    measured = np.flatnonzero(~np.isnan(went_well).all(axis=0))
    went_well = went_well[:, measured]
    scores = {name: natural.values(name)[:, measured] for name in SCORES}
    is_unknown = np.isnan(scores["probability"])
    if not np.array_equal(np.isnan(scores["margin"]), is_unknown):  # top-5 lists may be missing
        del scores["margin"]
    return _Predictions(
        conditions=[natural.conditions[index].id for index in measured],
        scores=scores,
        went_well=went_well,
        is_counted=np.asarray(~(np.isnan(went_well) | is_unknown).all(axis=1)),
    )


def _certify_predictions(
    predictions: _Predictions, max_error: float, promise: Promise, groups: NDArray[Any] | None
) -> Certificate | None:
    """The certificate from the images with a prediction."""
    rows = predictions.is_counted
    return certify(
        {name: score[rows] for name, score in predictions.scores.items()},
        1 - predictions.went_well[rows],
        max_error,
        promise,
        groups=None if groups is None else groups[rows],
    )


def _parts(
    grid: Grid, column: str, predictions: _Predictions, score_name: str
) -> dict[str, tuple[Floats, Floats]]:
    """The scores, and what went well, of the suite, of each condition and of the originals."""
    score = predictions.scores[score_name]
    went_well = predictions.went_well
    parts = {SUITE: (score, went_well)}
    for index, condition in enumerate(predictions.conditions):
        parts[condition] = score[:, [index]], went_well[:, [index]]
    if column == "correct":  # an original has not changed its own prediction
        clean_score = grid.per_image(f"clean_{score_name}")
        clean_correct = grid.per_image("clean_correct")
        parts[ORIGINAL] = clean_score[:, None], clean_correct[:, None]
    return parts


def _statuses(counts: Sequence[_Count], max_error: float) -> list[str]:
    """What each of ``counts`` proves alone.

    ``NOT_MET`` has as much evidence as ``PROVEN``: that more than ``max_error`` are wrong. Exact
    binomial tests, each kind with Holm's correction over all ``counts``.
    """
    from scipy.special import bdtr  # slow to import

    p_of_proofs = []
    p_of_disproofs = []
    for count in counts:
        failed = count.failed
        accepted = count.accepted
        if accepted:
            p_of_proofs.append(float(bdtr(failed, accepted, max_error)))
            p_of_disproofs.append(float(bdtr(accepted - failed, accepted, 1 - max_error)))
        else:
            p_of_proofs.append(1.0)
            p_of_disproofs.append(1.0)
    statuses = []
    for proof, disproof in zip(holm(p_of_proofs), holm(p_of_disproofs), strict=True):
        if proof <= LEVEL:
            statuses.append(PROVEN)
        elif disproof <= LEVEL:
            statuses.append(NOT_MET)
        else:
            statuses.append(TOO_FEW_PREDICTIONS)
    return statuses


def _images_needed(
    claims: Sequence[_Claim], candidate: int, units: Integers, image_count: int
) -> int | None:
    """From how many images the threshold ``candidate`` would pass, if they are like these."""
    strength = min(float(claim.weigh(units).evidence[candidate]) for claim in claims)
    if strength <= 0.5:  # no more than chance gives
        return None
    return math.ceil(1.5 * -math.log(LEVEL) / strength * image_count / (1 - FIRST_PART))


def _claim(
    score: Floats, wrong: Floats, max_error: float, unit_of: Integers, is_exact: bool
) -> _Claim:
    is_known = ~(np.isnan(score) | np.isnan(wrong))
    accepted_by = np.where(is_known, np.searchsorted(CANDIDATES, score, side="right"), 0)
    return _Claim(accepted_by, np.where(is_known, wrong, 0.0), max_error, unit_of, is_exact)


@dataclass(frozen=True)
class _Claim:
    """The claim that an error is below its limit, for each of ``CANDIDATES``.

    A prediction (images, conditions) is ``accepted_by`` so many candidates, the first ones.
    ``unit_of`` (images,) are pieces of evidence; ``is_exact`` where each is one prediction.
    """

    accepted_by: Integers
    wrong: Floats
    max_error: float
    unit_of: Integers
    is_exact: bool

    def weigh(self, units: Integers, stakes: Floats | None = None) -> _Evidence:
        """The evidence of ``units``; ``stakes`` are those that other units chose, if any."""
        if self.is_exact:
            return self._count(units)
        if stakes is None:
            return self._choose_stakes(units)
        return self._bet(units, stakes)

    def _count(self, units: Integers) -> _Evidence:
        """The wrong ones among the accepted are binomial."""
        from scipy.special import bdtr  # slow to import

        accepted_by = self.accepted_by[units, 0]
        wrong = self.wrong[units, 0]
        size = len(CANDIDATES) + 1
        accepted = _sum_from(np.bincount(accepted_by, minlength=size)).astype(np.int64)
        failed = _sum_from(np.bincount(accepted_by, wrong, minlength=size))
        p = bdtr(failed, np.maximum(accepted, 1), self.max_error)
        evidence = np.where(accepted > 0, -np.log(np.maximum(p, 1e-300)), -np.inf)
        return _Evidence(evidence, np.zeros(len(CANDIDATES)))

    @property
    def _largest_stake(self) -> float:
        """The stake that could lose everything."""
        return 1 / (1 - self.max_error)

    def _choose_stakes(self, units: Integers) -> _Evidence:
        """The stakes that win most on ``units``, with their evidence there."""
        capital = np.zeros((len(_STAKES), len(CANDIDATES)))
        is_any_accepted = np.zeros(len(CANDIDATES), bool)
        for values in self._values(units):
            is_any_accepted |= (values != 0).any(axis=0)
            for stake, total in zip(_STAKES * self._largest_stake, capital, strict=True):
                total += _sum_of_logs(1 - stake * values)
        evidence = np.where(is_any_accepted, capital.max(axis=0), -np.inf)
        return _Evidence(evidence, _STAKES[capital.argmax(axis=0)] * self._largest_stake)

    def _bet(self, units: Integers, stakes: Floats) -> _Evidence:
        """A unit's mean of accepted x (wrong - limit) is bet to be negative.

        The capital of a bet against a mean of at least 0 exceeds x with a chance of 1 / x at most,
        whenever one looks (Ville; Waudby-Smith & Ramdas, Journal of the Royal Statistical Society B
        86, 2024). The stakes are fixed before the first of the ``units``.
        """
        now = np.zeros(len(CANDIDATES))
        highest = np.zeros(len(CANDIDATES))
        for values in self._values(units):
            capital = now + np.log1p(-stakes * values).cumsum(axis=0)
            highest = np.maximum(highest, capital.max(axis=0))
            now = capital[-1]
        return _Evidence(highest, stakes)

    def _values(self, units: Integers) -> Iterator[Floats]:
        """(some units, m): accepted x (wrong - limit), over the rows of the largest unit."""
        size = len(CANDIDATES) + 1
        images_by_unit = np.argsort(self.unit_of, kind="stable")
        counts = np.bincount(self.unit_of)
        starts = np.cumsum(counts) - counts
        most_rows = self.accepted_by.shape[1] * int(counts.max())
        for start in range(0, len(units), _AT_ONCE):
            chosen = units[start : start + _AT_ONCE]
            images_of_chosen = [
                images_by_unit[starts[unit] : starts[unit] + counts[unit]] for unit in chosen
            ]
            images = np.concatenate(images_of_chosen)
            row = np.repeat(np.arange(len(chosen)), counts[chosen])
            # A bin for each unit and number of candidates.
            cells = row[:, None] * size + self.accepted_by[images]
            excess = self.wrong[images] - self.max_error
            totals = np.bincount(cells.ravel(), excess.ravel(), len(chosen) * size)
            yield _sum_from(totals.reshape(len(chosen), size)) / most_rows


def _sum_of_logs(factors: Floats) -> Floats:
    """(n, m) -> (m,): the logarithm of the product of ``factors``, which are above 0.01.

    A product takes a tenth of the time of a logarithm; that of 64 of them has no underflow.
    """
    total = np.zeros(factors.shape[1])
    for start in range(0, len(factors), 64):
        total += np.log(factors[start : start + 64].prod(axis=0))
    return total


def _sum_from(totals: NDArray[Any]) -> Floats:
    """(..., m): the sum over what each candidate accepts.

    ``totals`` (..., m + 1) are by the number of candidates that accept.
    """
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
    entries = []
    for grid in grids:  # one at a time: its arrays are large
        entry = _curve(without_attacks(grid), column)
        if entry is not None:
            entries.append(entry)
    return entries


def _curve(grid: Grid, column: str) -> dict[str, Any] | None:
    """The entry of ``curves`` of one model; None without predictions."""
    confidence = grid.values("probability")
    went_well = grid.flags(column)
    is_known = (went_well != UNKNOWN) & ~np.isnan(confidence)
    if not is_known.any():
        return None
    # Transposed, because the conditions lie in memory one after the other.
    coverage, risk = risk_coverage(confidence.T[is_known.T], went_well.T[is_known.T])
    steps = np.diff(coverage, prepend=0.0)
    points = np.unique(np.searchsorted(coverage, np.linspace(coverage[0], 1, _POINTS)))
    points = points[points < len(coverage)]
    return {
        "model": grid.model,
        "coverage": coverage[points].tolist(),
        "risk": risk[points].tolist(),
        "area": float(risk @ steps),
    }


def risk_coverage(confidence: Floats, went_well: NDArray[Any]) -> tuple[Floats, Floats]:
    """(coverage, risk) at each different confidence (n,), from the highest.

    ``went_well`` (n,) is 0 or 1.
    """
    order = np.argsort(-confidence)  # in any order where equal, as only their last counts
    confidence = confidence[order]
    errors = np.cumsum(went_well[order] == 0, dtype=np.int32)
    del order  # these arrays are large
    ends = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    return (ends + 1) / len(errors), errors[ends] / (ends + 1)
