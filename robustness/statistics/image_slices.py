"""Subgroups of images where a model is significantly worse than on the others.

A slice is a quarter (of few images: a third or half) of the images by a number, or those with one
value of a text. All slices of all models are one family: the lowest standardised mean of a
slice is compared with the lowest of all slices when the images are shuffled (Westfall & Young 1993,
max-T), which keeps the chance of any false alarm at 5%, however the slices overlap.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.statistics.means_with_intervals import number, shares
from robustness.statistics.paired_differences import ALPHA, holm

Floats = NDArray[np.float64]
Values = Sequence[float | str | None]

FEWEST_OF_A_SLICE = 20
"""Images that a slice and its complement need."""

SLICE_RULE = (
    "Numbers are cut into quarters, or fewer parts where a part would have under "
    f"{FEWEST_OF_A_SLICE} images. Significant: p below 0.05 in a permutation test, corrected for "
    "all slices and models (max-T); the chance of any false alarm is 5%."
)
_SHUFFLES, _AT_ONCE = 999, 111
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
            mine, others = values[m][part.inside], values[m][~part.inside]
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
        n, sizes = self.table.shape[1], self.members.sum(axis=1)
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
    rng, below = np.random.default_rng(0), [np.ones(score.shape) for score in scores]
    for start in range(0, _SHUFFLES if families else 0, _AT_ONCE):
        shuffles = min(_AT_ONCE, _SHUFFLES - start)
        lowest = np.min([family.lowest(rng, shuffles) for family in families], axis=0)
        for counts, drawn in zip(below, scores, strict=True):
            counts += (lowest[:, None, None] <= drawn + 1e-6).sum(axis=0)
    return scores, [counts / (_SHUFFLES + 1) for counts in below]
