"""Subgroups of images where a model is significantly worse than on the others.

A slice is a quarter (of few images: a third or half) of the images by a number, or those with one
value of a text. All slices of all models are one family: the lowest standardised mean of a
slice is compared with the lowest of all slices when the images are shuffled (Westfall & Young 1993,
max-T), which keeps the chance of any false alarm at 5%, however the slices overlap.

Under which perturbation predictions fail most, where the images decide that.

Each perturbation counts once: at the highest ImageNet-C severity that all graded ones have in
common, else at the highest common strength, else, if each has a single condition, at that. An
attack counts at its largest epsilon. The worst condition leads; those that McNemar's exact test on
the same images does not tell apart from it are tied with it. As the leader is chosen after looking,
Holm's correction is over all pairs of conditions: over its own pairs alone, up to 18% of runs whose
conditions are all alike would name one.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.text import join_names
from robustness.measure.condition import series
from robustness.metrics.intervals import FEWEST
from robustness.perturbations import REGISTRY
from robustness.statistics.grid import UNKNOWN, ConditionKey, Grid
from robustness.statistics.means import ALPHA, holm, number, shares, sign_flip, whole_numbers
from robustness.statistics.pairs import QUANTITIES

Floats = NDArray[np.float64]
Values = Sequence[float | str | None]

FEWEST_OF_A_SLICE = 20
"""Images that a slice and its complement need."""

SLICE_RULE = (
    "Numbers are cut into quarters, or fewer parts where a part would have under "
    f"{FEWEST_OF_A_SLICE} images. Significant: p below 0.05 in a permutation test, corrected for "
    "all slices and models (max-T); the chance of any false alarm is 5%."
)
_SHUFFLES = 999
_AT_ONCE = 111
_SHUFFLED = 20_000
"""Up to so many images are shuffled; means of larger slices are normal (Holm's correction)."""

_FEW_NUMBERS = 8
"""A column with so few different numbers is cut by value."""

_MOST_VALUES = 50

_MOVED = 0.02
"""Share of the images that rounding a cut may move across it."""


@dataclass(frozen=True)
class ImageSlice:
    """The images (n,) ``inside`` one slice of ``column``.

    ``value`` is a text as people write it in a filter: ``0.2..0.4`` is 0.2 <= x < 0.4, an open end
    has no bound, and anything else is one value.
    """

    column: str
    value: str
    inside: NDArray[np.bool_]


def numeric(values: Values) -> Floats | None:
    """``values`` (n,) as finite numbers, else NaN; None unless all are numbers."""
    numbers = np.full(len(values), np.nan)
    for at, value in enumerate(values):
        if value is None or value == "":
            continue
        try:
            numbers[at] = float(value)
        except ValueError:
            return None
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def inside(values: Values, value: str) -> NDArray[np.bool_]:
    """Which of ``values`` (n,) the text ``value`` of an ``ImageSlice`` means."""
    low, dots, high = value.partition("..")
    numbers = numeric(values) if dots else None
    if numbers is not None:
        try:
            return (numbers >= float(low or "-inf")) & (numbers < float(high or "inf"))
        except ValueError:
            pass
    return np.array([_text(text) == value for text in values], bool)


def slices(columns: Mapping[str, Values]) -> list[ImageSlice]:
    """The slices of ``columns``, each with enough images on either side."""
    image_slices: list[ImageSlice] = []
    for column, values in columns.items():
        numbers = numeric(values)
        parts = _by_value(values) if numbers is None else _by_number(numbers, values)
        for part in parts:
            chosen = inside(values, part)
            if FEWEST_OF_A_SLICE <= chosen.sum() <= len(chosen) - FEWEST_OF_A_SLICE:
                image_slices.append(ImageSlice(column, part, chosen))
    return image_slices


def _by_value(values: Values) -> list[str]:
    counts = Counter(_text(value) for value in values if value not in (None, ""))
    return [value for value, _ in counts.most_common(_MOST_VALUES)]


def _by_number(numbers: Floats, values: Values) -> list[str]:
    present = numbers[~np.isnan(numbers)]
    if len(np.unique(present)) <= _FEW_NUMBERS:
        return _by_value(values)
    parts = min(4, len(present) // FEWEST_OF_A_SLICE)
    cuts = np.quantile(present, np.arange(1, parts) / parts).tolist() if parts > 1 else []
    ends = ["", *dict.fromkeys(_rounded(cut, present) for cut in cuts), ""]
    return [f"{low}..{high}" for low, high in itertools.pairwise(ends) if low or high]


def _rounded(cut: float, values: Floats) -> str:
    """The shortest text of ``cut`` that moves next to none of the numbers ``values`` across it."""
    below = values < cut
    for digits in range(4, 16):
        text = f"{float(f'{cut:.{digits}g}'):.15g}"
        if ((values < float(text)) != below).mean() <= _MOVED:
            return text
    return repr(cut)


def _text(value: float | str | None) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.10g}"
    return value or ""


def by_slice(
    names: Sequence[str], values: Sequence[Floats], parts: Sequence[ImageSlice]
) -> list[dict[str, Any]]:
    """Every slice of every model, the most clearly worse first.

    ``values`` are of each of the models ``names`` the share (n,) of the conditions in which an
    image went well; NaN where none counts. Keys: ``model``, ``column``, ``value``, ``n_images``,
    ``rate`` with its interval, ``rest`` (the rate of all other images), ``difference`` (rate minus
    rest), ``p`` (one-sided, corrected) and ``worse`` (significantly).
    """
    families = _families(values, parts)
    entries: list[tuple[float, float, dict[str, Any]]] = []
    for family, scored, adjusted in zip(families, *_tested(families), strict=True):
        for (i, m), (j, at) in itertools.product(enumerate(family.models), enumerate(family.parts)):
            part = parts[at]
            mine = values[m][part.inside]
            others = values[m][~part.inside]
            rest = float(np.nanmean(others))
            p = float(adjusted[i, j])
            entry = {
                "model": names[m],
                "column": part.column,
                "value": part.value,
                "n_images": int((~np.isnan(mine)).sum()),
                **shares(mine[:, None]).named("rate", 0),
                "rest": rest,
                "difference": number(float(np.nanmean(mine)) - rest),
                "p": p,
                "worse": p < ALPHA,
            }
            entries.append((p, float(scored[i, j]), entry))
    return [entry for *_, entry in sorted(entries, key=lambda entry: entry[:2])]


@dataclass(frozen=True)
class _Family:
    """Models with a value for the same images, which are shuffled among each other.

    ``table`` (models, images) are the values about their mean, ``members`` (parts, images) who is
    in a slice; ``models`` and ``parts`` say which these are.
    """

    models: Sequence[int]
    parts: Sequence[int]
    table: Floats
    members: NDArray[np.float32]

    def spread(self) -> Floats:
        """(models, parts): the standard deviation of the sum of a slice of shuffled images."""
        n = self.table.shape[1]
        sizes = self.members.sum(axis=1)
        variance = self.table.var(axis=1, ddof=1)[:, None] * (sizes * (n - sizes) / n)[None]
        return np.sqrt(np.maximum(variance, 1e-12))

    def scores(self) -> Floats:
        """(models, parts): the mean of each slice in its standard errors under shuffling."""
        scores: Floats = (self.table @ self.members.T) / self.spread()
        return scores

    def lowest(self, rng: np.random.Generator, shuffles: int) -> Floats:
        """The lowest score of each shuffle."""
        order = np.tile(np.arange(self.table.shape[1]), (shuffles, 1))
        shuffled = rng.permuted(order, axis=1)
        sums = self.table.astype(np.float32)[:, shuffled] @ self.members.T
        lowest: Floats = (sums / self.spread()[:, None]).min(axis=(0, 2))
        return lowest


def _families(values: Sequence[Floats], parts: Sequence[ImageSlice]) -> list[_Family]:
    """The models by the images that have a value, with the slices that hold enough of these."""
    alike: dict[bytes, list[int]] = {}
    for m, value in enumerate(values):
        alike.setdefault(np.isnan(value).tobytes(), []).append(m)
    families = []
    for mine in alike.values():
        present = ~np.isnan(values[mine[0]])
        table = np.stack([values[m][present] for m in mine])
        sizes = [int(part.inside[present].sum()) for part in parts]
        most = table.shape[1] - FEWEST_OF_A_SLICE
        enough = [at for at, size in enumerate(sizes) if FEWEST_OF_A_SLICE <= size <= most]
        if enough:
            table -= table.mean(axis=1, keepdims=True)
            members = np.stack([parts[at].inside[present] for at in enough]).astype(np.float32)
            families.append(_Family(mine, enough, table, members))
    return families


def _tested(families: Sequence[_Family]) -> tuple[list[Floats], list[Floats]]:
    """The scores of each family, (models, parts), and their corrected p-values."""
    scores = [family.scores() for family in families]
    if any(family.table.shape[1] > _SHUFFLED for family in families):
        from scipy.stats import norm  # slow to import

        flat = holm(norm.cdf(np.concatenate([score.ravel() for score in scores])).tolist())
        ends = np.cumsum([score.size for score in scores])[:-1]
        split = zip(np.split(np.array(flat), ends), scores, strict=True)
        return scores, [corrected.reshape(score.shape) for corrected, score in split]
    rng = np.random.default_rng(0)
    below = [np.ones(score.shape) for score in scores]
    for start in range(0, _SHUFFLES if families else 0, _AT_ONCE):
        shuffles = min(_AT_ONCE, _SHUFFLES - start)
        lowest = np.min([family.lowest(rng, shuffles) for family in families], axis=0)
        for counts, drawn in zip(below, scores, strict=True):
            counts += (lowest[:, None, None] <= drawn + 1e-6).sum(axis=0)
    return scores, [counts / (_SHUFFLES + 1) for counts in below]


Flags = NDArray[Any]
"""(images, conditions) as ``Grid.flags`` has them."""

_NAMED = 2
_MOST_PAIRED = 100
"""Perturbations that are tested pair by pair; of more, only the leader's pairs are tested, with
Bonferroni's correction for all pairs, which is at least Holm's."""
_EXACT = 500
"""Of thousands of pairs of conditions; beyond, the normal p at 1e-5 is off by a twentieth."""


@dataclass(frozen=True)
class Hardest:
    """The perturbations that do most harm to one model, or to several together.

    ``leaders`` are the conditions that lead, the worst first; () where no condition is
    significantly less harmful, so that none may be named. ``compared`` are all that were compared,
    by falling ``harm``: the share of failed predictions, the mean of the models. ``too_few`` have
    fewer than ``FEWEST`` images that count, under attack those with a prediction to break.
    ``models`` are the names of those models.
    """

    leaders: tuple[str, ...]
    compared: tuple[str, ...]
    harm: Mapping[str, float]
    too_few: tuple[str, ...]
    models: tuple[str, ...] = ()


def name_leaders(leaders: Sequence[str]) -> str:
    """The conditions ``leaders`` in words, of more than two the first two and a count."""
    return join_names([*dict.fromkeys(map(series, leaders))], _NAMED)


def hardest(grids: Sequence[Grid], quantity: str) -> Hardest:
    """What does most harm to the models of ``grids``, by ``quantity``, one of ``QUANTITIES``.

    A prediction fails if it is incorrect or, by consistency, changed. An image counts under two
    conditions that both have it, for each model.
    """
    if not grids:
        return Hardest((), (), {}, ())
    keys = grids[0].conditions
    places = comparable(keys)
    flags = [grid.flags(QUANTITIES[quantity])[:, places] for grid in grids]
    present = [cells != UNKNOWN for cells in flags]
    counts = np.logical_or.reduce(present).sum(axis=0)
    if any(attacks := [keys[place].is_attack for place in places]):
        before = [grid.flags("clean_correct")[:, places] != 0 for grid in grids]
        right = [there & was for there, was in zip(present, before, strict=True)]
        counts = np.where(attacks, np.logical_or.reduce(right).sum(axis=0), counts)
    ids = [keys[place].id for place in places]
    harm = []  # the mean of the models that have a row
    for at in range(len(places)):
        pairs_of_models = zip(flags, present, strict=True)
        shares = [(1 - f[p[:, at], at]).mean() for f, p in pairs_of_models if p[:, at].any()]
        harm.append(float(np.mean(shares)) if shares else 0.0)
    enough = [at for at in np.argsort(-np.array(harm), kind="stable") if counts[at] >= FEWEST]
    pairs = list(combinations(enough, 2))
    if len(enough) <= _MOST_PAIRED:
        tests = holm(_p_values(flags, pairs))
    else:
        count = len(pairs)
        pairs = [(enough[0], other) for other in enough[1:]]
        tests = [count * p for p in _p_values(flags, pairs)]
    less = {b for (a, b), p in zip(pairs, tests, strict=True) if a == enough[0] and p < ALPHA}
    return Hardest(
        tuple(ids[at] for at in enough if at not in less) if less else (),
        tuple(ids[at] for at in enough),
        {ids[at]: harm[at] for at in enough},
        tuple(ids[at] for at in range(len(places)) if 0 < counts[at] < FEWEST),
        tuple(grid.model for grid in grids),
    )


def hardest_of_groups(grids: Sequence[Grid], quantity: str) -> list[Hardest]:
    """``hardest`` of each group of models with the same classes: others are not compared."""
    by_name = {grid.model: grid for grid in grids}
    return [
        hardest([by_name[name] for name in names], quantity)
        for _, names in models.by_labels(by_name)
    ]


def _p_values(flags: Sequence[Flags], pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Of each pair of conditions the p of McNemar's exact test; of several models ``sign_flip``'s.

    An image counts for how many models fail on it under one of the two conditions alone; a profile
    counts with the shares of its compositions, and is tested by ``sign_flip``, too.
    """
    from scipy.special import bdtr  # slow to import

    if any(cells.dtype.kind == "f" for cells in flags):
        shares = [np.where(cells == UNKNOWN, np.nan, cells).T for cells in flags]
        return [
            sign_flip(whole_numbers(sum(np.nan_to_num(cells[b] - cells[a]) for cells in shares)))
            for a, b in pairs
        ]
    fails, goods = ([(cells == value).T for cells in flags] for value in (0, 1))
    if len(flags) == 1:
        alone = fails[0].astype(np.float32) @ goods[0].T.astype(np.float32)
        counts = alone.astype(np.int64)
        fewer = np.minimum(counts, counts.T)
        total = counts + counts.T
        p = np.minimum(1.0, 2 * bdtr(fewer.astype(float), total, 0.5))
        return [float(p[pair]) for pair in pairs]
    return [
        sign_flip(
            sum(
                (fail[a] & good[b]).astype(np.int64) - (fail[b] & good[a])
                for fail, good in zip(fails, goods, strict=True)
            ),
            _EXACT,
        )
        for a, b in pairs
    ]


def comparable(keys: Sequence[ConditionKey]) -> list[int]:
    """The places of the conditions at which perturbations can be compared, one for each.

    [] where some have several strengths and no severity or strength is common to all.
    """
    groups: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        if key.strength != 0:  # changes nothing
            groups.setdefault(key.series, []).append(place)
    attacks = [places for places in groups.values() if keys[places[0]].is_attack]
    chosen = [max(places, key=lambda place: keys[place].strength or 0.0) for places in attacks]
    others = [places for places in groups.values() if not keys[places[0]].is_attack]
    switches = {record.name for record in REGISTRY if not record.graded}

    def is_ungraded(key: ConditionKey) -> bool:
        return key.strength is None or key.perturbation in switches

    ungraded = [places for places in others if is_ungraded(keys[places[0]])]
    graded = [places for places in others if places not in ungraded]
    for level in ("severity", "strength"):
        levels = [{getattr(keys[place], level): place for place in places} for places in graded]
        common = set.intersection(*map(set, levels)) - {None} if levels else set()
        if common:
            chosen += [mine[max(common)] for mine in levels]
            break
    else:
        if any(len(places) > 1 for places in graded):
            return []
        chosen += [place for (place,) in graded]
    return sorted([*chosen, *(places[-1] for places in ungraded)])
