"""The two engines' passes of one network: the same numbers, whoever asks and however often."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.support.repository import ROOT
from robustness.models.engine import Compiled
from robustness.models.frameworks import keras
from robustness.models.graph import StudyModel
from robustness.models.passes import ROWS_AT_ONCE, OpenVinoPass
from robustness.models.replay import ReplayedPass
from tests.support.preparing import in_tensorflow
from tests.support.small_graph import RECORD, images, small_graph, small_network

MANY = 2 * ROWS_AT_ONCE + 1
"""More than one inference takes, and no multiple of it."""


@pytest.fixture(scope="module")
def graph() -> StudyModel:
    return small_graph()


def compiled(graph: StudyModel) -> OpenVinoPass:
    return OpenVinoPass(graph.model, graph.stages)


@pytest.fixture(scope="module")
def openvino(graph: StudyModel) -> OpenVinoPass:
    return compiled(graph)


@pytest.fixture(scope="module")
def tensorflow(graph: StudyModel) -> ReplayedPass:
    return ReplayedPass(graph.model, graph.stages, "Small")


def by_keras(count: int) -> list[NDArray[np.float64]]:
    """Probabilities and the activations of every stage, by Keras itself."""
    network = small_network()
    layers = [network.get_layer(layer).output for _, layer in RECORD.stages]
    tapped = keras().Model(network.inputs, [*network.outputs, *layers])
    return [np.asarray(found, np.float64) for found in tapped(in_tensorflow(RECORD, images(count)))]


def assert_equal_by_stage(
    found: Mapping[str, NDArray[np.floating]], expected: Mapping[str, NDArray[np.floating]]
) -> None:
    """Within 1e-4 of the largest value of each stage."""
    assert list(found) == list(expected) == ["map", "tokens", "vector"]
    for stage, values in expected.items():
        assert found[stage].shape == values.shape, stage
        assert np.abs(found[stage] - values).max() <= 1e-4 * np.abs(values).max(), stage


def test_they_answer_the_same(openvino: OpenVinoPass, tensorflow: ReplayedPass) -> None:
    probabilities, features = openvino(images(MANY))
    expected, expected_features = tensorflow(images(MANY))
    assert probabilities.shape == (MANY, 10)
    assert np.abs(probabilities - expected).max() <= 1e-6
    assert np.abs(probabilities - by_keras(MANY)[0]).max() <= 1e-6
    assert probabilities.std(axis=0).max() > 1e-3, "the images are told apart"
    assert_equal_by_stage(features, expected_features)
    assert {stage: values.shape for stage, values in features.items()} == {
        "map": (MANY, 8),
        "tokens": (MANY, 32),
        "vector": (MANY, 32),
    }


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_an_answer_outlives_the_next_one(engine: str, request: pytest.FixtureRequest) -> None:
    forward = request.getfixturevalue(engine)
    probabilities, features = forward(images(3))
    before = probabilities.copy(), {stage: values.copy() for stage, values in features.items()}
    forward(1 - images(3))
    np.testing.assert_array_equal(probabilities, before[0])
    for stage, values in features.items():
        np.testing.assert_array_equal(values, before[1][stage])


def test_many_are_computed_beside_each_other_with_the_same_answers(graph: StudyModel) -> None:
    forward = compiled(graph)
    shown = images(MANY)
    ones = [forward(shown[place : place + 1]) for place in range(len(shown))]
    some = [forward(shown[start : start + 4]) for start in range(0, len(shown), 4)]
    probabilities, features = forward(shown)
    for parts in (ones, some):
        np.testing.assert_allclose(probabilities, np.concatenate([p for p, _ in parts]), atol=1e-6)
        for stage, values in features.items():
            expected = np.concatenate([f[stage] for _, f in parts])
            np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


def _threads(compiled: Compiled | None) -> int:
    assert compiled is not None
    return int(compiled._model.get_property("INFERENCE_NUM_THREADS"))


def test_a_share_of_one_core_is_kept_to(
    graph: StudyModel, openvino: OpenVinoPass, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    forward = compiled(graph)
    forward(images(1))
    assert _threads(forward._for_latency) == 1
    np.testing.assert_allclose(forward(images(3))[0], openvino(images(3))[0], atol=1e-6)
    assert _threads(forward._for_throughput) == 1


def test_openvino_tells_nobody_that_it_is_used() -> None:
    """Every import of it does; what it would report by cannot be imported before it can be."""
    with pytest.raises(ImportError, match="openvino_telemetry"):
        importlib.import_module("openvino_telemetry")
    rooms = ROOT / "robustness" / "models"  # importing any module of it silences OpenVINO first
    assert "\nfrom robustness.models.engine" in (rooms / "loaded.py").read_text()
    assert "\nfrom robustness.models.loaded" in (rooms / "__init__.py").read_text()
    for path in (ROOT / "robustness").rglob("*.py"):
        if not path.is_relative_to(rooms):
            assert not re.search(r"(import|from) openvino\b", path.read_text()), path


RACE = """
import sys, threading

from robustness.models.engine import core

def ask():
    together.wait()
    core()
    import openvino
    openvino.Type.f32.to_dtype()

sys.setswitchinterval(1e-6)
together = threading.Barrier(8)
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_first_passes_in_several_threads_do_not_stop_the_process() -> None:
    """As of a page and the warm-up: without a first call by itself this hangs every time."""
    subprocess.run([sys.executable, "-c", RACE], cwd=ROOT, check=True, timeout=240)
