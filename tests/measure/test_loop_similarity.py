"""Similarity from its floor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.support.stand_in_models import StandIn
from robustness import models
from robustness.measure import loop
from robustness.measure.condition import Condition
from robustness.measure.loop import evaluate, floors, strangers
from robustness.measure.request import make_spec
from robustness.metrics.scores import RESCALED, cosine
from robustness.models import Classifier
from tests.support.pages import sample


@pytest.fixture(scope="module")
def squeezenet() -> Classifier:
    return models.load("SqueezeNet")


@pytest.fixture
def floor_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path))
    return tmp_path / "floors"


def keyed(key: str) -> Any:
    stand_in: Any = StandIn("SqueezeNet", 224)
    stand_in.key = key
    return stand_in


def test_it_is_kept_for_the_next_start(floor_folder: Path) -> None:
    first, second, other = keyed("one"), keyed("one"), keyed("other")
    assert floors(first) == floors(second)
    assert (len(first.batches), len(second.batches)) == (1, 0)
    floors(other)
    assert len(other.batches) == 1, "another model has floors of its own"
    assert len(list(floor_folder.iterdir())) == 2
    floors(keyed(""))
    assert len(list(floor_folder.iterdir())) == 2, "of one without a key nothing is kept"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"conv1": 3}', "null", "\udcff"])
def test_what_was_kept_and_is_damaged_is_measured_anew(floor_folder: Path, content: str) -> None:
    expected = floors(keyed("one"))
    (file,) = floor_folder.iterdir()
    file.write_bytes(content.encode(errors="surrogateescape"))
    again = keyed("one")
    assert floors(again) == expected
    assert len(again.batches) == 1
    assert floors(keyed("one")) == expected


def test_the_floor_is_the_mean_over_pairs_of_different_photographs() -> None:
    stand_in: Any = StandIn("SqueezeNet", 224)
    images, origins = strangers(224)
    for stage, features in stand_in(images).features.items():
        pairs = [
            cosine(features[i : i + 1], features[j : j + 1])[0]
            for i in range(15)
            for j in range(i)
            if origins[i] != origins[j]
        ]
        assert len(pairs) == 90
        assert floors(stand_in)[stage]["cosine"] == pytest.approx(np.mean(pairs))


def test_the_embeddings_floor_is_near_that_of_many_photographs(squeezenet: Classifier) -> None:
    """0.307 and 0.405 over all pairs of 200 ImageNet photographs of different classes."""
    measured_floors = floors(squeezenet)["fire9"]
    assert measured_floors["cosine"] == pytest.approx(0.307, abs=0.03)
    assert measured_floors["euclidean"] == pytest.approx(0.405, abs=0.03)


def test_an_unchanged_picture_is_1_and_a_stranger_about_0() -> None:
    coffee, rocket = sample("coffee"), sample("rocket")
    (same,) = evaluate(make_spec(["SqueezeNet"], [Condition.of({"fog": 0.0})]), [coffee])
    classifier = models.load("SqueezeNet")
    measured_floors = loop.similarities(
        classifier(coffee.image[None]).features,
        classifier(rocket.image[None]).features,
        floors(classifier),
    )
    for scores in same.stages.values():
        for name in RESCALED.values():
            assert scores[name] == pytest.approx(1.0, abs=1e-6)
    assert abs(measured_floors["fire9"]["cosine_rescaled"][0]) < 0.3
    assert same.scores["cosine_rescaled"] == same.stages["fire9"]["cosine_rescaled"]
