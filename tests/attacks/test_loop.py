"""Laws that hold for every attack, and what the verified outcome says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import robustness as rb
from robustness.attacks import (
    NORMS,
    REGISTRY,
    AttackSpec,
    Outcome,
    adversarial,
    attack,
    craft,
    parse_epsilon,
)
from robustness.attacks.image import to_eight_bits
from robustness.attacks.record import State, Task
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.images.framing import Picture
from robustness.images.pixels import to_uint8
from robustness.models import Classifier

Images = NDArray[np.float32]
STEPS = 3
CASES = [
    (record.name, norm)
    for record in REGISTRY
    if record.name not in ("apgd", "autoattack_rand")  # ensembles of the members of autoattack
    for norm in (record.norms[:1] if record.members else record.norms)  # members: in every one
]
SIZE = {"linf": 2 / 255, "l2": 0.4}

every_attack = pytest.mark.parametrize(("name", "norm"), CASES)


@pytest.fixture(scope="module")
def squeezenet(classifiers: Mapping[str, Classifier]) -> Classifier:
    return classifiers["SqueezeNet"]


@pytest.fixture(scope="module")
def pictures(photographs: Images) -> list[Picture]:
    return [Picture.of(f"photo {place}", image) for place, image in enumerate(photographs)]


def quick(name: str, norm: str, **changes: float | None) -> AttackSpec:
    """The attack in few steps, at a size with which most succeed."""
    spec = AttackSpec.of(name, norm=norm, epsilon=SIZE[norm], steps=min(STEPS, _most(name)))
    return replace(spec, **changes)  # type: ignore[arg-type]


def _most(name: str) -> int:
    return REGISTRY[name].most_steps


def outcome(picture: Picture, classifier: Classifier, spec: AttackSpec) -> Outcome:
    *_, last = craft(picture, classifier, spec)
    assert isinstance(last, Outcome)
    return last


# --- laws -----------------------------------------------------------------------------------------


def test_from_python_an_attack_returns_the_image_that_a_run_measures(
    squeezenet: Classifier, pictures: list[Picture]
) -> None:
    levels = to_uint8(pictures[0].image)
    attack = rb.Condition.attack("pgd", epsilon=2 / 255, steps=STEPS)
    attacked = rb.adversarial(levels, f"pgd(epsilon=2/255,steps={STEPS})", squeezenet, seed=5)
    assert (attacked.shape, attacked.dtype) == (levels.shape, np.uint8)
    assert 0 < np.abs(attacked.astype(int) - levels).max() <= 2
    expected = attack.against(pictures[0], 5, squeezenet)
    np.testing.assert_array_equal(attacked, to_uint8(expected))
    batch = rb.adversarial(levels[None] / 255, attack, "SqueezeNet", labels=[285], seed=5)
    assert (batch.shape, batch.dtype) == ((1, *levels.shape), np.float64)
    labelled = replace(pictures[0], label=285)
    np.testing.assert_allclose(batch[0], attack.against(labelled, 5, squeezenet), atol=1e-6)
    for images, labels, reason in (
        (levels, [1000], "class"),
        (levels[:100], None, "square"),
        (levels, [1, 2], "label for each"),
    ):
        with pytest.raises(ParameterError, match=reason):
            rb.adversarial(images, attack, squeezenet, labels=labels)


@every_attack
def test_the_result_is_a_picture_within_epsilon(
    small: Classifier, thumbnails: Images, name: str, norm: str
) -> None:
    clean = thumbnails[:2].copy()
    spec = quick(name, norm)
    result = attack(small, clean, None, spec)
    np.testing.assert_array_equal(clean, thumbnails[:2])
    assert (result.shape, result.dtype) == (clean.shape, np.float32)
    assert result.min() >= 0
    assert result.max() <= 1
    order = {"linf": np.inf, "l2": 2}[norm]
    sizes = np.linalg.norm((result - clean).reshape(2, -1).astype(np.float64), order, axis=1)
    assert (sizes > 0).all()
    assert (sizes <= spec.epsilon * (1 + 1e-5)).all()


@every_attack
def test_a_result_does_not_depend_on_its_neighbours_and_repeats(
    small: Classifier, thumbnails: Images, name: str, norm: str
) -> None:
    spec = quick(name, norm)
    together = attack(small, thumbnails[1:3], None, spec)
    alone = attack(small, thumbnails[2:3], None, spec)
    np.testing.assert_array_equal(together[1:], alone)
    reseeded = attack(small, thumbnails[2:3], None, replace(spec, seed=1))
    assert np.array_equal(reseeded, alone) is not REGISTRY[name].random


@pytest.mark.parametrize(("name", "norm"), [("pgd", "linf"), ("deepfool", "l2"), ("apgd", "linf")])
def test_epsilon_0_returns_the_picture_unchanged(
    small: Classifier, little: list[Picture], name: str, norm: str
) -> None:
    spec = quick(name, norm, epsilon=0.0)
    clean = little[0].image[None]
    np.testing.assert_array_equal(attack(small, clean, None, spec), clean)
    found = outcome(little[0], small, spec)
    np.testing.assert_array_equal(found.image, little[0].image)
    assert (found.success, found.linf, found.l2, found.ssim) == (False, 0, 0, 1)
    assert not found.control.success


@pytest.mark.parametrize("name", [record.name for record in REGISTRY if record.targeted])
def test_a_targeted_attack_goes_to_its_target(
    small: Classifier, thumbnails: Images, name: str
) -> None:
    before = small(thumbnails[:1]).probabilities[0]
    target = int(before.argmin())
    spec = AttackSpec.of(name, target=target, epsilon=8 / 255, steps=min(100, _most(name)))
    after = small(attack(small, thumbnails[:1], None, spec)).probabilities[0]
    assert after[target] > 1.5 * before[target]
    if REGISTRY[name].white_box:
        assert after.argmax() == target


@pytest.mark.parametrize("minimal", [False, True])
def test_an_adversarial_picture_is_led_to_the_target_and_judged_by_it(
    small: Classifier,
    little: list[Picture],
    monkeypatch: pytest.MonkeyPatch,
    minimal: bool,
) -> None:
    """Its label says what it shows, which is not what a targeted attack is about."""
    mifgsm = REGISTRY["mifgsm"]

    def move(task: Task, state: State) -> Images:
        """Stays in range by itself, as every minimal attack does."""
        moved = mifgsm.move(task, state)
        assert moved is not None
        return np.clip(moved, 0, 1)

    record = replace(mifgsm, name="aimed", minimal=minimal, move=move)
    monkeypatch.setitem(REGISTRY._records, record.name, record)
    clean = little[0]
    before = small(clean.image[None]).probabilities[0]
    target = int(before.argmin())
    spec = AttackSpec.of("aimed", target=target, epsilon=8 / 255, steps=30)
    image = adversarial(small, clean.image, int(before.argmax()), spec, clean.digest)
    assert small(image[None]).probabilities.argmax() == target
    assert np.abs(image - clean.image).max() <= spec.epsilon * (1 + 1e-5)
    np.testing.assert_array_equal(image, outcome(clean, small, spec).image)


def test_more_restarts_never_find_less(small: Classifier, thumbnails: Images) -> None:
    images, classes = thumbnails[:1], small(thumbnails[:1]).probabilities.argmax(1)
    spec = quick("pgd", "linf", epsilon=0.5 / 255)
    leads = [
        small.gradients(attack(small, images, None, replace(spec, restarts=count)), classes).lead[0]
        for count in (1, 3)
    ]
    assert leads[1] >= leads[0]


def test_white_box_attacks_beat_noise(squeezenet: Classifier, pictures: list[Picture]) -> None:
    spec = AttackSpec.of("pgd", epsilon=1 / 255, steps=4)
    found = [outcome(picture, squeezenet, spec) for picture in pictures[:3]]
    assert all(one.success for one in found)
    assert sum(one.control.successes for one in found) < len(found) * found[0].control.draws / 2
    assert any(one.beats_noise for one in found)
    for one in found:
        assert one.control.linf == pytest.approx(one.linf, abs=1e-6)


# --- the outcome ----------------------------------------------------------------------------------


@every_attack
def test_an_outcome_is_about_the_8_bit_picture(
    small: Classifier, little: list[Picture], name: str, norm: str
) -> None:
    spec = quick(name, norm)
    found = outcome(little[1], small, spec)
    saved = to_uint8(found.image).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(saved, found.image)
    answer = small(saved[None]).probabilities[0]
    clean = small(little[1].image[None]).probabilities[0]
    assert (found.top1, found.clean_top1) == (answer.argmax(), clean.argmax())
    assert found.probability == answer.max()
    assert found.success == (answer.argmax() != clean.argmax())
    change = (saved - little[1].image).astype(np.float64)
    assert found.linf == pytest.approx(np.abs(change).max(), rel=1e-5)
    assert found.l2 == pytest.approx(np.linalg.norm(change), rel=1e-5)
    assert {"linf": found.linf, "l2": found.l2}[norm] <= spec.epsilon * (1 + 1e-5)


@pytest.mark.parametrize("norm", NORMS.names)
def test_rounding_stays_within_epsilon_of_any_clean_picture(norm: str) -> None:
    random = np.random.default_rng(0)
    clean = random.random((3, 16, 16, 3), np.float32)
    clean[1] = np.rint(clean[1] * 255) / 255
    sizes = np.array([3 / 255, 3 / 255, 0.4 / 255], np.float32)
    if norm == "l2":
        sizes *= np.float32(np.sqrt(clean[0].size))
    draw = NORMS[norm].noise
    changes = np.stack([draw(random, clean.shape[1:]) for _ in clean]) * sizes[:, None, None, None]
    images = np.clip(clean + changes, 0, 1)
    rounded = to_eight_bits(clean, images, NORMS[norm], sizes)
    np.testing.assert_array_equal(np.rint(rounded * 255).astype(np.float32) / 255, rounded)
    allowed = np.maximum(sizes, 0.51 / 255 if norm == "linf" else 0.3 / 255 * 16 * np.sqrt(3))
    assert (NORMS[norm].size(rounded - clean) <= allowed * (1 + 1e-4)).all()
    if norm == "linf":  # what 8 bits can hold whole stays whole
        np.testing.assert_allclose(rounded[1], images[1], atol=1e-6)


def test_a_denoiser_undoes_the_attack_that_does_not_know_it(
    squeezenet: Classifier, pictures: list[Picture]
) -> None:
    """As Athalye, Carlini & Wagner (ICML 2018) found of such defences."""
    picture, spec = pictures[0], AttackSpec.of("pgd", epsilon=1 / 255)
    defended = squeezenet.with_remedies("median")
    own = defended(picture.image[None]).probabilities.argmax()
    blind = outcome(picture, squeezenet, spec)
    assert blind.success
    assert defended(blind.image[None]).probabilities.argmax() == own
    assert outcome(picture, defended, spec).success


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [-0.01, 1.01, float("nan")])
def test_an_epsilon_out_of_range_is_refused(epsilon: float) -> None:
    with pytest.raises(ParameterError, match=r"between 0 and 1, .* usual one is 8/255\."):
        AttackSpec.of("pgd", epsilon=epsilon)
    assert AttackSpec.of("pgd", norm="l2", epsilon=3).epsilon == 3
    with pytest.raises(ParameterError, match=r"in L2 between 0 and 100, .* is 1/2\."):
        AttackSpec.of("pgd", norm="l2", epsilon=101)


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.03", 0.03)])
def test_epsilon_is_a_number_or_a_fraction(text: str, value: float) -> None:
    assert parse_epsilon(text) == value


@pytest.mark.parametrize("text", ["", "8/0", "1/2/3", "nan/1"])
def test_other_words_for_epsilon_are_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="Expected an epsilon"):
        parse_epsilon(text)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("pdg", {}, "Did you mean 'pgd'"),
        ("pgd", {"norm": "l1"}, "no norm called 'l1'"),
        ("pgd", {"steps": 0}, "1 to 500 steps, got 0"),
        ("fgsm", {"steps": 2}, "takes 1 step, got 2"),
        ("pgd", {"restarts": 0}, "1 to 100 restarts"),
        ("fgsm", {"restarts": 2}, "no random start"),
        ("deepfool", {"target": 3}, "cannot aim at a class"),
        ("pgd", {"seed": -1}, "seed must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    name: str, changes: dict[str, int], message: str
) -> None:
    with pytest.raises((ParameterError, UnknownNameError), match=message):
        AttackSpec.of(name, **changes)  # type: ignore[arg-type]


def test_a_target_must_exist_and_be_another_class(
    squeezenet: Classifier, pictures: list[Picture]
) -> None:
    own = int(squeezenet(pictures[0].image[None]).probabilities.argmax())
    for target, message in ((own, "already"), (1000, "from 0 to 999")):
        with pytest.raises(ParameterError, match=message):
            outcome(pictures[0], squeezenet, quick("pgd", "linf", target=target))


def test_pictures_of_another_shape_and_labels_of_no_class_are_refused(
    squeezenet: Classifier, photographs: Images
) -> None:
    for images in (photographs[0], photographs[:, :200], photographs[:0]):
        with pytest.raises(ParameterError, match="expects images of shape"):
            attack(squeezenet, images, np.array([1]))
    for label in (-1, 1000):
        with pytest.raises(ParameterError, match="from 0 to 999"):
            attack(squeezenet, photographs[:1], np.array([label]))
