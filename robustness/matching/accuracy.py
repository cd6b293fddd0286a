"""The accuracy to expect of a model on unlabelled images, from its confidences and from labels.

A labelled reference says how confidence and accuracy go together, simulated compositions say how
that changes with what a camera does. Where several models know the same classes, their agreement
tells more than the confidence of one. No cause is needed.

Labels of some of the images correct the mean confidence of all (prediction-powered inference with
tuning, Angelopoulos et al., "PPI++", 2023). Both estimates are combined by their precision. The
accuracy under simulated perturbations is not among them: it tests a cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.validation import CONFIG
from robustness.images.pixels import from_uint8
from robustness.matching.emulator import MOST, matchable
from robustness.matching.statistics import Values
from robustness.metrics.intervals import rate_interval

COLLECTIONS = 0.05
"""Standard deviation of accuracy between collections of images of the same kind."""
STEPS = (20, 50, 100)
"""Numbers of labels for which the width of the interval is forecast."""
_PSEUDO = 4.0
"""Pseudo-images, half of them correct, in the variance of few labels (Agresti & Coull 1998)."""
_UNSURE = 6.0
"""Over the number of labels: by how much their variance, which few labels tell badly, is larger.
Chosen on practice cameras, so that intervals from 20 labels hold."""
_EXPLAINED = 0.15
"""Share of the variance of correctness that confidence explains, for forecasts."""


@dataclass(frozen=True)
class AccuracyEstimate:
    """An accuracy with its 95 % interval; ``error`` is the standard error.

    ``parts`` are the accuracies of which it is the mean, or others beside it, by method.
    """

    __pydantic_config__ = CONFIG

    value: float
    low: float
    high: float
    error: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ExpectedAccuracy:
    """A model's accuracy to expect on the production images, with a 95 % interval.

    It is ``confidence``, the estimate from confidences; with ``labelled`` images both combined;
    else ``labels`` alone. ``reference`` is the accuracy on the reference, None without labels
    there.
    """

    model: str
    reference: float | None = None
    confidence: AccuracyEstimate | None = None
    labels: AccuracyEstimate | None = None
    labelled: int = 0

    @cached_property
    def best(self) -> AccuracyEstimate:
        """The estimate that has the value and the interval; there is at least one."""
        if self.confidence and self.labels:
            return combined(self.confidence, self.labels)
        estimate = self.confidence or self.labels
        if estimate is None:
            raise ValueError(f"{self.model} has neither an estimate from confidence nor labels")
        return estimate

    @property
    def value(self) -> float:
        return self.best.value

    @property
    def low(self) -> float:
        return self.best.low

    @property
    def high(self) -> float:
        return self.best.high

    @property
    def disagreement(self) -> str:
        """The names of two estimates that lie outside the interval of each other, or ""."""
        if self.confidence is None or self.labels is None:
            return ""
        confidence = self.confidence
        labels = self.labels
        if confidence.low <= labels.value <= confidence.high:
            return ""
        if labels.low <= confidence.value <= labels.high:
            return ""
        return "confidence and labels"


def simulated_estimate(
    original: Values,
    best: Values,
    changes: Values,
    share: float,
    images: int,
    remainder: float = 0.0,
) -> AccuracyEstimate:
    """Return the accuracy where ``share`` of the images are affected, by simulation.

    ``original`` and ``best`` (reference images,) are whether predictions are correct, as 0, 1 and
    NaN, without and under the best composition. ``changes`` (compositions, images) are those of
    the profile minus the best composition. A ``remainder`` of the squared difference in statistics
    may be that share of the squared drop. The bounds are shares that so many production ``images``
    can have.
    """
    shifts = np.nanmean(changes, 1)
    shift_noise = np.nanvar(changes, 1) / changes.shape[1]
    reference = float(np.nanmean(original))
    affected = float(np.clip(np.nanmean(best) + shifts.mean(), 0, 1))
    value = share * affected + (1 - share) * reference
    # Variances: of the compositions beyond chance, of which images are affected with what no
    # composition explains, and of both sets of images.
    between = share**2 * max(float(shifts.var() - shift_noise.mean()), 0.0)
    between += (reference - affected) ** 2 * (share * (1 - share) / images + share * remainder)
    binomial = max(value * (1 - value), 0.01)
    sampling = binomial * (1 / images + 1 / np.isfinite(best).sum())
    estimate = bounded(value, between + sampling + COLLECTIONS**2, images)
    width = max(estimate.high - estimate.low, 1e-3)
    return replace(estimate, error=width / (2 * 1.96))


def labelled_estimate(
    correct: Values, confidences: Values, mean_confidence: float, images: int
) -> AccuracyEstimate:
    """Return the accuracy of ``images``, of which a random part is labelled.

    ``correct`` (n,) is whether the predictions of that part are correct, as 0 and 1, and
    ``confidences`` (n,) are theirs. ``mean_confidence`` is that of all images. ``parts`` has the
    accuracy by labels alone. Where all or none are correct, the interval holds the exact one.
    """
    count = len(correct)
    # The pseudo-images draw the accuracy towards a half, and the weight of confidences towards 0.
    own_share = count / (count + _PSEUDO)
    rate = own_share * correct.mean() + (1 - own_share) / 2
    confidence_variance = float(confidences.var())
    weight = 0.0
    if count > 2 and confidence_variance > 1e-9:
        covariance = float(np.cov(correct, confidences)[0, 1])
        slope = covariance / confidence_variance / (1 + count / images)
        weight = float(np.clip(slope, 0, 1.5)) * own_share
    value = rate + weight * (mean_confidence - confidences.mean())
    residuals = correct - weight * confidences
    variance = count * residuals.var() + _PSEUDO / 4
    variance = variance / (count + _PSEUDO) / max(count - 1, 1) * (1 + _UNSURE / count)
    variance += weight**2 * confidence_variance / images
    estimate = bounded(
        value=float(np.clip(value, 0, 1)),
        variance=float(variance),
        parts={"labels": float(correct.mean())},
    )
    if correct.min() < correct.max():
        return estimate
    exact = exact_estimate(correct)
    return replace(estimate, low=min(estimate.low, exact.low), high=max(estimate.high, exact.high))


def exact_estimate(correct: Values) -> AccuracyEstimate:
    """Return the mean of ``correct`` (n,) with the exact interval of Clopper and Pearson (1934)."""
    value, low, high = rate_interval(int(correct.sum()), len(correct))
    return AccuracyEstimate(value, low, high, (high - low) / (2 * 1.96))


def combined(confidence: AccuracyEstimate, labels: AccuracyEstimate) -> AccuracyEstimate:
    """Return the mean of both estimates, weighted by their precision.

    Where labels are the more precise, 0 and 1 stay possible as they are by labels.
    """
    weights = np.array([confidence.error, labels.error]) ** -2.0
    value = float(weights @ [confidence.value, labels.value] / weights.sum())
    both = bounded(value, float(1 / weights.sum()))
    if labels.error > confidence.error:
        return both
    low = 0.0 if labels.low == 0 else both.low
    high = 1.0 if labels.high == 1 else both.high
    return replace(both, low=low, high=high)


def forecast(estimate: AccuracyEstimate | None, images: int) -> dict[int, float]:
    """Return half the width of the interval to expect, by the number of ``images`` labelled."""
    half_widths = {}
    for count in sorted({min(step, images) for step in STEPS}):
        if estimate is None:
            value = 0.5
            variance = max(value * (1 - value), 0.01) / count
        else:
            value = estimate.value
            label_variance = max(value * (1 - value), 0.01) / count * (1 - _EXPLAINED)
            variance = 1 / (estimate.error**-2 + 1 / label_variance)
        bounds = bounded(value, variance)
        half_widths[count] = (bounds.high - bounds.low) / 2
    return half_widths


def bounded(
    value: float,
    variance: float,
    images: int | None = None,
    parts: Mapping[str, float] | None = None,
) -> AccuracyEstimate:
    """Return ``value`` with the 95 % interval of a beta distribution of that ``variance``.

    The bounds are shares that so many ``images`` can have, unless there are any number.
    """
    from scipy import stats  # slow to import

    count = max(max(value * (1 - value), 0.01) / variance, 1.0)
    low, high = stats.beta.ppf((0.025, 0.975), value * count + 0.5, (1 - value) * count + 0.5)
    if images is not None:
        low = np.floor(low * images) / images
        high = np.ceil(high * images) / images
    return AccuracyEstimate(
        value=value,
        low=float(min(low, value)),
        high=float(max(high, value)),
        error=float(np.sqrt(variance)),
        parts=dict(parts or {}),
    )


Places = NDArray[np.int64]

COMPOSITIONS = 16
"""Simulated compositions."""
SIMULATED = 40
"""Reference images of each of them."""
_STRENGTHS = (0.1, 0.9)
_BATCH = 16
_DIRECTIONS = 32
"""Principal directions of the features that a regression uses."""
_WEIGHT = 0.5
"""Weight of the originals in a regression, as a share of that of the simulations."""
_PENALTIES = (0.1, 3.0)
"""Of the squared coefficients of the regressions, without and with features."""
_LEAST_NOISE = 0.005
"""Variance of the correctness of an image that no model is too sure for."""
_STEPS = 15
_FOLDS = 4
_CONTENT_DIRECTIONS = 24
_CAMERA = 0.95
"""Directions in which contents are compared, without those that have so much of the shift by
simulated compositions."""
_LEAK = 2.0
"""Times the share of a composition's shift outside of what others span, that a camera may have."""
_SPLITS = 1000
_RARE = 0.99
_CONTENT_FOLDS = 10
"""Random parts of the reference, the quantile of their distances, and parts in which its variance
is measured."""
_OTHER_CONTENT = 0.1
"""Standard deviation of accuracy between collections of another kind of content."""


class TopPredictions(NamedTuple):
    """The predictions of a model for N images."""

    classes: NDArray[np.int64]
    """Top-1 classes (N,)."""
    confidences: Values
    """Probabilities (N,) of these."""
    cues: Values
    """What tells how sure the model is: (N, 3), or (N, 6) with the agreement of other models."""
    features: Values
    """The last features (N, D) of the model."""

    @staticmethod
    def join(parts: Sequence[TopPredictions]) -> TopPredictions:
        """Return the predictions of consecutive parts as one."""
        return TopPredictions(
            classes=np.concatenate([part.classes for part in parts]),
            confidences=np.concatenate([part.confidences for part in parts]),
            cues=np.concatenate([part.cues for part in parts]),
            features=np.concatenate([part.features for part in parts]),
        )

    def rows(self, rows: Places) -> TopPredictions:
        return TopPredictions(
            classes=self.classes[rows],
            confidences=self.confidences[rows],
            cues=self.cues[rows],
            features=self.features[rows],
        )


def top_predictions(name: str, pixels: NDArray[np.uint8]) -> TopPredictions:
    """Return the predictions of the model ``name`` for study images (N, S, S, 3)."""
    network = models.load(name, side=pixels.shape[1])
    parts = []
    for start in range(0, len(pixels), _BATCH):
        parts.append(network(from_uint8(pixels[start : start + _BATCH])))
    probabilities = np.concatenate([part.probabilities for part in parts]).astype(np.float64)
    stages = list(parts[0].features)
    if stages:
        features = np.concatenate([part.features[stages[-1]] for part in parts])
    else:
        features = np.zeros((len(pixels), 0))
    ascending = np.sort(probabilities, 1)
    top = ascending[:, -1]
    second = np.zeros_like(top)
    if ascending.shape[1] > 1:
        second = ascending[:, -2]
    inner = np.clip(top, 1e-4, 1 - 1e-4)  # the log-odds of 0 and 1 are infinite
    log_odds = np.log(inner / (1 - inner))
    entropy = -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-12)), 1)
    return TopPredictions(
        classes=probabilities.argmax(1),
        confidences=top,
        cues=np.stack([log_odds, entropy, top - second], 1),
        features=features.astype(np.float64),
    )


def with_agreement(
    outputs: Mapping[str, TopPredictions], labels: Mapping[str, Places]
) -> dict[str, TopPredictions]:
    """``outputs`` of the same images by several models, with cues from those of the same classes.

    ``labels`` has a column for each model; models with equal columns have the same classes. The
    cues are the share of the others that agree, and their log-odds where they agree and where not,
    as means over the others. A model without any other keeps its cues.
    """
    result = {}
    for name, output in outputs.items():
        others = []
        for other_name, other in outputs.items():
            if other_name != name and np.array_equal(labels[other_name], labels[name]):
                others.append(other)
        if not others:
            result[name] = output
            continue
        agrees = np.stack([other.classes == output.classes for other in others])
        log_odds = np.stack([other.cues[:, 0] for other in others])
        agreement_cues = np.stack(
            [
                agrees.mean(0),
                (log_odds * agrees).mean(0),
                (log_odds * ~agrees).mean(0),
            ],
            axis=1,
        )
        result[name] = output._replace(cues=np.hstack([output.cues, agreement_cues]))
    return result


def compositions(seed: int) -> list[dict[str, float]]:
    """Random compositions of perturbations, ``COMPOSITIONS`` of them."""
    draws = np.random.default_rng(seed)
    names = matchable()
    result = []
    for _ in range(COMPOSITIONS):
        chosen = draws.choice(len(names), draws.integers(1, MOST + 1), replace=False)
        result.append({names[k]: float(draws.uniform(*_STRENGTHS)) for k in chosen})
    return result


class ConfidenceEstimator:
    """How the confidence of a model tells its accuracy, from labelled images and simulations.

    ``labels`` (N,) are classes of the images that ``originals`` are of, -1 without one.
    ``simulated`` are predictions for some labelled ones under compositions, with their rows.
    """

    def __init__(
        self,
        originals: TopPredictions,
        labels: Places,
        simulated: Sequence[tuple[TopPredictions, Places]],
    ) -> None:
        self.simulated: list[tuple[TopPredictions, TopPredictions]] = []
        """Predictions under each composition, and those for the same images without it."""
        simulated_correct: list[Values] = []
        for predictions, rows in simulated:
            if len(rows):
                self.simulated.append((predictions, originals.rows(rows)))
                simulated_correct.append(_correct(predictions, labels[rows]))
        self.by_chance = np.array([correct.mean() for correct in simulated_correct])
        """Accuracies under the compositions."""
        self.original = originals.rows(np.flatnonzero(labels >= 0))
        original_correct = _correct(self.original, labels[labels >= 0])
        self.accuracy = float(original_correct.mean())
        self.count = len(original_correct)
        self.threshold = float(np.quantile(self.original.confidences, 1 - self.accuracy))
        """Confidence that as many originals exceed as are correct, for ATC."""

        outputs = [*(predictions for predictions, _ in self.simulated), self.original]
        cues = np.concatenate([output.cues for output in outputs])
        self._cue_means = cues.mean(0)
        self._cue_deviations = cues.std(0) + 1e-9
        features = np.concatenate([output.features for output in outputs])
        self._centre = features.mean(0)
        self._directions = _whitened_directions(features - self._centre, _DIRECTIONS)

        inputs_by_output = [self._inputs(output) for output in outputs]
        inputs = [np.concatenate(sides) for sides in zip(*inputs_by_output, strict=True)]
        targets = np.concatenate([*simulated_correct, original_correct])
        # The number of each image's composition, -1 for originals.
        numbers = [*range(len(self.simulated)), -1]
        composition = np.repeat(numbers, [len(output.classes) for output in outputs])
        is_simulated = composition >= 0
        simulated_count = max(int(is_simulated.sum()), 1)
        original_weight = _WEIGHT * simulated_count / self.count
        weights = np.where(is_simulated, 1.0, original_weight)
        self._regressions = _regress(inputs, targets, weights)

        # The error on compositions that the regressions have not seen.
        errors = []
        noise = []
        for fold in range(_FOLDS):
            kept = ~is_simulated | (composition % _FOLDS != fold)
            kept_inputs = [side[kept] for side in inputs]
            regressions = _regress(kept_inputs, targets[kept], weights[kept])
            for number in range(fold, len(self.simulated), _FOLDS):
                predictions, _ = self.simulated[number]
                correct = simulated_correct[number]
                value = float(self._probabilities(predictions, regressions).mean())
                errors.append(value - correct.mean())
                noise.append(max(value * (1 - value), 0.01) / len(correct))
        variance = float(np.mean(np.square(errors)) - np.mean(noise)) if errors else 0.0
        self.error = max(COLLECTIONS, np.sqrt(max(variance, 0.0)))
        """Standard deviation between collections, or of its own error on the compositions."""

    def _inputs(self, output: TopPredictions) -> tuple[Values, Values]:
        """Inputs of the regressions, without and with features."""
        cues = (output.cues - self._cue_means) / self._cue_deviations
        features = (output.features - self._centre) @ self._directions.T
        return cues, np.hstack([cues, features])

    def _probabilities(self, output: TopPredictions, regressions: Sequence[Values]) -> Values:
        """The probability (2, N) by each regression that an image is correct."""
        probabilities = []
        for inputs, coefficients in zip(self._inputs(output), regressions, strict=True):
            probabilities.append(_sigmoid(inputs @ coefficients[:-1] + coefficients[-1]))
        return np.stack(probabilities)

    def estimate(self, production: TopPredictions, other_content: bool = False) -> AccuracyEstimate:
        """The accuracy on these ``production`` images: the mean of the regressions.

        ATC and DoC are beside it. The interval is that of the accuracy on these images: what is
        known of each leaves less to chance than a draw from the camera would.
        """
        probabilities = self._probabilities(production, self._regressions)
        first, second = probabilities.mean(1).tolist()
        fall = float(self.original.confidences.mean() - production.confidences.mean())
        parts = {
            "regression": first,
            "regression with features": second,
            "ATC": float((production.confidences > self.threshold).mean()),
            "DoC": float(np.clip(self.accuracy - fall, 0, 1)),
        }
        of_image = probabilities.mean(0)
        value = float(of_image.mean())
        images = len(production.classes)
        sampling = max(float((of_image * (1 - of_image)).mean()), _LEAST_NOISE) / images
        reference = max(value * (1 - value), 0.01) / self.count
        error = max(self.error, _OTHER_CONTENT) if other_content else self.error
        return bounded(value, sampling + reference + error**2, images, parts)

    def content_distance(self, production: TopPredictions) -> float:
        """How far the content is from the reference's: above 1 it is of another kind.

        Features are compared in the reference's principal directions. A shift within the span of
        the simulated compositions is the camera's. Of a shift outside it, as much is the camera's
        as a composition leaves outside the span of the others. The unit is the 99 % quantile of
        random parts of the reference.
        """
        originals = _unit(self.original.features)
        count = min(len(production.classes), len(originals) // 3)
        directions = _whitened_directions(originals - originals.mean(0), _CONTENT_DIRECTIONS)
        if len(self.simulated) < 2 or not directions.size or not count:
            return 0.0
        shifts = np.stack(
            [
                (_unit(after.features) - _unit(before.features)).mean(0) @ directions.T
                for after, before in self.simulated
            ]
        )
        lengths = []
        for index, shift in enumerate(shifts):
            basis_of_others = _basis(np.delete(shifts, index, axis=0))
            lengths.append(_lengths(shift, basis_of_others))
        total_outside, total_inside = np.sum(lengths, axis=0)
        leak = _LEAK * total_outside / max(total_inside, 1e-12)
        basis = _basis(shifts)

        def distance(first: Values, second: Values) -> float:
            outside, inside = _lengths(first.mean(0) - second.mean(0), basis)
            return (outside - leak * inside) / (1 / len(first) + 1 / len(second))

        reference_content = originals @ directions.T
        production_content = _unit(production.features) @ directions.T
        draws = np.random.default_rng(0)
        distances = []
        for _ in range(_SPLITS):
            order = draws.permutation(len(reference_content))
            part = reference_content[order[:count]]
            rest = reference_content[order[count:]]
            distances.append(distance(part, rest))
        # Whitening fits the reference more closely than other images of the same content.
        unit = float(np.quantile(distances, _RARE)) * _fold_variance(originals)
        return distance(production_content, reference_content) / max(unit, 1e-9)


def _basis(shifts: Values) -> Values:
    """Directions (k, D) that have ``_CAMERA`` of the shifts (N, D)."""
    _, spread, basis = np.linalg.svd(shifts, full_matrices=False)
    share = np.cumsum(spread**2) / max(float(np.sum(spread**2)), 1e-12)
    return np.asarray(basis[: int(np.searchsorted(share, _CAMERA)) + 1])


def _lengths(shift: Values, basis: Values) -> tuple[float, float]:
    """The squared lengths of a shift (D,) outside and inside of a basis (k, D), by direction."""
    inside = basis @ shift
    rest = shift - basis.T @ inside
    directions = max(len(shift) - len(basis), 1)
    return float(rest @ rest) / directions, float(inside @ inside) / len(basis)


def _fold_variance(rows: Values) -> float:
    """The variance of rows (N, D) in whitened directions of others: 1 without overfitting."""
    order = np.random.default_rng(0).permutation(len(rows))
    variances = []
    for fold in range(_CONTENT_FOLDS):
        part = order[fold::_CONTENT_FOLDS]
        rest = np.setdiff1d(order, part)
        centre = rows[rest].mean(0)
        directions = _whitened_directions(rows[rest] - centre, _CONTENT_DIRECTIONS)
        variances.append(float(((rows[part] - centre) @ directions.T).var(0, ddof=1).mean()))
    return float(np.mean(variances))


def _unit(features: Values) -> Values:
    """Features (N, D) of length 1, so that few images do not make the principal directions."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)


def _whitened_directions(rows: Values, most: int) -> Values:
    """The principal directions (k, D) of centred ``rows`` (N, D), over their deviations."""
    from scipy import linalg  # slow to import

    if not rows.size:
        return np.zeros((0, rows.shape[1]))
    first = max(len(rows) - most, 0)
    squares, sides = linalg.eigh(rows @ rows.T, subset_by_index=(first, len(rows) - 1))
    large = squares > max(1e-10 * squares[-1], 1e-18)
    return np.asarray((sides[:, large] / squares[large]).T @ rows * np.sqrt(len(rows)))[::-1]


def _correct(output: TopPredictions, labels: Places) -> Values:
    return (output.classes == labels).astype(np.float64)


def _regress(inputs: Sequence[Values], targets: Values, weights: Values) -> list[Values]:
    """The coefficients of a regression on each of ``inputs``, without and with features."""
    regressions = []
    for columns, penalty in zip(inputs, _PENALTIES, strict=True):
        regressions.append(_logistic(columns, targets, weights, penalty))
    return regressions


def _logistic(inputs: Values, targets: Values, weights: Values, penalty: float) -> Values:
    """Coefficients, the constant last, of a logistic regression by Newton's method."""
    columns = np.hstack([inputs, np.ones((len(inputs), 1))])
    penalties = np.full(columns.shape[1], penalty)
    penalties[-1] = 1e-3  # hardly any on the constant
    coefficients = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        probabilities = _sigmoid(columns @ coefficients)
        gradient = columns.T @ (weights * (probabilities - targets)) + penalties * coefficients
        row_weights = weights * probabilities * (1 - probabilities)
        hessian = (columns * row_weights[:, None]).T @ columns + np.diag(penalties)
        step = np.linalg.solve(hessian, gradient)
        coefficients = coefficients - step
        if np.abs(step).max() < 1e-6:
            break
    return coefficients


def _sigmoid(values: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -30, 30))))
