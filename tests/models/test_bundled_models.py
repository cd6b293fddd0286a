"""Bundled models, which are built in OpenVINO: Keras' network of the same definition is the oracle,
and a first start needs no TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.support.repository import ROOT
from robustness import models
from robustness.models.frameworks import keras
from robustness.models.keras import load_network
from tests.conftest import OFFLINE_NAMES
from tests.support.preparing import prepared

FIRST_PASSES = """
import sys
import numpy as np
from robustness import models

images = np.zeros((1, 224, 224, 3), np.float32)
for name in sys.argv[1:]:
    assert models.load(name)(images).probabilities.shape == (1, 1000)
assert not {"tensorflow", "keras"} & sys.modules.keys()
"""
REFUSED = "raise ImportError('TensorFlow is not needed for a bundled model')"


@pytest.mark.parametrize("name", ["SqueezeNet", "EfficientNetLite0"])
def test_it_answers_as_keras_does(name: str, photographs: NDArray[np.float32]) -> None:
    record = models.REGISTRY[name]
    network, stages = load_network(record)
    layers = [network.get_layer(layer).output for _, layer in stages]
    tapped = keras().Model(network.input, [network.output, *layers])
    found = tapped(prepared(record.normalisation, photographs), training=False)
    probabilities, *activations = (np.asarray(values) for values in found)

    outputs = models.load(name)(photographs)
    assert np.abs(outputs.probabilities - probabilities).max() <= 1e-5
    for (stage, values), expected in zip(outputs.features.items(), activations, strict=True):
        if expected.ndim == 4:
            expected = expected.mean(axis=(1, 2))
        assert np.abs(values - expected).max() <= 1e-4 * np.abs(expected).max(), stage


def test_first_passes_on_a_machine_import_no_tensorflow(tmp_path: Path) -> None:
    """In no process: one that imports it would fail."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(REFUSED)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "ROBUSTNESS_CACHE": str(tmp_path / "cache"),
    }
    python = [sys.executable, "-c", FIRST_PASSES, *OFFLINE_NAMES]
    ended = subprocess.run(python, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
