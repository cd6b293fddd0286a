"""Vision Transformers, with KerasHub and a forward pass in NumPy as the oracles."""

from __future__ import annotations

import importlib.util
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from benchmarks.support.keras_classifiers import keras_classifier
from benchmarks.support.repository import ROOT
from robustness import models
from robustness.models.catalogue import STAGES, Transformer, rewire
from robustness.models.frameworks import keras
from robustness.models.keras import load_network
from tests.support.transformer_oracle import (
    EPSILON,
    TRANSFORMERS,
    Floats,
    forward,
    hub,
    needs_hub,
    normalised,
    randomise,
    with_epsilon,
)
from tests.support.unset_weights import unset_weights

# Keras' reader of its own HDF5 layout.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def assert_features(outputs: models.Outputs, expected: list[Floats]) -> None:
    for (stage, values), wanted in zip(outputs.features.items(), expected, strict=True):
        assert values.shape == wanted.shape, stage
        assert np.abs(values - wanted).max() <= 1e-4 * np.abs(wanted).max(), stage
        assert values.std(axis=0).max() > 0, f"{stage} does not depend on the image"


SHORT = Transformer("DeiT", heads=3, width=192, blocks=4)
SHORT_STAGES = tuple(stage for stage in STAGES if stage[0] not in ("block6", "block9"))
"""Stages of a transformer of four blocks."""


@dataclass
class Saved:
    """DeiT-Tiny with four blocks of its twelve, on random weights: KerasHub's task, and what we
    read of the folder it is in."""

    task: Any
    network: Any
    record: models.ModelRecord
    classifier: models.Classifier


@pytest.fixture(scope="module")
def saved(photographs: Floats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    known = models.REGISTRY["DeiTTiny"]
    task = with_epsilon(SHORT, known.normalisation)
    randomise(task, normalised(known, photographs[:2]))
    record = replace(
        known,
        name="DeiTTiny on random weights",
        stages=SHORT_STAGES,
        weights=SHORT.preset("keras/deit/keras/short/1"),
        build=SHORT.build,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        folder = record.weights.paths()[-1]
        task.save_to_preset(str(folder))
        assert models.state(record).ready
        built: list[str] = []
        deserialise = "keras.src.saving.serialization_lib.deserialize_keras_object"
        original = pkgutil.resolve_name(deserialise)

        def noted(config: Any, *arguments: Any, **options: Any) -> Any:
            built.append(str(config))
            return original(config, *arguments, **options)

        patch.setattr(deserialise, noted)
        network, stages = load_network(record)
        assert not [config for config in built if "DeiT" in config], "a class of the preset's"
        yield Saved(task, network, record, keras_classifier(record, network, stages))


@needs_hub
@pytest.mark.slow
def test_a_preset_answers_as_kerashubs_own_pipeline(saved: Saved, photographs: Floats) -> None:
    prepared = saved.task.preprocessor(photographs[:2] * np.float32(255))
    logits = np.asarray(saved.task(prepared))
    probabilities = saved.classifier(photographs[:2]).probabilities
    assert np.abs(probabilities - softmax(logits, axis=-1)).max() <= 1e-4
    assert len(set(probabilities.argmax(1))) > 1, "weights that do not tell images apart"
    assert probabilities.max() > 0.01


@needs_hub
@pytest.mark.slow
def test_features_are_the_class_token_after_chosen_blocks(
    saved: Saved, photographs: Floats
) -> None:
    images = photographs[:2]
    outputs = saved.classifier(images)
    prepared = normalised(saved.record, images)
    probabilities, expected = forward(saved.task, prepared, EPSILON)
    assert list(outputs.features) == ["block1", "block3", "head"]
    assert_features(outputs, expected)
    assert np.abs(outputs.probabilities - probabilities).max() <= 1e-5


@needs_hub
@pytest.mark.slow
def test_an_answer_is_the_same_in_every_batch(saved: Saved, photographs: Floats) -> None:
    images = np.tile(photographs, (2, 1, 1, 1))
    whole = saved.classifier(images)
    for size in (1, 3):
        pieces = [saved.classifier(images[start : start + size]) for start in range(0, 10, size)]
        joined = models.Outputs.join(pieces)
        assert np.abs(joined.probabilities - whole.probabilities).max() <= 1e-5
        for stage, values in whole.features.items():
            assert np.abs(joined.features[stage] - values).max() <= 1e-5 * np.abs(values).max()


@needs_hub
@pytest.mark.slow
def test_the_epsilon_of_a_preset_is_used(saved: Saved) -> None:
    norms = keras().layers.LayerNormalization
    found = {n.epsilon for n in saved.network._flatten_layers() if isinstance(n, norms)}
    assert found == {EPSILON}


@needs_hub
@pytest.mark.slow
@pytest.mark.parametrize("record", TRANSFORMERS, ids=lambda record: record.name)
def test_handle_and_parameters_are_those_that_kerashub_publishes(
    record: models.ModelRecord,
) -> None:
    family = "ViT" if record.name.startswith("ViT") else "DeiT"
    published = getattr(hub().models, f"{family}ImageClassifier").presets
    found = published[record.weights.name]
    handle = found["kaggle_handle"].removeprefix("kaggle://")
    assert record.weights.source.endswith(f"/models/{handle}")
    width = {"ViTB16": 768, "DeiTTiny": 192, "DeiTSmall": 384}[record.name]
    assert found["metadata"]["params"] + (width + 1) * 1000 == record.parameters
    transformer = record.build.__self__  # type: ignore[attr-defined]
    with unset_weights():
        one, two = (replace(transformer, blocks=n).build().count_params() for n in (1, 2))
    assert one + (transformer.blocks - 1) * (two - one) == record.parameters
    assert record.stages == STAGES


@needs_hub
@pytest.mark.slow
def test_vit_answers_as_kerashub_and_as_numpy(photographs: Floats) -> None:
    """As narrow as DeiT-Tiny; ViT-B/16 is four times as wide and three times as deep."""
    record, images = models.REGISTRY["ViTB16"], photographs[:2]
    assert record.normalisation.mean == record.normalisation.std == (0.5, 0.5, 0.5)
    assert record.parameters == 86_567_656
    narrow = Transformer("ViT", heads=3, width=192, blocks=4)
    record = replace(record, stages=SHORT_STAGES, weights=narrow.preset("keras/vit/keras/narrow/1"))
    task = narrow.build()
    prepared = normalised(record, images)
    randomise(task, prepared)
    classifier = keras_classifier(record, rewire(task), record.stages)
    assert classifier.engine.startswith("openvino")
    outputs = classifier(images)
    assert list(outputs.features) == ["block1", "block3", "head"]
    assert np.abs(outputs.probabilities - softmax(task(prepared).numpy(), axis=-1)).max() <= 1e-5
    probabilities, expected = forward(task, prepared, 1e-6)
    assert np.abs(outputs.probabilities - probabilities).max() <= 1e-5
    assert_features(outputs, expected)
    assert outputs.probabilities.max() > 0.01


def test_without_kerashub_the_state_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "keras_hub" else find(name, *a)
    )
    for record in TRANSFORMERS:
        state = models.state(record)
        assert not state.ready
        assert "pip install -r requirements-hub.txt" in state.reason


def test_the_optional_file_changes_no_pin() -> None:
    def pins(file: str) -> dict[str, str]:
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        wanted = [line.split()[0] for line in lines if line and line[0].isalnum()]
        return {name: version for name, _, version in (line.partition("==") for line in wanted)}

    optional = pins("requirements-hub.txt")
    assert {"keras-hub", "tensorflow", "keras", "numpy"} <= optional.keys()
    assert all(optional.values())
    product, development = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: product.get(name, version) for name, version in optional.items()} == optional
    assert {name: development.get(name) for name in optional} == optional
