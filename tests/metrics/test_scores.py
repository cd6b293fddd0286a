"""Laws that every registered metric obeys, and the oracles that each is held to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import distance
from skimage import metrics as skimage_metrics

from robustness import perturbations
from robustness.base.errors import ParameterError
from robustness.metrics import FEATURES, PREDICTION, REGISTRY, Metric, rate_interval
from robustness.metrics.scores import (
    amplified_difference,
    confidence_change,
    consistent,
    cosine,
    divergence,
    euclidean,
    psnr,
    ssim,
    top5_overlap,
    top_k,
)
from tests.support.oracles import photos

Floats = NDArray[np.float32]

everyone = pytest.mark.parametrize("metric", REGISTRY, ids=REGISTRY.names)


def answers(rows: int, seed: int, classes: int = 1000) -> Floats:
    """Class probabilities with a few likely classes and many next to impossible ones."""
    random = np.random.default_rng(seed)
    return random.dirichlet(np.full(classes, 0.02), rows).astype(np.float32)


def pairs(metric: Metric) -> tuple[Floats, Floats]:
    """Four clean rows of the metric's subject, and four that differ from them in everything."""
    if metric.subject == PREDICTION:
        return answers(4, seed=1), answers(4, seed=2)
    if metric.subject == FEATURES:
        random = np.random.default_rng(3)
        clean, other = random.normal(size=(2, 4, 1280)).astype(np.float32)
        return clean, other
    pictures = photos("coffee", "chelsea", "astronaut", "rocket", side=64)
    return pictures, np.ascontiguousarray(1 - pictures[::-1])


def rows(*values: list[float]) -> Floats:
    return np.array(values, np.float32)


# --- laws -----------------------------------------------------------------------------------------


@everyone
def test_record_is_complete(metric: Metric) -> None:
    assert metric.label.strip()
    assert len(metric.formula) > 10
    assert metric.meaning.endswith(".")
    assert metric.low < metric.high
    assert (metric.function.__doc__ or "").strip()


@everyone
def test_scores_are_one_float_a_row_within_the_range(metric: Metric) -> None:
    clean, other = pairs(metric)
    scores = metric.function(clean, other)
    assert (scores.shape, scores.dtype) == ((4,), np.float64)
    assert np.isfinite(scores).all()
    assert (metric.low <= scores).all()
    assert (scores <= metric.high).all()


@everyone
def test_equal_inputs_get_the_best_score(metric: Metric) -> None:
    clean, _ = pairs(metric)
    best = metric.high if metric.higher_is_better else metric.low
    unchanged = 0.0 if metric.name == "confidence_change" else best
    scores = metric.function(clean, clean.copy())
    np.testing.assert_allclose(scores, unchanged, atol=1e-6)
    assert (scores <= metric.high).all()


@everyone
def test_less_change_scores_better(metric: Metric) -> None:
    clean, other = pairs(metric)
    little, much = (
        metric.function(clean, clean + np.float32(share) * (other - clean)).mean()
        for share in (0.05, 0.95)
    )
    assert bool(little > much) == metric.higher_is_better
    assert little != much


@everyone
def test_one_clean_row_is_compared_with_every_row(metric: Metric) -> None:
    clean, other = pairs(metric)
    shared = metric.function(clean[:1], other)
    assert shared.shape == (4,)
    repeated = metric.function(np.repeat(clean[:1], 4, 0), other)
    np.testing.assert_array_equal(shared, repeated)


@everyone
def test_a_row_scores_the_same_whatever_stands_beside_it(metric: Metric) -> None:
    clean, other = pairs(metric)
    together, shared = metric.function(clean, other), metric.function(clean[:1], other)
    for place in range(4):
        here = slice(place, place + 1)
        np.testing.assert_array_equal(metric.function(clean[here], other[here]), together[here])
        np.testing.assert_array_equal(metric.function(clean[:1], other[here]), shared[here])


@everyone
def test_inputs_are_only_read(metric: Metric) -> None:
    clean, other = pairs(metric)
    before = clean.tobytes(), other.tobytes()
    metric.function(clean, other)
    assert (clean.tobytes(), other.tobytes()) == before
    clean.flags.writeable = other.flags.writeable = False
    metric.function(clean, other)


@pytest.mark.parametrize(
    "metric", [m for m in REGISTRY if m.name != "confidence_change"], ids=lambda m: m.name
)
def test_the_order_of_the_two_does_not_matter(metric: Metric) -> None:
    clean, other = pairs(metric)
    forth, back = metric.function(clean, other), metric.function(other, clean)
    np.testing.assert_allclose(forth, back, rtol=1e-5)


@pytest.mark.parametrize(
    "metric", [m for m in REGISTRY if m.subject == FEATURES], ids=lambda metric: metric.name
)
@pytest.mark.parametrize("scale", [1e-37, 1e-3, 1e37])
def test_feature_metrics_do_not_depend_on_the_scale_of_a_network(
    metric: Metric, scale: float
) -> None:
    clean, other = pairs(metric)
    factor = np.float32(scale)
    scaled = metric.function(clean * factor, other * factor)
    np.testing.assert_allclose(scaled, metric.function(clean, other), atol=1e-6)


# --- images -------------------------------------------------------------------------------------


def skimage_ssim(clean: Floats, image: Floats) -> float:
    score = skimage_metrics.structural_similarity(
        clean,
        image,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=-1,
    )
    return float(score)


@pytest.mark.parametrize("name", ["gaussian_noise", "rotation"])
def test_ssim_and_psnr_equal_scikit_images(name: str) -> None:
    clean = photos("chelsea", "rocket")
    for strength in (0.1, 1.0):
        images = perturbations.apply(perturbations.REGISTRY[name], clean, strength)
        pictures = list(zip(clean, images, strict=True))
        np.testing.assert_allclose(
            ssim(clean, images), [skimage_ssim(a, b) for a, b in pictures], atol=1e-4
        )
        np.testing.assert_allclose(
            psnr(clean, images),
            [skimage_metrics.peak_signal_noise_ratio(a, b, data_range=1) for a, b in pictures],
            rtol=1e-5,
        )


@pytest.mark.parametrize("side", [11, 12, 97])
def test_ssim_equals_scikit_images_at_other_sides(side: int) -> None:
    clean = photos("coffee", side=side)
    image = perturbations.apply(perturbations.REGISTRY["gaussian_noise"], clean, 0.5)
    np.testing.assert_allclose(ssim(clean, image), [skimage_ssim(clean[0], image[0])], atol=1e-4)


def test_ssim_of_flat_pictures_equals_scikit_images() -> None:
    flat = [np.full((32, 32, 3), level, np.float32) for level in np.linspace(0, 1, 9)]
    for first in flat:
        expected = [skimage_ssim(first.astype(np.float64), other) for other in flat]
        np.testing.assert_allclose(ssim(first[None], np.stack(flat)), expected, atol=1e-4)


def test_amplified_difference_shows_either_direction_and_clips() -> None:
    clean = rows([0.5, 0.5, 0.5, 0.5])
    changed = rows([0.5, 0.6, 0.4, 1.0])
    np.testing.assert_allclose(
        amplified_difference(clean, changed, 4.0), rows([0.0, 0.4, 0.4, 1.0]), atol=1e-6
    )
    signed = amplified_difference(clean, changed, 4.0, signed=True)
    np.testing.assert_allclose(signed, rows([0.5, 0.9, 0.1, 1.0]), atol=1e-6)


# --- features -------------------------------------------------------------------------------------


def test_cosine_equals_scipys() -> None:
    clean, other = pairs(REGISTRY["cosine"])
    expected = [1 - distance.cosine(a, b) for a, b in zip(clean, other, strict=True)]
    np.testing.assert_allclose(cosine(clean, other), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "cosine_score", "euclidean_score"),
    [
        ([3, 0], [0, 4], 0.0, 1 - 5 / 7),
        ([3, 4], [6, 8], 1.0, 1 - 5 / 15),
        ([3, 4], [-3, -4], -1.0, 0.0),
        ([1, 0], [1, 1], 1 / math.sqrt(2), 1 - 1 / (1 + math.sqrt(2))),
        ([0, 0], [0, 0], 1.0, 1.0),
        ([0, 0], [1, 2], 0.0, 0.0),
    ],
)
def test_feature_metrics_by_hand(
    first: list[float], second: list[float], cosine_score: float, euclidean_score: float
) -> None:
    assert cosine(rows(first), rows(second))[0] == pytest.approx(cosine_score)
    assert euclidean(rows(first), rows(second))[0] == pytest.approx(euclidean_score)


# --- predictions ----------------------------------------------------------------------------------


def test_divergence_equals_scipys() -> None:
    clean, other = answers(6, seed=1), answers(6, seed=2)
    assert (clean == 0).any(), "some classes are impossible"
    expected = [
        distance.jensenshannon(a.astype(np.float64), b.astype(np.float64), base=2) ** 2
        for a, b in zip(clean, other, strict=True)
    ]
    np.testing.assert_allclose(divergence(clean, other), expected, atol=1e-6)


def test_top_k_puts_the_most_probable_first_and_breaks_ties_by_index() -> None:
    probabilities = rows([0.1, 0.3, 0.1, 0.3, 0.2], [0.2] * 5)
    np.testing.assert_array_equal(top_k(probabilities, 3), [[1, 3, 4], [0, 1, 2]])
    np.testing.assert_array_equal(top_k(probabilities), [[1, 3, 4, 0, 2], [0, 1, 2, 3, 4]])
    many = rows([0.0, 0.0005] * 500)
    np.testing.assert_array_equal(top_k(many, 400), [range(1, 801, 2)])


def test_top5_overlap_counts_common_classes_whatever_their_order() -> None:
    def ranking(*classes: int) -> Floats:
        row = np.zeros((1, 20), np.float32)
        row[0, list(classes)] = (0.4, 0.25, 0.2, 0.1, 0.05)
        return row

    clean = ranking(3, 1, 4, 15, 9)
    for others, share in (
        (ranking(9, 15, 4, 1, 3), 1.0),
        (ranking(3, 1, 4, 15, 10), 0.8),
        (ranking(2, 1, 5, 6, 3), 0.4),
        (ranking(0, 2, 5, 6, 7), 0.0),
    ):
        assert top5_overlap(clean, others)[0] == pytest.approx(share)


def test_consistency_is_about_the_first_class_alone() -> None:
    clean = rows([0.6, 0.3, 0.1])
    others = rows([0.34, 0.33, 0.33], [0.3, 0.6, 0.1], [0.1, 0.3, 0.6])
    np.testing.assert_array_equal(consistent(clean, others), [1.0, 0.0, 0.0])


def test_confidence_change_follows_the_clean_winner() -> None:
    clean = rows([0.7, 0.2, 0.1], [0.1, 0.2, 0.7])
    others = rows([0.1, 0.8, 0.1], [0.05, 0.05, 0.9])
    np.testing.assert_allclose(confidence_change(clean, others), [-0.6, 0.2], atol=1e-6)
    np.testing.assert_allclose(confidence_change(clean[:1], others), [-0.6, -0.65], atol=1e-6)


# --- intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.308), (9, 10, 0.555, 0.997), (10, 10, 0.692, 1.0), (5, 10, 0.187, 0.813)],
)
def test_the_interval_of_a_rate_has_the_published_bounds(
    successes: int, trials: int, low: float, high: float
) -> None:
    interval = rate_interval(successes, trials)
    assert interval == pytest.approx((successes / trials, low, high), abs=5e-4)
    assert 0.0 <= interval.low <= interval.rate <= interval.high <= 1.0


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (11, 10), (-1, 10)])
def test_a_rate_refuses_impossible_counts_with_a_sentence(successes: int, trials: int) -> None:
    with pytest.raises(ParameterError, match=rf"at least one trial.*got {successes} of {trials}\."):
        rate_interval(successes, trials)
