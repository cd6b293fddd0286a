"""A match: what makes unlabelled production images unlike labelled reference images.

Both sides become study images of one framing, from the native size. The answer holds "if nothing
else differs": one composition of perturbations for all images, or for a share of them.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from threadpoolctl import threadpool_limits

from robustness import __version__, models
from robustness.base import settings
from robustness.base.disk import put_whole, read_regular
from robustness.base.errors import ParameterError
from robustness.base.progress import Note
from robustness.base.validation import CONFIG
from robustness.datasets import Dataset
from robustness.datasets.labels import KNOWN, labelled
from robustness.datasets.pixels import StudyPixels, study_pixels
from robustness.evaluation.condition import Condition
from robustness.matching.difference import SetDifference, difference
from robustness.matching.emulator import Emulator, train, version
from robustness.matching.estimate import Estimate, Values, estimate, no_perturbation
from robustness.matching.image_statistics import NAMES, Floats, batch_statistics
from robustness.perturbations import REGISTRY, check_seed, compose
from robustness.pictures.eight_bits import from_uint8
from robustness.pictures.fitting import Framing, to_png

FEWEST = 20
"""Images that each side needs."""
MOST_PRODUCTION, MOST_REFERENCE = 1000, 300
"""Images that are used, drawn at random from more."""
CONDITIONS = 20
"""Compositions of a profile."""
_SHARED_IMAGES = 20
"""Images on which each composition of the profile is tried."""
_BATCH = 32
_COLLECTIONS = 0.05
"""Standard deviation of accuracy between collections of images of the same kind."""
_SMALL, _WIDEST = 0.1, 2.5
"""The perturbations explain a difference up to such a share of it, if what is left is within so
many times the ordinary distance. Measured: the true composition left up to 0.04 in a tenth of
folders."""
_LEAST = 0.005
"""Strength of an alternative from which it is named: none is no alternative."""
_PAIRS = 5
_FILE_PROPERTIES = ("jpeg_quality", "original_size", "exposure", "iso")
_LARGEST_CACHE = 2**28


@dataclass(frozen=True)
class MatchedPerturbation:
    """A perturbation of the estimate with its 95 % interval.

    ``share`` of the production images are affected, and ``strength`` is theirs. ``group`` are
    other perturbations that fit as well in its place, with their strengths.
    """

    perturbation: str
    strength: float
    low: float
    high: float
    share: float
    group: dict[str, float]

    @property
    def value(self) -> str:
        """The physical value at the strength, on the study image."""
        return REGISTRY[self.perturbation].value_text(self.strength)

    @property
    def severity(self) -> int | None:
        """The nearest ImageNet-C severity."""
        return REGISTRY[self.perturbation].severity_at(self.strength)


@dataclass(frozen=True)
class ExpectedAccuracy:
    """A model's accuracy to expect on the production images, with a 95 % interval."""

    model: str
    value: float
    low: float
    high: float
    reference: float


@dataclass(frozen=True)
class Match:
    """The answer of a match.

    ``different``: production differs from the reference at all. ``matched``: the perturbations
    explain how; otherwise ``unexplained`` names the statistics that differ most, and no accuracy
    is expected. ``conditions`` are the profile: compositions that count alike, of which the
    ``share`` of affected images changes anything; none unless a difference is explained. ``models``
    are those whose accuracy was to be estimated.
    """

    __pydantic_config__ = CONFIG | ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    images: int
    reference_images: int
    different: bool
    matched: bool
    perturbations: tuple[MatchedPerturbation, ...]
    expected_accuracy: tuple[ExpectedAccuracy, ...]
    unexplained: tuple[str, ...]
    conditions: tuple[Condition, ...]
    framing: Framing
    seed: int
    models: tuple[str, ...] = ()
    skipped: int = 0
    share_decided: bool = True
    """Whether the images decide if all of them are affected; otherwise all count as such."""
    statistics: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    """Each statistic with its mean on production, reference and simulation."""
    pairs: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """PNGs of production images, each with its nearest simulated reference image by statistics."""
    files: tuple[dict[str, Any], ...] = ()
    """What files tell: medians on both sides, which the estimate does not use."""

    @property
    def share(self) -> float:
        """Share of the production images that are affected."""
        return self.perturbations[0].share if self.perturbations else 1.0

    @property
    def strengths(self) -> dict[str, float]:
        return {part.perturbation: part.strength for part in self.perturbations}

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready document."""
        return {
            "images": self.images,
            "reference_images": self.reference_images,
            "skipped": self.skipped,
            "different": self.different,
            "matched": self.matched,
            "share_decided": self.share_decided,
            "perturbations": [
                {**asdict(part), "value": part.value, "severity": part.severity}
                for part in self.perturbations
            ],
            "expected_accuracy": [asdict(part) for part in self.expected_accuracy],
            "unexplained": list(self.unexplained),
            "conditions": [condition.id for condition in self.conditions],
            "statistics": list(self.statistics),
            "files": list(self.files),
        }


@threadpool_limits.wrap(limits=1, user_api="blas")  # small matrices: more threads only wait
def match(
    production: Dataset,
    reference: Dataset,
    model_names: Sequence[str] = (),
    *,
    framing: Framing | None = None,
    seed: int = 0,
    note: Note = lambda _what, _done, _total: None,
) -> Match:
    """Match ``production`` with ``reference``; accuracies where the reference has labels.

    ``note`` receives the progress and may raise to cancel. Raises ``ParameterError`` with fewer
    than ``FEWEST`` readable images on a side.
    """
    check_seed(seed)
    framing = framing or Framing()
    labels = _labels(reference, model_names)
    images = study_pixels(production, framing, MOST_PRODUCTION, seed, note)
    pixels, count = images.pixels, len(images.pixels)
    _require(count, "production")
    originals = study_pixels(reference, framing, MOST_REFERENCE, seed, note)
    _require(len(originals.pixels), "reference")
    side = _Reference(originals.pixels, seed, note)
    statistics = batch_statistics(lambda index: from_uint8(pixels[index]), count)
    scaled = side.emulator.scaled(statistics)
    changed = difference(scaled, side.emulator.originals, seed)
    if changed.significant:
        fitted = estimate(scaled, side.emulator, side.simulated, seed, note)
    else:
        fitted = no_perturbation(side.emulator.names)
    best = side.simulated(fitted.vector, slice(None)).copy()
    order = np.random.default_rng(seed).permutation(len(best))
    unaffected = order[round(fitted.share * len(best)) :]
    best[unaffected] = side.emulator.originals[unaffected]

    def strengths_of(row: int) -> dict[str, float]:
        return {} if row in unaffected else fitted.strengths

    left = difference(scaled, best, seed) if changed.significant else changed
    remainder = remaining_share(changed, left)
    explained = is_explained(changed, left)
    compositions = drawn_compositions(fitted, seed)
    labels = {name: indices[originals.rows] for name, indices in labels.items()}
    labels = {name: indices for name, indices in labels.items() if (indices >= 0).any()}
    accuracy: tuple[ExpectedAccuracy, ...] = ()
    if labels and explained:
        accuracy = side.accuracies(labels, fitted, compositions, count, remainder, note)
    return Match(
        count,
        len(originals.pixels),
        changed.significant,
        explained,
        _perturbations(fitted),
        accuracy,
        () if explained else tuple(NAMES[index] for index in left.largest),
        profile_conditions(compositions, fitted.share, fitted.names)
        if explained and fitted.strengths
        else (),
        framing,
        seed,
        tuple(model_names),
        images.unreadable + originals.unreadable,
        fitted.share_decided,
        _table(side.emulator, scaled, best, left),
        tuple(
            (to_png(from_uint8(pixels[row])), to_png(side.images(strengths_of(other), [other])[0]))
            for row, other in nearest_pairs(scaled, best)
        ),
        _file_values(images, originals),
    )


def remaining_share(changed: SetDifference, left: SetDifference) -> float:
    """The share of the distance ``changed`` that is ``left``, beyond what is ordinary."""
    return max(left.distance - left.ordinary, 0.0) / max(changed.distance, 1e-9)


def is_explained(changed: SetDifference, left: SetDifference) -> bool:
    """Whether perturbations that leave ``left`` of the difference ``changed`` explain it."""
    is_small = remaining_share(changed, left) <= _SMALL
    return is_small and left.distance <= _WIDEST * left.ordinary


def nearest_pairs(production: Floats, simulated: Floats) -> list[tuple[int, int]]:
    """Rows of both sides with the nearest statistics, nearest first, each row once."""
    distances = np.linalg.norm(production[:, None] - simulated[None], axis=2)
    pairs = []
    for _ in range(_PAIRS):
        row, other = np.unravel_index(np.argmin(distances), distances.shape)
        pairs.append((int(row), int(other)))
        distances[row], distances[:, other] = np.inf, np.inf
    return pairs


def _require(count: int, kind: str) -> None:
    if count < FEWEST:
        raise ParameterError(
            f"Expected at least {FEWEST} readable {kind} images, got {count}: add more."
        )


def _labels(reference: Dataset, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The class index of every entry, -1 without one, of the models that know some class."""
    sets = models.by_labels(names) if names else []
    label_indices = labelled(reference, [labels for labels, _ in sets], KNOWN) if sets else {}
    result: dict[str, NDArray[np.int64]] = {}
    for labels, members in sets:
        indices = np.array([-1 if label is None else label for label in label_indices[labels.key]])
        if (indices >= 0).any():
            result |= dict.fromkeys(members, indices)
    return result


def _file_values(production: StudyPixels, reference: StudyPixels) -> tuple[dict[str, Any], ...]:
    """Medians of what the files of both sides tell, with the number of files that tell it."""
    rows = []
    for name in _FILE_PROPERTIES:
        row: dict[str, Any] = {"property": name}
        for key, side in (("production", production), ("reference", reference)):
            values = [part[name] for part in side.properties if name in part]
            row[key] = float(np.median(np.array(values, float))) if values else None
            row[f"{key}_images"] = len(values)
        rows.append(row)
    return tuple(row for row in rows if row["production_images"] or row["reference_images"])


class _Reference:
    """The reference images with their emulator, simulations and accuracies."""

    def __init__(self, pixels: NDArray[np.uint8], seed: int, note: Note) -> None:
        self.pixels, self.seed = pixels, seed
        self.digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
        self.emulator = self._emulator(note)
        self._simulated: dict[bytes, Floats] = {}

    def _emulator(self, note: Note) -> Emulator:
        """The emulator of these images, from the cache or trained and cached."""
        parts = [__version__, version(), str(self.seed), *self.digests]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
        path = settings.cache_folder() / "matching" / f"{key}.npz"
        try:
            if len(read_regular(path, _LARGEST_CACHE)):
                return Emulator.load(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            pass
        emulator = train(self.pixels, self.seed, note)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            put_whole(path, emulator.save)
        except OSError:
            pass  # a cache that cannot be written costs time alone
        return emulator

    def images(self, strengths: dict[str, float], rows: Sequence[int]) -> Floats:
        """The reference's images ``rows`` after a composition."""
        plain = from_uint8(self.pixels[list(rows)])
        digests = [self.digests[row] for row in rows]
        return compose(plain, strengths, seed=self.seed, digests=digests)

    def simulated(self, vector: Values, rows: slice) -> Floats:
        """Scaled statistics of the images ``rows`` at strengths (K,)."""
        if not vector.any():
            return self.emulator.originals[rows]
        strengths = dict(zip(self.emulator.names, vector.tolist(), strict=True))
        values = self._simulated.setdefault(
            vector.tobytes(), np.full((len(self.pixels), len(NAMES)), np.nan, np.float32)
        )
        chosen = [row for row in range(len(self.pixels))[rows] if np.isnan(values[row, 0])]
        values[chosen] = self.emulator.scaled(
            batch_statistics(lambda index: self.images(strengths, [chosen[index]])[0], len(chosen))
        )
        return values[rows]

    def accuracies(
        self,
        labels: dict[str, NDArray[np.int64]],
        fitted: Estimate,
        conditions: Sequence[Condition],
        images: int,
        remainder: float,
        note: Note,
    ) -> tuple[ExpectedAccuracy, ...]:
        """Expected accuracies, from predictions on the reference under the estimate.

        The best composition is tried on all images, those of the profile on some, paired with it.
        """
        networks = {name: models.load(name, side=self.pixels.shape[1]) for name in labels}
        rows = np.flatnonzero(np.any([indices >= 0 for indices in labels.values()], 0))

        def correct(strengths: dict[str, float], some: NDArray[np.int64]) -> Values:
            """Correct predictions (models, images), NaN without a label."""
            parts = []
            for start in range(0, len(some), _BATCH):
                chosen = some[start : start + _BATCH]
                batch = self.images(strengths, chosen.tolist())
                answers = [network(batch).probabilities.argmax(1) for network in networks.values()]
                expected = np.stack([column[chosen] for column in labels.values()])
                parts.append(np.where(expected >= 0, answers == expected, np.nan))
            return np.concatenate(parts, 1)

        total = len(conditions) + 2
        original = correct({}, rows)
        note("Predicting", 1, total)
        best = correct(fitted.strengths, rows) if fitted.strengths else original
        note("Predicting", 2, total)
        draws = np.random.default_rng(self.seed)
        changes = []
        for done, condition in enumerate(conditions, 3):
            some = draws.permutation(len(rows))[:_SHARED_IMAGES]
            changes.append(correct(condition.as_dict(), rows[some]) - best[:, some])
            note("Predicting", done, total)
        return tuple(
            expect_accuracy(name, *answers, fitted.share, images, remainder)
            for name, answers in zip(
                labels, zip(original, best, np.stack(changes, 1), strict=True), strict=True
            )
        )


def expect_accuracy(
    name: str,
    original: Values,
    best: Values,
    changes: Values,
    share: float,
    images: int,
    remainder: float = 0.0,
) -> ExpectedAccuracy:
    """The accuracy where ``share`` of the images are affected, from correct predictions (images,).

    ``changes`` (compositions, images) are those of the profile minus the best composition. A
    ``remainder`` of the squared difference in statistics may be that share of the squared drop.
    The bounds are shares that so many images can have.
    """
    from scipy import stats  # slow to import

    shifts = np.nanmean(changes, 1)
    noise = np.nanvar(changes, 1) / changes.shape[1]
    reference = float(np.nanmean(original))
    affected = float(np.clip(np.nanmean(best) + shifts.mean(), 0, 1))
    value = share * affected + (1 - share) * reference
    between = share**2 * max(float(shifts.var() - noise.mean()), 0.0)
    between += (reference - affected) ** 2 * (share * (1 - share) / images + share * remainder)
    binomial = max(value * (1 - value), 0.01)
    sampling = binomial * (1 / images + 1 / np.isfinite(best).sum())
    count = max(binomial / (between + sampling + _COLLECTIONS**2), 1.0)
    bounds = stats.beta.ppf((0.025, 0.975), value * count + 0.5, (1 - value) * count + 0.5)
    low, high = np.floor(bounds[0] * images) / images, np.ceil(bounds[1] * images) / images
    return ExpectedAccuracy(name, value, float(min(low, value)), float(max(high, value)), reference)


def _perturbations(fitted: Estimate) -> tuple[MatchedPerturbation, ...]:
    parts = []
    for name, strength in fitted.strengths.items():
        draws = fitted.draws[:, fitted.names.index(name)]
        low, high = np.quantile(draws[draws > 0] if (draws > 0).any() else draws, (0.025, 0.975))
        alike = fitted.group(name).items()
        group = {other: value for other, value in alike if other != name and value >= _LEAST}
        low, high = min(float(low), strength), max(float(high), strength)
        parts.append(MatchedPerturbation(name, strength, low, high, fitted.share, group))
    return tuple(sorted(parts, key=lambda part: -part.strength))


def drawn_compositions(fitted: Estimate, seed: int) -> tuple[Condition, ...]:
    """Distinct compositions drawn from the estimate, up to ``CONDITIONS``, or the original."""
    if not fitted.strengths:
        return (Condition.of({fitted.names[0]: 0.0}),)
    order = np.random.default_rng(seed).permutation(len(fitted.draws))
    rounded = np.round(fitted.draws[order], 4)
    conditions: dict[Condition, None] = {}
    for draw in rounded[rounded.any(1)]:
        strengths = {
            name: float(value) for name, value in zip(fitted.names, draw, strict=True) if value > 0
        }
        conditions.setdefault(Condition.of(strengths))
    return tuple(conditions)[:CONDITIONS]


def profile_conditions(
    compositions: Sequence[Condition], share: float, names: Sequence[str]
) -> tuple[Condition, ...]:
    """Compositions of which about ``share`` change the image, as conditions count alike.

    The others are perturbations at strength 0, each a condition of its own: those of ``names`` that
    the first composition lacks, so that results under its perturbations are of affected images.
    """
    names = [name for name in names if name not in compositions[0].perturbations]
    odds = share / max(1 - share, 1e-9)
    affected = max(1, min(round(CONDITIONS * share), round(len(names) * odds)))
    chosen = tuple(compositions[:affected])
    unchanged = [Condition.of({name: 0.0}) for name in names]
    return (*chosen, *unchanged[: round(len(chosen) / odds)])


def _table(
    emulator: Emulator, scaled: Floats, best: Floats, left: SetDifference
) -> tuple[dict[str, Any], ...]:
    """Scaled means of each statistic, and the size of what is left in standard errors."""
    means = (scaled.mean(0), emulator.originals.mean(0), best.mean(0), left.sizes)
    return tuple(
        dict(
            zip(
                ("statistic", "production", "reference", "simulation", "left"),
                (name, *(float(value) for value in values)),
                strict=True,
            )
        )
        for name, *values in zip(NAMES, *means, strict=True)
    )
