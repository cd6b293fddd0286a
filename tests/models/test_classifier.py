"""The classifiers: reference outputs, published figures, and calls from threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.images import decoding
from robustness.images.framing import Framing, study_image
from robustness.models.classifier import MAX_BATCH
from robustness.models.record import read_labels
from tests.conftest import OFFLINE_NAMES

Floats = NDArray[np.float32]

REFERENCE = json.loads(Path(__file__).with_name("reference_models.json").read_text())


@pytest.mark.parametrize(  # the others are wider and deeper Lite0s, and pass their check
    "name",
    [*OFFLINE_NAMES[:2], *(pytest.param(n, marks=pytest.mark.slow) for n in OFFLINE_NAMES[2:])],
)
@pytest.mark.parametrize("sample", decoding.REGISTRY.names)
def test_an_offline_model_gives_the_reference_answers(
    name: str, sample: str, classifiers: Mapping[str, models.Classifier]
) -> None:
    reference, classifier = REFERENCE["models"][name], classifiers[name]
    file = decoding.REGISTRY[sample].filename
    assert decoding.REGISTRY[sample].sha256 == REFERENCE["images"][file]
    assert classifier.side == classifier.record.input_size == reference["input"]
    image = study_image(decoding.sample_bytes(sample), Framing(side=classifier.side))
    probabilities = classifier(image[None]).probabilities[0]
    classes, expected = zip(*reference["top5"][file], strict=True)
    assert np.argsort(-probabilities)[:5].tolist() == list(classes)
    np.testing.assert_allclose(probabilities[list(classes)], expected, rtol=0, atol=1e-4)


def test_an_offline_record_has_the_parameters_of_the_reference() -> None:
    for name in OFFLINE_NAMES:
        assert models.REGISTRY[name].parameters == REFERENCE["models"][name]["parameters"]


def test_an_answer_is_the_same_in_every_batch(
    classifiers: Mapping[str, models.Classifier], photographs: Floats
) -> None:
    classifier, images = classifiers["SqueezeNet"], np.tile(photographs, (4, 1, 1, 1))
    assert len(images) == 20 > MAX_BATCH
    before = images.copy()
    whole = classifier(images)
    for size in (1, 2, 11):
        pieces = [classifier(images[start : start + size]) for start in range(0, 20, size)]
        joined = models.Outputs.join(pieces)
        assert list(joined.features) == list(whole.features)
        assert np.abs(joined.probabilities - whole.probabilities).max() <= 1e-5
        for stage, values in whole.features.items():
            np.testing.assert_allclose(
                joined.features[stage], values, rtol=0, atol=1e-5 * np.abs(values).max()
            )
    assert len(whole) == 20
    np.testing.assert_array_equal(whole[3:7].probabilities, whole.probabilities[3:7])
    np.testing.assert_array_equal(whole[3:7].features["fire5"], whole.features["fire5"][3:7])
    np.testing.assert_allclose(whole.probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(images, before)


def test_threads_get_bitwise_the_results_of_one_caller(
    classifiers: Mapping[str, models.Classifier], photographs: Floats
) -> None:
    classifier = classifiers["EfficientNetLite0"]
    batches = [np.ascontiguousarray(np.roll(photographs, k, axis=0)[:3]) for k in range(4)]
    alone = [classifier(batch) for batch in batches]
    barrier = threading.Barrier(4)

    def together(batch: Floats) -> list[models.Outputs]:
        barrier.wait()
        return [classifier(batch) for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        for expected, repeated in zip(alone, pool.map(together, batches), strict=True):
            for outputs in repeated:
                np.testing.assert_array_equal(outputs.probabilities, expected.probabilities)
                for stage, values in expected.features.items():
                    np.testing.assert_array_equal(outputs.features[stage], values)


@pytest.mark.parametrize("shape", [(0, 224, 224, 3), (1, 224, 224, 1), (1, 3, 224, 224)])
def test_another_shape_is_refused(
    shape: tuple[int, ...], classifiers: Mapping[str, models.Classifier]
) -> None:
    with pytest.raises(ParameterError, match=r"SqueezeNet expects .*\(N, 224, 224, 3\), got \("):
        classifiers["SqueezeNet"](np.zeros(shape, np.float32))


def test_published_figures_are_percentages_with_a_source() -> None:
    for record in models.REGISTRY:
        scores = record.published
        assert scores.top1 is not None
        assert 50 < scores.top1 < 90
        assert scores.top5 is None or scores.top1 < scores.top5 < 100
        assert scores.source
        assert bool(scores.robustness_source) == (scores.mce is not None)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        *(("Cardigan", 264), ("cardigan", 474), (" tench", 0), ("great_white-SHARK", 2)),
        *((" 967", 967), ("n07920052", 967), ("0", 0), ("007", 7)),
    ],
)
def test_a_class_is_found_by_its_name_index_or_synset(text: str, index: int) -> None:
    assert models.imagenet().index(text) == index


def test_classes_listed_by_synset_have_their_names_and_are_found_by_either(tmp_path: Path) -> None:
    file = tmp_path / "cats.txt"
    file.write_text("n02124075\nn07920052\n")
    labels = read_labels(file)
    assert labels.names == ("Egyptian cat", "espresso")
    assert labels.synsets == ("n02124075", "n07920052")
    assert labels.index("n07920052") == labels.index("espresso") == 1
    file.write_text("n02124075\nmy cat\n")
    assert read_labels(file).names == ("n02124075", "my cat")


def test_a_name_that_may_be_either_of_two_is_refused_with_both() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'Cardigan' or 'cardigan'"):
        models.imagenet().index("CARDIGAN")


@pytest.mark.parametrize("text", ["expresso", "1000", "-1", "9" * 5000, "", "n00000000"])
def test_an_unknown_class_is_refused(text: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        models.imagenet().index(text)
    assert ("Did you mean 'espresso'" in str(caught.value)) is (text == "expresso")
