"""The compiled pass forward and back that attacks climb along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.support.keras_classifiers import keras_classifier
from robustness import models
from robustness.attacks import AttackSpec, attack
from robustness.attacks.loop import leads
from robustness.base.errors import GradientError
from robustness.models import Classifier, own
from robustness.models.frameworks import keras, tensorflow
from robustness.models.record import Labels
from tests.support.user_models import describe, digits_images, small_network

LETTERS = Labels("letters", tuple("abcdefghij"))

# Keras' own writer of the .keras file.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Images = NDArray[np.float32]


def described(models_folder: Path, **changes: Any) -> Classifier:
    describe(models_folder, **changes)
    own.refresh()
    return models.load("digits", side=8)


def with_dense_head() -> Classifier:
    """A small network that ends as EfficientNet-Lite does; SqueezeNet has a layer for its softmax.

    Its logits are some units apart, as trained ones are.
    """
    keras().utils.set_random_seed(0)
    network = small_network()
    head = network.get_layer("head")
    head.set_weights([10 * head.get_weights()[0], head.get_weights()[1]])
    record = replace(models.REGISTRY["EfficientNetLite0"], input_size=8, labels=lambda: LETTERS)
    return keras_classifier(record, network, (("vector", "pool2"),), side=8)


@pytest.mark.parametrize("name", ["SqueezeNet", "one with a dense head"])
def test_the_lead_is_the_log_odds_and_its_gradient_the_slope(
    classifiers: Mapping[str, Classifier], photographs: Images, name: str
) -> None:
    if name == "SqueezeNet":
        classifier, images = classifiers[name], photographs[:2]
    else:
        classifier, images = with_dense_head(), digits_images()[0][:2] * np.float32(0.9) + 0.05
    probabilities = classifier(images).probabilities.astype(np.float64)
    classes = probabilities.argmax(1).astype(np.int32)
    slope = classifier.gradients(images, classes)
    p = probabilities[[0, 1], classes]
    np.testing.assert_allclose(slope.lead, np.log((1 - p) / p), atol=1e-4)
    from_answers = leads(np.log(classifier(images).probabilities), classes)
    np.testing.assert_allclose(from_answers, slope.lead, atol=1e-4)
    direction = np.sign(slope.gradient) * np.float32(1e-4)
    ahead, behind = (
        classifier.gradients(images + way * direction, classes).lead for way in (1, -1)
    )
    expected = 2 * (slope.gradient * direction).sum((1, 2, 3))
    np.testing.assert_allclose(ahead - behind, expected, rtol=0.1)


def test_a_single_rival_s_lead_is_the_difference_of_scores(
    classifiers: Mapping[str, Classifier], photographs: Images
) -> None:
    classes, rivals = np.array([967, 967], np.int32), np.array([968, 504], np.int32)
    slope = classifiers["SqueezeNet"].gradients(photographs[[0, 0]], classes, rivals)
    expected = slope.scores[[0, 1], rivals] - slope.scores[[0, 1], classes]
    np.testing.assert_allclose(slope.lead, expected, rtol=1e-6)
    assert not np.array_equal(slope.gradient[0], slope.gradient[1])


def test_gradients_do_not_vanish_where_the_model_is_certain(models_folder: Path) -> None:
    """With large weights the probability of the answer rounds to 1."""
    keras().utils.set_random_seed(0)
    network = small_network(activation="softmax")
    head = network.get_layer("head")
    head.set_weights([1000 * head.get_weights()[0], head.get_weights()[1]])
    network.save(models_folder / "digits.keras")
    classifier = described(models_folder)
    images = digits_images()[0][:4]
    probabilities = classifier(images).probabilities
    assert (probabilities.max(1) > 0.999999).all()
    slope = classifier.gradients(images, probabilities.argmax(1).astype(np.int32))
    assert np.isfinite(slope.gradient).all()
    assert (np.abs(slope.gradient).max((1, 2, 3)) > 0).all()
    fooled = attack(classifier, images, None, AttackSpec.of("pgd", epsilon=0.5))
    assert (classifier(fooled).probabilities.argmax(1) != probabilities.argmax(1)).any()


def test_pixels_without_a_finite_slope_do_not_spoil_the_picture(models_folder: Path) -> None:
    """A root has none at 0, and half of the pixels of a digit are 0."""
    tf = tensorflow()
    keras().utils.set_random_seed(1)

    class Root(tf.Module):  # type: ignore[name-defined]
        network = small_network()

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32)])
        def serve(self, images: Any) -> Any:
            return self.network(tf.sqrt(images))

    module = Root()
    module.kept = module.network  # tracked, so that it is saved
    signatures = {"serving_default": module.serve.get_concrete_function()}
    tf.saved_model.save(module, str(models_folder / "root"), signatures=signatures)
    classifier = described(models_folder, path="root")
    images = digits_images()[0][:1]
    before = classifier(images).probabilities
    clean = before.argmax(1).astype(np.int32)
    gradient = classifier.gradients(images, clean).gradient
    assert np.isfinite(gradient).all()
    assert (gradient[images > 0] != 0).any()
    for name in ("pgd", "deepfool"):
        spec = AttackSpec.of(name, epsilon=0.3)
        changed = attack(classifier, images, None, spec)
        assert np.isfinite(changed).all(), spec
        after = classifier(changed).probabilities
        assert after[0, clean] < before[0, clean], spec


def test_a_model_without_gradients_gets_a_sentence_and_the_black_box_attack_goes_on(
    models_folder: Path,
) -> None:
    tf = tensorflow()

    class Steps(tf.Module):  # type: ignore[name-defined]
        """Answers by a pixel's value rounded down, which has no slope anywhere."""

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32)])
        def serve(self, images: Any) -> Any:
            level = tf.floor(10 * images[:, 0, 0, :1])
            return tf.nn.softmax(-tf.abs(level - tf.range(10, dtype=tf.float32)))

    module = Steps()
    signatures = {"serving_default": module.serve.get_concrete_function()}
    tf.saved_model.save(module, str(models_folder / "steps"), signatures=signatures)
    classifier = described(models_folder, path="steps")
    images = digits_images()[0][:1]
    with pytest.raises(GradientError, match="gives no gradients") as caught:
        attack(classifier, images)
    assert "\n" not in str(caught.value)
    with pytest.raises(GradientError):  # and again, not something else the second time
        attack(classifier, images)
    fooled = attack(classifier, images, None, AttackSpec.of("square", epsilon=0.5, steps=50))
    assert classifier(fooled).probabilities.argmax(1) != classifier(images).probabilities.argmax(1)
