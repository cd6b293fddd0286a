"""Models that are another with a temperature: described in two lines, and used like any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import models
from robustness.attacks import AttackSpec, attack
from robustness.base.errors import ParameterError
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing, study_image
from robustness.models import Classifier, own
from robustness.models.check import check_model
from robustness.models.heat_map import heat_maps
from robustness.models.training import GraphTrainer

Images = NDArray[np.float32]


def described(folder: Path, text: str = '[calm]\nof = "SqueezeNet"\ntemperature = 1.7\n') -> None:
    (folder / "models.toml").write_text(text)
    own.refresh()


def softened(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    powers = probabilities.astype(np.float64) ** (1 / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_two_lines_describe_a_model_that_differs_by_its_probabilities_alone(
    models_folder: Path, classifiers: Mapping[str, Classifier], photographs: Images
) -> None:
    described(models_folder)
    record, base = models.REGISTRY["calm"], models.REGISTRY["SqueezeNet"]
    assert (record.labels(), record.framing, record.weights) == (
        base.labels(),
        base.framing,
        base.weights,
    )
    assert models.digest(record) == f"{models.digest(base)}+temperature=1.7"
    assert "calm" not in models.default_names()
    before, after = (models.load(name)(photographs) for name in ("SqueezeNet", "calm"))
    assert models.load("calm").graph is models.load("SqueezeNet").graph
    expected = softened(before.probabilities, 1.7)
    np.testing.assert_allclose(after.probabilities, expected, atol=1e-6)
    for stage, features in before.features.items():
        assert np.array_equal(after.features[stage], features)
    assert check_model("calm", timing=False).state == "ok"
    mine, theirs = (
        heat_maps(models.load(name), photographs[:1], 967) for name in ("calm", "SqueezeNet")
    )
    assert np.array_equal(mine.values, theirs.values)


def test_a_new_title_is_that_of_the_loaded_model(models_folder: Path) -> None:
    described(models_folder)
    assert models.load("calm").record.label == "calm"
    described(models_folder, '[calm]\nof = "SqueezeNet"\ntemperature = 3\ntitle = "Calm"\n')
    assert models.load("calm").record.label == "Calm"
    assert models.load("calm").record.temperature == 3


def test_its_gradient_is_that_of_the_softened_log_odds(
    models_folder: Path, photographs: Images
) -> None:
    described(models_folder)
    classifier, images = models.load("calm"), (photographs[:1] * 0.98 + 0.01).astype(np.float32)
    classes = classifier(images).probabilities.argmax(1).astype(np.int32)
    slope = classifier.gradients(images, classes)

    def log_odds(step: float) -> float:
        moved = (images + step * np.sign(slope.gradient)).astype(np.float32)
        p = float(classifier(moved).probabilities[0, classes[0]].astype(np.float64))
        return float(np.log((1 - p) / p))

    assert slope.lead[0] == pytest.approx(log_odds(0), abs=1e-4)
    step = 1e-4
    measured = (log_odds(step) - log_odds(-step)) / (2 * step)
    assert measured == pytest.approx(float(np.abs(slope.gradient).sum()), rel=0.1)
    twice = classifier.with_remedies("temperature=2").gradients(images, classes)
    base = models.load("SqueezeNet").gradients(images, classes)
    np.testing.assert_allclose(twice.scores, base.scores / 3.4, rtol=1e-4)


def test_its_base_is_trained_in_its_place(models_folder: Path) -> None:
    described(models_folder)
    with pytest.raises(ParameterError, match=r"train SqueezeNet 1\.1"):
        GraphTrainer(models.load("calm"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('of = "calm"\ntemperature = 2', "calibrated"),
        ('of = "nothing"\ntemperature = 2', "which does not exist"),
        ('of = "SqueezeNet"\ntemperature = 0', "temperature"),
        ('of = "SqueezeNet"\ntemperature = 2\npath = "a.onnx"', "path"),
    ],
)
def test_what_cannot_be_calibrated_is_one_sentence(
    models_folder: Path, text: str, problem: str
) -> None:
    with pytest.raises(ParameterError, match=problem) as refused:
        described(models_folder, f'[calm]\nof = "SqueezeNet"\ntemperature = 1.7\n[other]\n{text}\n')
    assert "\n" not in str(refused.value)


def test_a_base_in_use_is_not_removed(models_folder: Path) -> None:
    table = "\n".join(
        ['path = "a.onnx"', 'labels = "imagenet"', "input_size = 32", 'normalisation = "0..1"']
    )
    described(models_folder, f'[own]\n{table}\n[calm]\nof = "own"\ntemperature = 1.7\n')
    assert models.REGISTRY["calm"].base == models.REGISTRY["own"]
    with pytest.raises(ParameterError, match="Remove 'calm' first"):
        own.remove("own")
    assert "own" in models.REGISTRY
    own.remove("calm")
    own.remove("own")
    assert not {"own", "calm"} & set(models.REGISTRY.names)


def test_a_variant_has_a_preprocessing_of_its_own(models_folder: Path) -> None:
    (models_folder / "models.toml").write_text('[large]\nof = "EfficientNetLite1"\nside = 240\n')
    own.refresh()
    large, base = models.REGISTRY["large"], models.REGISTRY["EfficientNetLite1"]
    assert (large.framing, base.framing) == (Framing(side=240), Framing())
    image = study_image(sample_bytes("coffee"), large.framing)[None]
    expected = models.load(base.name, side=240)(image).probabilities
    np.testing.assert_allclose(models.load("large", side=240)(image).probabilities, expected, 1e-5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "expected a temperature, a side"),
        ('interpolation = "best"', "no interpolation called"),
        ('resize = ["pil"]', "resize"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(models_folder: Path, keys: str, message: str) -> None:
    (models_folder / "models.toml").write_text(f'[other]\nof = "SqueezeNet"\n{keys}\n')
    with pytest.raises(ParameterError, match=message):
        own.refresh()


@pytest.mark.parametrize("copied", ["calm", "SqueezeNet"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_copy_takes_the_attacks_of_its_original(
    models_folder: Path, photographs: Images, copied: str, norm: str
) -> None:
    """Both have one order of classes, so what fools one of them fools the other."""
    described(models_folder)
    spec = AttackSpec.of("pgd", norm=norm, steps=6)
    original = models.load("SqueezeNet")
    copy = models.load(copied)
    if copied == "SqueezeNet":
        copy = copy.with_remedies("temperature=0.4")
    images = photographs[:2]
    mine, theirs = (attack(classifier, images, spec=spec) for classifier in (copy, original))
    assert np.array_equal(mine, theirs)
    assert not np.array_equal(mine, images)
