"""Which engine runs, and in which precision: by the settings, else by what the machine has."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import ParameterError
from robustness.models import engine as choice
from robustness.models.engine import Choice, chosen
from robustness.models.frameworks import tensorflow
from robustness.models.replay import ReplayedPass

Floats = NDArray[np.float32]

SIDE = 64


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_gpu", lambda: False)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Choice("openvino", "f32")),
        ({"ENGINE": "tensorflow"}, Choice("tensorflow", "f32")),
        ({"ENGINE": "openvino", "PRECISION": "bf16"}, Choice("openvino", "bf16")),
    ],
)
def test_the_settings_say_so(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], expected: Choice
) -> None:
    monkeypatch.setattr(choice, "_has_bf16", lambda: True)
    for name, value in settings.items():
        monkeypatch.setenv(f"ROBUSTNESS_{name}", value)
    assert chosen() == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ENGINE": "openvno"}, r"'engine': expected .*got 'openvno'"),
        ({"PRECISION": "bf61"}, r"'precision': expected .*got 'bf61'"),
        (
            {"ENGINE": "tensorflow", "PRECISION": "bf16"},
            r"with the engine 'tensorflow', got 'bf16'",
        ),
    ],
)
def test_what_means_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], said: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"ROBUSTNESS_{name}", value)
    with pytest.raises(ParameterError, match=said) as caught:
        models.load("SqueezeNet", side=SIDE)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


# --- a GPU ----------------------------------------------------------------------------------------


def test_with_a_gpu_it_is_tensorflow_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_gpu", lambda: True)
    assert chosen() == Choice("tensorflow", "f32")
    monkeypatch.setenv("ROBUSTNESS_ENGINE", "openvino")
    assert chosen() == Choice("openvino", "f32")


# --- what comes of it -----------------------------------------------------------------------------


def test_another_engine_is_another_classifier_of_the_same_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.random.default_rng(0).random((5, SIDE, SIDE, 3), np.float32)
    default = models.load("SqueezeNet", side=SIDE)
    monkeypatch.setenv("ROBUSTNESS_ENGINE", "tensorflow")
    other = models.load("SqueezeNet", side=SIDE)
    assert other is models.load("SqueezeNet", side=SIDE)
    assert default.engine.endswith(", f32")
    assert default.engine.startswith("openvino 20")
    assert other.engine == f"tensorflow {tensorflow().__version__}, f32"
    assert isinstance(other.forward, ReplayedPass)
    expected = other(images)
    assert np.abs(default(images).probabilities - expected.probabilities).max() <= 1e-5
    for stage, features in expected.features.items():
        found = default(images).features[stage]
        assert np.abs(found - features).max() <= 1e-4 * np.abs(features).max(), stage
    monkeypatch.delenv("ROBUSTNESS_ENGINE")
    assert models.load("SqueezeNet", side=SIDE) is default


def test_half_precision_is_named_and_close(
    monkeypatch: pytest.MonkeyPatch, photographs: Floats
) -> None:
    if not choice._has_bf16():
        pytest.skip("this processor does not compute in bfloat16")
    exact = models.load("SqueezeNet")
    monkeypatch.setenv("ROBUSTNESS_PRECISION", "bf16")
    half = models.load("SqueezeNet")
    assert half is not exact
    assert half.engine == exact.engine.replace("f32", "bf16")
    expected, found = exact(photographs), half(photographs)
    assert found.probabilities.dtype == np.float32
    np.testing.assert_array_equal(found.probabilities.argmax(1), expected.probabilities.argmax(1))
    difference = np.abs(found.probabilities - expected.probabilities).max()
    assert 1e-5 < difference <= 0.05
    for stage, features in expected.features.items():
        change = np.linalg.norm(found.features[stage] - features, axis=1)
        assert (change <= 0.02 * np.linalg.norm(features, axis=1)).all(), stage
