"""Where a model fails: on which images, and under which perturbations.

A slice is a subgroup of images, on which a model may be significantly worse than on the others: a
quarter (of few images: a third or half) of the images by a number, or those with one value of a
text. All slices of all models are one family: the lowest standardised mean of a slice is compared
with the lowest of all slices when the images are shuffled (Westfall & Young 1993, max-T), which
keeps the chance of any false alarm at 5%, however the slices overlap.

The hardest perturbations are those under which predictions fail most. Each perturbation counts
once: at the highest ImageNet-C severity that all graded ones have in common, else at the highest
common strength, else, if each has a single condition, at that. An attack counts at its largest
epsilon. The worst condition leads; those that McNemar's exact test on the same images does not tell
apart from it are tied with it. As the leader is chosen after looking, Holm's correction is over all
pairs of conditions: over its own pairs alone, up to 18% of runs whose conditions are all alike
would name one.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

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
    f"{FEWEST_OF_A_SLICE} images. Significant: p below {ALPHA:g} in a permutation test, corrected "
    "for all slices and models (max-T); the chance of any false alarm is 5%."
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
    for index, value in enumerate(values):
        if value is None or value == "":
            continue
        try:
            numbers[index] = float(value)
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
            pass  # a text with two dots, not a range
    return np.array([_text(each) == value for each in values], bool)


def slices(columns: Mapping[str, Values]) -> list[ImageSlice]:
    """The slices of ``columns``, each with enough images on either side."""
    image_slices: list[ImageSlice] = []
    for column, values in columns.items():
        numbers = numeric(values)
        texts = _most_common(values) if numbers is None else _ranges(numbers, values)
        for text in texts:
            is_inside = inside(values, text)
            size = int(is_inside.sum())
            if _is_large_enough(size, len(is_inside)):
                image_slices.append(ImageSlice(column, text, is_inside))
    return image_slices


def _is_large_enough(size: int, image_count: int) -> bool:
    """Whether a slice of ``size`` images, and its complement, have enough to be tested."""
    return FEWEST_OF_A_SLICE <= size <= image_count - FEWEST_OF_A_SLICE


def _most_common(values: Values) -> list[str]:
    """The most common texts among ``values``."""
    counts = Counter(_text(value) for value in values if value not in (None, ""))
    return [value for value, _ in counts.most_common(_MOST_VALUES)]


def _ranges(numbers: Floats, values: Values) -> list[str]:
    """The quarters of ``numbers`` as texts, or fewer parts of few images; few numbers one by one.

    ``values`` are the numbers as they are written.
    """
    known = numbers[~np.isnan(numbers)]
    if len(np.unique(known)) <= _FEW_NUMBERS:
        return _most_common(values)
    part_count = min(4, len(known) // FEWEST_OF_A_SLICE)
    if part_count < 2:
        return []
    quantiles = np.arange(1, part_count) / part_count
    cuts = [_rounded(cut, known) for cut in np.quantile(known, quantiles).tolist()]
    ends = ["", *dict.fromkeys(cuts), ""]  # equal cuts once
    return [f"{low}..{high}" for low, high in itertools.pairwise(ends)]


def _rounded(cut: float, values: Floats) -> str:
    """The shortest text of ``cut`` that moves next to none of the numbers ``values`` across it."""
    is_below = values < cut
    for digits in range(4, 16):
        text = f"{float(f'{cut:.{digits}g}'):.15g}"
        has_moved = (values < float(text)) != is_below
        if has_moved.mean() <= _MOVED:
            return text
    return repr(cut)


def _text(value: float | str | None) -> str:
    """``value`` as people write it in a filter; "" where it is missing."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.10g}"
    return value or ""


def by_slice(
    names: Sequence[str], values: Sequence[Floats], image_slices: Sequence[ImageSlice]
) -> list[dict[str, Any]]:
    """Every slice of every model, the most clearly worse first.

    ``values`` are of each of the models ``names`` the share (n,) of the conditions in which an
    image went well; NaN where none counts. Keys: ``model``, ``column``, ``value``, ``n_images``,
    ``rate`` with its interval, ``rest`` (the rate of all other images), ``difference`` (rate minus
    rest), ``p`` (one-sided, corrected) and ``worse`` (significantly).
    """
    families = _families(values, image_slices)
    entries: list[tuple[float, float, dict[str, Any]]] = []
    for family, test in zip(families, _test(families), strict=True):
        for (row, model), (column, index) in itertools.product(
            enumerate(family.models), enumerate(family.slices)
        ):
            image_slice = image_slices[index]
            inside_values = values[model][image_slice.inside]
            rest = float(np.nanmean(values[model][~image_slice.inside]))
            p = float(test.p[row, column])
            entry = {
                "model": names[model],
                "column": image_slice.column,
                "value": image_slice.value,
                "n_images": int((~np.isnan(inside_values)).sum()),
                **shares(inside_values[:, None]).named("rate", 0),
                "rest": rest,
                "difference": number(float(np.nanmean(inside_values)) - rest),
                "p": p,
                "worse": p < ALPHA,
            }
            entries.append((p, float(test.scores[row, column]), entry))
    entries.sort(key=lambda item: item[:2])  # by p, then by the score
    return [entry for _, _, entry in entries]


class _SliceTest(NamedTuple):
    """The ``scores`` (models, slices) of a family, and their corrected one-sided ``p``."""

    scores: Floats
    p: Floats


@dataclass(frozen=True)
class _Family:
    """Models with a value for the same images, which are shuffled among each other.

    ``table`` (models, images) are the values about their mean, ``members`` (slices, images) is 1
    where an image is in a slice; ``models`` and ``slices`` are the indices of both.
    """

    models: Sequence[int]
    slices: Sequence[int]
    table: Floats
    members: NDArray[np.float32]

    @property
    def image_count(self) -> int:
        return self.table.shape[1]

    def spread(self) -> Floats:
        """(models, slices): the standard deviation of the sum of a slice of shuffled images."""
        n = self.image_count
        sizes = self.members.sum(axis=1)
        variance = self.table.var(axis=1, ddof=1)[:, None] * (sizes * (n - sizes) / n)[None]
        return np.sqrt(np.maximum(variance, 1e-12))

    def scores(self) -> Floats:
        """(models, slices): the mean of each slice in its standard errors under shuffling."""
        scores: Floats = (self.table @ self.members.T) / self.spread()
        return scores

    def lowest_scores(self, rng: np.random.Generator, shuffles: int) -> Floats:
        """(shuffles,): the lowest score of each shuffle."""
        order = np.tile(np.arange(self.image_count), (shuffles, 1))
        shuffled = rng.permuted(order, axis=1)
        sums = self.table.astype(np.float32)[:, shuffled] @ self.members.T
        lowest: Floats = (sums / self.spread()[:, None]).min(axis=(0, 2))
        return lowest


def _families(values: Sequence[Floats], image_slices: Sequence[ImageSlice]) -> list[_Family]:
    """The models by the images that have a value, with the slices that hold enough of these."""
    models_by_gaps: dict[bytes, list[int]] = {}
    for model, of_model in enumerate(values):
        models_by_gaps.setdefault(np.isnan(of_model).tobytes(), []).append(model)
    families = []
    for members in models_by_gaps.values():
        is_known = ~np.isnan(values[members[0]])
        inside_known = [image_slice.inside[is_known] for image_slice in image_slices]
        large_enough = [
            index
            for index, is_inside in enumerate(inside_known)
            if _is_large_enough(int(is_inside.sum()), len(is_inside))
        ]
        if not large_enough:
            continue
        table = np.stack([values[model][is_known] for model in members])
        table -= table.mean(axis=1, keepdims=True)
        is_member = np.stack([inside_known[index] for index in large_enough])
        families.append(_Family(members, large_enough, table, is_member.astype(np.float32)))
    return families


def _test(families: Sequence[_Family]) -> list[_SliceTest]:
    """The test of each family; the correction is over the slices of all of them."""
    scores = [family.scores() for family in families]
    if any(family.image_count > _SHUFFLED for family in families):
        p_values = _normal_p_values(scores)
    else:
        p_values = _shuffled_p_values(families, scores)
    return [_SliceTest(*both) for both in zip(scores, p_values, strict=True)]


def _normal_p_values(scores: Sequence[Floats]) -> list[Floats]:
    """p-values of means that are normal, with Holm's correction."""
    from scipy.special import ndtr  # slow to import

    flat = np.concatenate([of_family.ravel() for of_family in scores])
    corrected = np.array(holm(ndtr(flat).tolist()))
    ends = np.cumsum([of_family.size for of_family in scores])[:-1]
    parts = np.split(corrected, ends)
    return [part.reshape(of.shape) for part, of in zip(parts, scores, strict=True)]


def _shuffled_p_values(families: Sequence[_Family], scores: Sequence[Floats]) -> list[Floats]:
    """p-values by how many shuffles have a lowest score of all families that is as low."""
    if not families:
        return []
    rng = np.random.default_rng(0)
    # The images as they are count as one more shuffle.
    counts = [np.ones(of_family.shape) for of_family in scores]
    for start in range(0, _SHUFFLES, _AT_ONCE):
        shuffles = min(_AT_ONCE, _SHUFFLES - start)
        lowest = np.min([family.lowest_scores(rng, shuffles) for family in families], axis=0)
        for count, of_family in zip(counts, scores, strict=True):
            # Shuffles are scored in single precision, hence the tolerance.
            count += (lowest[:, None, None] <= of_family + 1e-6).sum(axis=0)
    return [count / (_SHUFFLES + 1) for count in counts]


Flags = NDArray[Any]
"""(images, conditions) as ``Grid.flags`` has them."""

_MOST_NAMED = 2
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
    return join_names([*dict.fromkeys(map(series, leaders))], _MOST_NAMED)


def hardest(grids: Sequence[Grid], quantity: str) -> Hardest:
    """What does most harm to the models of ``grids``, by ``quantity``, one of ``QUANTITIES``.

    A prediction fails if it is incorrect or, by consistency, changed. An image counts under two
    conditions that both have it, for each model.
    """
    if not grids:
        return Hardest((), (), {}, ())
    keys = grids[0].conditions
    columns = comparable(keys)
    ids = [keys[column].id for column in columns]
    flags = [grid.flags(QUANTITIES[quantity])[:, columns] for grid in grids]
    image_counts = _image_counts(grids, columns, flags)
    harm = [_mean_harm(flags, column) for column in range(len(columns))]
    by_harm = np.argsort(-np.array(harm), kind="stable").tolist()
    compared = [column for column in by_harm if image_counts[column] >= FEWEST]
    too_few = [column for column in range(len(columns)) if 0 < image_counts[column] < FEWEST]
    less_harmful = _less_harmful(flags, compared)
    leaders: list[int] = []
    if less_harmful:
        leaders = [column for column in compared if column not in less_harmful]
    return Hardest(
        leaders=tuple(ids[column] for column in leaders),
        compared=tuple(ids[column] for column in compared),
        harm={ids[column]: harm[column] for column in compared},
        too_few=tuple(ids[column] for column in too_few),
        models=tuple(grid.model for grid in grids),
    )


def _image_counts(
    grids: Sequence[Grid], columns: Sequence[int], flags: Sequence[Flags]
) -> NDArray[np.intp]:
    """(columns,): the images that count for any model, under attack those not incorrect before."""
    is_known = [cells != UNKNOWN for cells in flags]
    counts: NDArray[np.intp] = np.logical_or.reduce(is_known).sum(axis=0)
    is_attack = [grids[0].conditions[column].is_attack for column in columns]
    if not any(is_attack):
        return counts
    can_break = []
    for grid, known in zip(grids, is_known, strict=True):
        can_break.append(known & (grid.flags("clean_correct")[:, columns] != 0))
    return np.where(is_attack, np.logical_or.reduce(can_break).sum(axis=0), counts)


def _mean_harm(flags: Sequence[Flags], column: int) -> float:
    """The share of failed predictions under one condition, the mean of the models with a row."""
    shares_of_models = []
    for cells in flags:
        known = cells[:, column] != UNKNOWN
        if known.any():
            shares_of_models.append((1 - cells[known, column]).mean())
    if not shares_of_models:
        return 0.0
    return float(np.mean(shares_of_models))


def _less_harmful(flags: Sequence[Flags], by_harm: Sequence[int]) -> set[int]:
    """The conditions that do significantly less harm than the first of ``by_harm``."""
    pairs = list(combinations(by_harm, 2))
    if len(by_harm) <= _MOST_PAIRED:
        p_values = holm(_p_values(flags, pairs))
    else:
        pair_count = len(pairs)
        pairs = [(by_harm[0], other) for other in by_harm[1:]]
        p_values = [pair_count * p for p in _p_values(flags, pairs)]
    less_harmful = set()
    for (first, second), p in zip(pairs, p_values, strict=True):
        if first == by_harm[0] and p < ALPHA:
            less_harmful.add(second)
    return less_harmful


def hardest_of_groups(grids: Sequence[Grid], quantity: str) -> list[Hardest]:
    """``hardest`` of each group of models with the same classes: others are not compared."""
    by_name = {grid.model: grid for grid in grids}
    return [
        hardest([by_name[name] for name in names], quantity)
        for _, names in models.by_labels(by_name)
    ]


def _p_values(flags: Sequence[Flags], pairs: Sequence[tuple[int, int]]) -> list[float]:
    """The p of each pair of conditions: McNemar's exact test, ``sign_flip`` of several models.

    An image counts for how many models fail on it under one of the two conditions alone; a profile
    counts with the shares of its compositions, and is tested by ``sign_flip``, too.
    """
    if any(cells.dtype.kind == "f" for cells in flags):
        return _p_values_of_shares(flags, pairs)
    fails = [(cells == 0).T for cells in flags]
    goods = [(cells == 1).T for cells in flags]
    if len(flags) == 1:
        return _mcnemar_p_values(fails[0], goods[0], pairs)
    p_values = []
    for first, second in pairs:
        net = np.zeros(fails[0].shape[1], np.int64)
        for fail, good in zip(fails, goods, strict=True):
            net += fail[first] & good[second]
            net -= fail[second] & good[first]
        p_values.append(sign_flip(net, _EXACT))
    return p_values


def _p_values_of_shares(flags: Sequence[Flags], pairs: Sequence[tuple[int, int]]) -> list[float]:
    rates = [np.where(cells == UNKNOWN, np.nan, cells).T for cells in flags]
    p_values = []
    for first, second in pairs:
        net = sum(np.nan_to_num(of_model[second] - of_model[first]) for of_model in rates)
        p_values.append(sign_flip(whole_numbers(net)))
    return p_values


def _mcnemar_p_values(
    fails: NDArray[np.bool_], goods: NDArray[np.bool_], pairs: Sequence[tuple[int, int]]
) -> list[float]:
    """p-values of one model from where it fails and where not, (conditions, images) each."""
    from scipy.special import bdtr  # slow to import

    # (first, second): the images on which the model fails under the first condition alone. A
    # product of floats is a fast way to count them for all pairs at once.
    fails_alone = (fails.astype(np.float32) @ goods.T.astype(np.float32)).astype(np.int64)
    fewer = np.minimum(fails_alone, fails_alone.T)
    total = fails_alone + fails_alone.T
    p = np.minimum(1.0, 2 * bdtr(fewer.astype(float), total, 0.5))
    return [float(p[pair]) for pair in pairs]


def comparable(keys: Sequence[ConditionKey]) -> list[int]:
    """The positions of the conditions at which perturbations can be compared, one for each.

    [] where some have several strengths and no severity or strength is common to all.
    """
    columns_by_series: dict[str, list[int]] = {}
    for column, key in enumerate(keys):
        if key.strength != 0:  # at strength 0 nothing changes
            columns_by_series.setdefault(key.series, []).append(column)
    switches = {record.name for record in REGISTRY if not record.graded}
    chosen = []
    graded = []
    for columns in columns_by_series.values():
        first = keys[columns[0]]
        if first.is_attack:
            chosen.append(max(columns, key=lambda column: keys[column].strength or 0.0))
        elif first.strength is None or first.perturbation in switches:
            chosen.append(columns[-1])
        else:
            graded.append(columns)
    severities = [{keys[column].severity: column for column in columns} for columns in graded]
    strengths = [{keys[column].strength: column for column in columns} for columns in graded]
    at_common_level = _at_highest_common(severities) or _at_highest_common(strengths)
    if at_common_level:
        return sorted([*chosen, *at_common_level])
    if any(len(columns) > 1 for columns in graded):
        return []
    return sorted([*chosen, *(column for (column,) in graded)])


def _at_highest_common(columns_by_level: Sequence[Mapping[Any, int]]) -> list[int]:
    """The columns of all series at the highest level that they have in common; [] without one."""
    if not columns_by_level:
        return []
    common = set.intersection(*map(set, columns_by_level)) - {None}
    if not common:
        return []
    return [columns[max(common)] for columns in columns_by_level]
