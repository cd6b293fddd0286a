"""A match: what makes unlabelled production images unlike labelled reference images.

Both sides become study images of one framing, from the native size. The answer holds "if nothing
else differs": one composition of perturbations for all images.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from robustness import __version__, models
from robustness.base import settings
from robustness.base.disk import put_whole, read_regular
from robustness.base.errors import ParameterError
from robustness.base.time_left import Note
from robustness.datasets import Dataset
from robustness.datasets.labels import KNOWN, labelled
from robustness.datasets.pixels import study_pixels
from robustness.evaluation.condition import Condition
from robustness.matching.difference import SetDifference, difference
from robustness.matching.emulator import Emulator, train, version
from robustness.matching.estimate import Estimate, Values, estimate
from robustness.matching.image_statistics import NAMES, Floats, batch_statistics
from robustness.perturbations import REGISTRY, compose
from robustness.pictures.eight_bits import from_uint8
from robustness.pictures.fitting import Framing

FEWEST = 20
"""Images that each side needs."""
MOST_PRODUCTION, MOST_REFERENCE = 1000, 300
"""Images that are used, drawn at random from more."""
CONDITIONS = 20
"""Compositions of a profile."""
_SHARED_IMAGES = 40
"""Images on which each composition of the profile is tried."""
_BATCH = 32
_COLLECTIONS = 0.05
"""Standard deviation of accuracy between collections of images of the same kind."""
_LARGEST_CACHE = 2**28


@dataclass(frozen=True)
class MatchedPerturbation:
    """A perturbation of the estimate with its 95 % interval.

    ``group`` are other perturbations that fit as well in its place, with their strengths.
    """

    perturbation: str
    strength: float
    low: float
    high: float
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
    is expected. ``conditions`` are the profile: compositions that count alike.
    """

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
    skipped: int = 0
    statistics: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    """Each statistic with its mean on production, reference and simulation."""

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
            "perturbations": [
                {**asdict(part), "value": part.value, "severity": part.severity}
                for part in self.perturbations
            ],
            "expected_accuracy": [asdict(part) for part in self.expected_accuracy],
            "unexplained": list(self.unexplained),
            "conditions": [condition.id for condition in self.conditions],
            "statistics": list(self.statistics),
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
    framing = framing or Framing()
    labels = _labels(reference, model_names)
    seen, skipped, _ = study_pixels(production, framing, MOST_PRODUCTION, seed, note)
    _require(len(seen), "production")
    pixels, left_out, rows = study_pixels(reference, framing, MOST_REFERENCE, seed, note)
    _require(len(pixels), "reference")
    side = _Reference(pixels, seed, note)
    statistics = batch_statistics(lambda index: from_uint8(seen[index]), len(seen))
    scaled = side.emulator.scaled(statistics)
    note("Fitting", 0, 1)
    changed = difference(scaled, side.emulator.originals, seed)
    fitted = estimate(scaled, side.emulator, side.simulated, seed)
    if not changed.significant:
        fitted = fitted.empty()
    best = side.simulated(fitted.vector, slice(None))
    left = difference(scaled, best, seed) if changed.significant else changed
    conditions = profile_conditions(fitted, seed)
    accuracy = (
        ()
        if left.significant
        else tuple(
            side.accuracy(name, labels[name][rows], fitted, conditions, len(seen), note)
            for name in model_names
            if name in labels
        )
    )
    return Match(
        len(seen),
        len(pixels),
        changed.significant,
        not left.significant,
        _perturbations(fitted),
        accuracy,
        tuple(NAMES[index] for index in left.largest) if left.significant else (),
        conditions,
        framing,
        seed,
        skipped + left_out,
        _table(side.emulator, scaled, best, left),
    )


def _require(count: int, kind: str) -> None:
    if count < FEWEST:
        raise ParameterError(
            f"Expected at least {FEWEST} readable {kind} images, got {count}: add more."
        )


def _labels(reference: Dataset, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The class index of every entry, -1 without one, of the models that know some class."""
    sets = models.by_labels(names) if names else []
    known = labelled(reference, [labels for labels, _ in sets], KNOWN) if sets else {}
    result: dict[str, NDArray[np.int64]] = {}
    for labels, members in sets:
        indices = np.array([-1 if label is None else label for label in known[labels.key]])
        if (indices >= 0).any():
            result |= dict.fromkeys(members, indices)
    return result


class _Reference:
    """The reference images with their emulator, simulations and accuracies."""

    def __init__(self, pixels: NDArray[np.uint8], seed: int, note: Note) -> None:
        self.pixels, self.seed = pixels, seed
        self.digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
        self.emulator = self._emulator(note)

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
        strengths = dict(zip(self.emulator.names, vector.tolist(), strict=True))
        chosen = range(len(self.pixels))[rows]
        return self.emulator.scaled(
            batch_statistics(lambda index: self.images(strengths, [chosen[index]])[0], len(chosen))
        )

    def accuracy(
        self,
        name: str,
        labels: NDArray[np.int64],
        fitted: Estimate,
        conditions: Sequence[Condition],
        images: int,
        note: Note,
    ) -> ExpectedAccuracy:
        """What to expect of a model, by its predictions on the reference under the estimate.

        The best composition is tried on all images, those of the profile on some, paired with it.
        """
        classifier = models.load(name, side=self.pixels.shape[1])
        rows = np.flatnonzero(labels >= 0)
        title = models.REGISTRY[name].name

        def correct(strengths: dict[str, float], some: NDArray[np.int64]) -> NDArray[np.float64]:
            answers = []
            for start in range(0, len(some), _BATCH):
                chosen = some[start : start + _BATCH]
                outputs = classifier(self.images(strengths, chosen.tolist()))
                answers.append(outputs.probabilities.argmax(1) == labels[chosen])
            return np.concatenate(answers).astype(np.float64)

        total = len(conditions) + 2
        original = correct({}, rows)
        note(f"Predicting with {title}", 1, total)
        best = correct(fitted.strengths, rows) if fitted.strengths else original
        note(f"Predicting with {title}", 2, total)
        draws = np.random.default_rng(self.seed)
        shifts, noise = [], []
        for done, condition in enumerate(conditions, 3):
            some = draws.permutation(len(rows))[:_SHARED_IMAGES]
            change = correct(condition.as_dict(), rows[some]) - best[some]
            shifts.append(change.mean())
            noise.append(change.var() / len(some))
            note(f"Predicting with {title}", done, total)
        value = float(np.clip(best.mean() + np.mean(shifts), 0, 1))
        between = max(float(np.var(shifts) - np.mean(noise)), 0.0)
        sampling = max(value * (1 - value), 0.01) * (1 / images + 1 / len(rows))
        count = max(max(value * (1 - value), 0.01) / (between + sampling + _COLLECTIONS**2), 1.0)
        low, high = stats.beta.ppf(
            (0.025, 0.975), value * count + 0.5, (1 - value) * count + 0.5
        ).tolist()
        reference = float(original.mean())
        return ExpectedAccuracy(name, value, min(low, value), max(high, value), reference)


def _perturbations(fitted: Estimate) -> tuple[MatchedPerturbation, ...]:
    parts = []
    for name, strength in fitted.strengths.items():
        draws = fitted.draws[:, fitted.names.index(name)]
        low, high = np.quantile(draws[draws > 0] if (draws > 0).any() else draws, (0.025, 0.975))
        group = {other: value for other, value in fitted.group(name).items() if other != name}
        low, high = min(float(low), strength), max(float(high), strength)
        parts.append(MatchedPerturbation(name, strength, low, high, group))
    return tuple(sorted(parts, key=lambda part: -part.strength))


def profile_conditions(fitted: Estimate, seed: int) -> tuple[Condition, ...]:
    """Distinct compositions drawn from the estimate, up to ``CONDITIONS``; they count alike."""
    if not fitted.strengths:
        return (Condition.of({REGISTRY.names[0]: 0.0}),)
    order = np.random.default_rng(seed).permutation(len(fitted.draws))
    rounded = np.round(fitted.draws[order], 4)
    conditions: dict[Condition, None] = {}
    for draw in rounded[rounded.any(1)]:
        strengths = {
            name: float(value) for name, value in zip(fitted.names, draw, strict=True) if value > 0
        }
        conditions.setdefault(Condition.of(strengths))
    return tuple(conditions)[:CONDITIONS]


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
