"""Models of one's own on OpenVINO: converted once, anew when they change, or left to TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import GradientError
from robustness.models import Classifier, conversion, loaded, own
from robustness.models.check import limitations
from robustness.models.frameworks import keras, tensorflow
from tests.support.user_models import describe, small_network

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PICTURES = np.random.default_rng(7).random((5, 8, 8, 3), np.float32)


@pytest.fixture(autouse=True)
def opened(tmp_path: Path, models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were converted; the cache is empty."""
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path / "cache"))
    names: list[str] = []
    real = loaded.convert

    def convert(record: models.ModelRecord, *arguments: Any) -> Any:
        names.append(record.name)
        return real(record, *arguments)

    monkeypatch.setattr(loaded, "convert", convert)
    return names


def started_anew(folder: Path, **changes: Any) -> Classifier:
    """The model as a process loads it that has just started."""
    describe(folder, **changes)
    own.refresh()
    loaded.LOADED.release("digits")
    return models.load("digits", side=8)


def refusal() -> str:
    record = models.REGISTRY["digits"]
    converted = conversion.conversion(record, models.digest(record), 8)
    return converted.refusal if converted else ""


def answers(network: Any, pictures: NDArray[np.float32] = PICTURES) -> NDArray[np.float32]:
    return np.asarray(network(pictures, training=False))


def test_it_is_converted_once_and_anew_when_it_changes(
    models_folder: Path, opened: list[str]
) -> None:
    network = small_network()
    network.save(models_folder / "digits.keras")
    first = started_anew(models_folder)
    assert first.engine.startswith("openvino")
    again = started_anew(models_folder)
    assert again is not first
    assert opened == ["digits"], "the second time it was read"
    np.testing.assert_array_equal(again(PICTURES).probabilities, first(PICTURES).probabilities)
    np.testing.assert_allclose(first(PICTURES).probabilities, answers(network), atol=1e-6)

    stages = started_anew(models_folder, features=["conv2"])
    assert stages.stages == ("conv2",)
    assert len(opened) == 2

    dark = started_anew(models_folder, normalisation="0..255")
    # Of larger values single precision leaves too little to compare.
    faint = PICTURES / np.float32(16)
    np.testing.assert_allclose(dark(faint).probabilities, answers(network, faint * 255), atol=1e-5)
    assert len(opened) == 3

    (models_folder / "others.txt").write_text("\n".join("abcdefghij"))
    started_anew(models_folder, labels="others.txt")
    assert len(opened) == 4

    started_anew(models_folder)
    assert len(opened) == 4, "as at first"
    other = small_network()
    other.save(models_folder / "digits.keras")
    changed = models.load("digits", side=8)(PICTURES).probabilities  # while the first one is loaded
    np.testing.assert_allclose(changed, answers(other), atol=1e-6)
    assert np.abs(changed - first(PICTURES).probabilities).max() > 1e-4
    assert len(opened) == 5


def save(folder: Path, network: Any) -> None:
    """A SavedModel of ``network`` behind a resizing that OpenVINO cannot convert."""
    tf = tensorflow()

    def answer(images: Any) -> Any:
        images = tf.image.resize(tf.image.resize(images, (12, 12), "bicubic"), (8, 8))
        return network(images, training=False)

    module = tf.Module()
    module.network = network
    signature = [tf.TensorSpec((None, 8, 8, 3), tf.float32, name="images")]
    module.answer = tf.function(answer, input_signature=signature)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.answer})


def test_a_saved_model_only_predicts_where_openvino_lacks_an_operation(
    models_folder: Path, opened: list[str]
) -> None:
    network = small_network()
    save(models_folder / "saved", network)
    resize = tensorflow().image.resize
    pictures: Any = resize(resize(PICTURES, (12, 12), "bicubic"), (8, 8))
    for _ in range(2):
        classifier = started_anew(models_folder, path="saved")
        outputs = classifier(PICTURES)
        np.testing.assert_allclose(outputs.probabilities, answers(network, pictures), atol=1e-6)
        np.testing.assert_allclose(outputs.features["answer"], outputs.probabilities, atol=1e-6)
        assert classifier.engine == f"tensorflow {tensorflow().__version__}"
        assert "\n" not in refusal()
        assert "ResizeBicubic" in refusal()
        assert len(opened) == 1, "refused once"
    assert np.abs(answers(network, pictures) - answers(network)).max() > 1e-4
    with pytest.raises(GradientError, match="ResizeBicubic"):
        classifier.gradients  # noqa: B018
    (limit,) = (limit for limit in limitations(classifier.record) if "Predictions only" in limit)
    assert "by TensorFlow: " in limit


def test_half_precision_that_openvino_computes_otherwise_stays_with_tensorflow(
    models_folder: Path,
) -> None:
    keras().config.set_dtype_policy("mixed_float16")
    try:
        network = small_network(activation=None)
    finally:
        keras().config.set_dtype_policy("float32")
    head = network.get_layer("head")
    kernel, bias = head.get_weights()
    head.set_weights([kernel, bias + 1000])  # where half precision goes in steps of a half
    network.save(models_folder / "digits.keras")
    classifier = started_anew(models_folder, output="logits")
    outputs = classifier(PICTURES)
    assert "OpenVINO's probabilities differ from TensorFlow's by" in refusal()
    assert classifier.engine.startswith("tensorflow")
    assert outputs.probabilities.dtype == np.float32
    steps = 2 * np.log(outputs.probabilities / outputs.probabilities[:, :1])
    assert np.abs(steps - steps.round()).max() < 1e-3, "its own logits, as it rounds them"
    assert np.abs(steps).max() > 0.5
