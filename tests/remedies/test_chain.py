"""Laws that every remedy obeys, and views and combinations against computations by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import robustness as rb
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.images.pixels import to_uint8
from robustness.models import REGISTRY as MODELS
from robustness.models import Classifier
from robustness.models.passes import ChainGradients, chain_outputs, ensemble
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import Images, apply
from robustness.remedies import ON_IMAGE, REGISTRY, Remedy, parse, parse_all, python
from robustness.remedies.chain import GATED, ON_PREDICTION
from tests.support.oracles import photos

PHOTOS = photos("coffee", "astronaut")[:, ::2, ::2].copy()

on_image = pytest.mark.parametrize(
    "record", [r for r in REGISTRY if r.kind in (ON_IMAGE, GATED)], ids=lambda record: record.name
)
on_prediction = pytest.mark.parametrize(
    "record", [r for r in REGISTRY if r.kind == ON_PREDICTION and r.views], ids=lambda r: r.name
)


def perturbed(name: str, strength: float) -> Images:
    return apply(PERTURBATIONS[name], PHOTOS, strength)


def distance(first: Images, second: Images) -> float:
    return float(np.abs(first - second).mean())


@on_image
def test_a_remedied_image_is_a_study_image_and_the_same_each_time(record: Remedy) -> None:
    for images in (PHOTOS, np.zeros_like(PHOTOS), np.ones_like(PHOTOS)):
        before = images.copy()
        found = parse(record.name).images(images)
        assert (found.shape, found.dtype) == (images.shape, np.float32)
        assert np.array_equal(found, to_uint8(found) / np.float32(255))
        assert np.array_equal(images, before)
        assert np.array_equal(found[1:], parse(record.name).images(images[1:]))


@on_image
def test_a_remedy_changes_originals_no_more_than_it_says(record: Remedy) -> None:
    images = photos("coffee", "astronaut")
    found = parse(record.name).images(images)
    if record.gate is not None:
        assert np.array_equal(found, images)
    elif record.original is not None:
        for image, changed in zip(images, found, strict=True):
            assert distance(image, changed) <= record.original


@pytest.mark.parametrize(
    ("name", "perturbation"),
    [
        ("median", "impulse_noise"),
        ("median_if_impulsive", "impulse_noise"),
        ("non_local_means", "gaussian_noise"),
        ("autocontrast", "contrast"),
        ("autocontrast_if_flat", "contrast"),
        ("gamma", "darkness"),
    ],
)
def test_a_remedy_brings_an_image_nearer_to_its_original(name: str, perturbation: str) -> None:
    images = perturbed(perturbation, 0.5 if name != "non_local_means" else 0.05)
    assert distance(parse(name).images(images), PHOTOS) < 0.9 * distance(images, PHOTOS)


@on_image
def test_its_code_gives_the_same_image_without_this_package(record: Remedy) -> None:
    namespace: dict[str, Any] = {}
    code = python(parse(record.name))
    assert "robustness" not in code
    exec(code, namespace)
    assert "RGB image, uint8 (H, W, 3)" in namespace["remedied"].__doc__
    image = to_uint8(perturbed("impulse_noise", 0.5)[0])
    assert np.array_equal(namespace["remedied"](image), rb.remedy(record.name, image))


@on_image
def test_an_image_may_be_one_pixel_wide_or_high(record: Remedy) -> None:
    for shape in ((1, 1, 3), (1, 9, 3)):
        assert rb.remedy(record.name, np.zeros(shape, np.uint8)).shape == shape


def test_flips_turns_and_crops_are_what_numpy_makes_them() -> None:
    flipped = parse("flip").views(PHOTOS)
    assert np.array_equal(flipped[0], PHOTOS)
    assert np.array_equal(flipped[1], PHOTOS[:, :, ::-1])
    for turn, found in enumerate(parse("upright").views(PHOTOS)):
        assert np.array_equal(found, np.rot90(PHOTOS, turn, axes=(1, 2)))
    cube = np.zeros((1, 112, 112, 3), np.float32)
    cube[0, :8, :8] = 1  # only the upper left crop has most of a corner
    levels = [view[0, :2, :2].mean() for view in parse("five_crops").views(cube)]
    assert levels.index(max(levels)) == 1


@on_prediction
def test_gradients_of_views_lead_back_to_the_pixels_they_come_from(record: Remedy) -> None:
    chain = parse(record.name)
    spot = np.zeros((1, 112, 112, 3), np.float32)
    spot[0, 30:36, 50:56] = 1
    views = chain.views(spot)
    back = chain.back(views)[0, ..., 0]
    place = np.unravel_index(back.argmax(), back.shape)
    assert abs(place[0] - 33) <= 4
    assert abs(place[1] - 53) <= 4


def answer(images: Images) -> tuple[Any, dict[str, Any]]:
    """Probabilities of three classes by the mean of the upper left, right and lower quarter."""
    half = images.shape[1] // 2
    means = [images[:, :half, :half], images[:, :half, half:], images[:, half:]]
    logits = np.stack([8 * each.mean(axis=(1, 2, 3)) for each in means], axis=1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return shares.astype(np.float32), {"stage": logits.astype(np.float32)}


def test_a_flip_averages_probabilities_and_features() -> None:
    found, features = chain_outputs(parse("median+flip"), [answer], PHOTOS)
    before = parse("median").images(PHOTOS)
    sides = [answer(each) for each in (before, before[:, :, ::-1])]
    assert np.allclose(found, (sides[0][0] + sides[1][0]) / 2, atol=1e-6)
    assert np.allclose(features["stage"], (sides[0][1]["stage"] + sides[1][1]["stage"]) / 2)


def test_upright_turns_only_where_a_turn_is_surer_by_the_margin() -> None:
    chain = parse("upright")
    sure = [[0.5, 0.4], [0.69, 0.4], [0.1, 0.9], [0.2, 0.6]]
    probabilities = np.stack([np.array(sure), 1 - np.array(sure)], axis=2) * 0.5
    assert chain.weights(probabilities[..., :1].astype(np.float32)).argmax(axis=0).tolist() == [
        0,
        2,
    ]


def test_average_and_vote_of_models_are_those_by_hand() -> None:
    answers = np.array([[[0.6, 0.4, 0.0]], [[0.0, 0.55, 0.45]], [[0.35, 0.34, 0.31]]], np.float32)
    assert np.allclose(ensemble(answers, vote=False), answers.mean(axis=0))
    assert ensemble(answers, vote=False).argmax() == 1
    voted = ensemble(answers, vote=True)
    assert voted.argmax() == 0  # two of three, whatever the mean
    assert voted.max() == pytest.approx(2 / 3, abs=5e-4), "the share of the votes"
    tied = ensemble(answers[:2], vote=True)
    assert tied.argmax() == 1
    assert tied.sum() == pytest.approx(1)


@pytest.mark.parametrize("value", [0.05, 1.7])
def test_a_temperature_divides_logits_and_changes_no_top_class(value: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (500, 40)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities[:100, 7] = 0  # underflow
    probabilities[100:200, 1] = np.nextafter(probabilities[100:200, 0], np.float32(2))
    probabilities[100:200, 2:] *= np.float32(1e-3)
    chain = parse(f"temperature={value}")
    found = chain.tempered(probabilities)
    assert found.dtype == np.float32
    assert np.array_equal(found.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    powers = probabilities.astype(np.float64) ** (1 / value)
    np.testing.assert_allclose(
        found[200:], (powers / powers.sum(1, keepdims=True))[200:], atol=1e-6
    )


def test_a_chain_with_a_temperature_reads_back() -> None:
    for text in ("temperature=1.7", "median+temperature=2", "temperature=0.123456789"):
        chain = parse(text)
        assert chain.id == text
        assert parse(chain.id) == chain
    assert parse("temperature=1.70") == parse("temperature=1.7")
    assert not parse("temperature=1.7").on_image
    before = parse("median").images(PHOTOS)
    found, features = chain_outputs(parse("median+temperature=2"), [answer], PHOTOS)
    plain = answer(before)
    assert np.allclose(found, parse("temperature=2").tempered(plain[0]))
    assert np.array_equal(features["stage"], plain[1]["stage"])


@pytest.mark.parametrize(
    "text",
    [
        "temperature",
        "temperature=hot",
        "temperature=nan",
        "temperature=1e9",
        "temperature=2+median",
        "median=3",
    ],
)
def test_a_temperature_that_is_none_is_one_sentence(text: str) -> None:
    with pytest.raises(ParameterError) as refused:
        parse(text)
    assert "\n" not in str(refused.value)


def slope(images: Images, *_: object, **__: object) -> Any:
    """A slope at one pixel."""
    from robustness.models.engine import Slope

    gradient = np.zeros_like(images)
    gradient[:, 10, 20] = 1
    return Slope(images.mean((1, 2, 3)), images.mean((1, 2)), gradient)


def model(
    side: int = 112, name: str = "SqueezeNet", key: str = "", climbed: Any = slope
) -> Classifier:
    class Forward:
        stages, engine, exact = ("stage",), "", True

        def __call__(self, images: Images) -> Any:
            return answer(images)

    network: Any = SimpleNamespace(gradients=climbed)
    forward: Any = Forward()
    return Classifier(MODELS[name], forward, lambda: network, side, key)


def test_slopes_come_from_every_view_by_its_weight() -> None:
    chain = parse("flip")
    found = ChainGradients([slope], chain, lambda images: answer(images)[0])(  # type: ignore[list-item]
        PHOTOS, np.zeros(2, np.int32)
    )
    assert found.gradient[0, 10, 20, 0] == pytest.approx(0.5)
    assert found.gradient[0, 10, 112 - 1 - 20, 0] == pytest.approx(0.5)
    assert np.allclose(found.lead, PHOTOS.mean((1, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("remedies", [("flip", "median"), ("median", "flip")])
def test_slopes_behind_two_layers_of_remedies_come_from_the_views_of_both(
    remedies: tuple[str, str],
) -> None:
    inner, outer = remedies
    found = model().with_remedies(inner).with_remedies(outer)
    gradient = found.gradients(PHOTOS, np.zeros(2, np.int32)).gradient
    assert gradient[0, 10, 20, 0] == gradient[0, 10, 112 - 1 - 20, 0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("remedies", "others", "told"),
    [
        (["median", 5], [], "names of remedies"),
        (7, [], "names of remedies"),
        ("average", [], "other models"),
        ("median", [model()], "no other models"),
        ("vote", [model(side=96)], "same side"),
    ],
)
def test_remedies_that_do_not_suit_a_model_are_one_sentence(
    remedies: Any, others: list[Classifier], told: str
) -> None:
    with pytest.raises(ParameterError, match=told):
        model().with_remedies(remedies, others)


def test_the_key_behind_an_average_names_all_its_models() -> None:
    first, *others = (model(key=key) for key in "abc")
    keys = {first.with_remedies("average", [other]).key for other in others}
    assert len(keys) == 2
    assert "" not in keys
    assert first.with_remedies("average", [model()]).key == ""


def test_an_attack_on_models_together_climbs_the_mean_of_their_slopes() -> None:
    def steeper(images: Images, *_: object) -> Any:
        return replace(slope(images), gradient=np.full_like(images, 5))

    ensemble = model().with_remedies("average", [model(climbed=steeper)])
    found = ensemble.gradients(PHOTOS, np.zeros(2, np.int32))
    assert found.gradient[0, 10, 20, 0] == pytest.approx((1 + 5) / 2)
    assert found.gradient[0, 0, 0, 0] == pytest.approx((0 + 5) / 2)


def test_texts_read_back_and_say_what_is_wrong() -> None:
    chains = parse_all("median, autocontrast+tta,median")
    assert [chain.id for chain in chains] == ["median", "autocontrast+tta"]
    with pytest.raises(ParameterError, match="at the end"):
        parse("tta+median")
    with pytest.raises(ParameterError, match="at most 8"):
        parse("+".join(["non_local_means"] * 9))
    with pytest.raises(UnknownNameError, match="median"):
        parse("medain")
    with pytest.raises(ParameterError, match="with_remedies"):
        rb.remedy("tta", PHOTOS)


def test_the_python_face_keeps_shape_and_type() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (2, 40, 60, 3), np.uint8)
    found = rb.remedy("median", wide)
    assert found.dtype == np.uint8
    assert found.shape == wide.shape
    single = rb.remedy("median", wide[0] / 255.0)
    assert np.allclose(single, found[0] / 255.0)
    assert REGISTRY["median"].kind == ON_IMAGE
