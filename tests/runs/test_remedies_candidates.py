"""Remedies among the candidates of a choice: figures by hand, and remedies that do nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from robustness import api
from robustness.base.errors import ParameterError
from robustness.measure.condition import Condition
from robustness.runs import Run
from tests.support.synthetic_remedies import MODELS, Made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


IDS = {
    "SqueezeNet+median": ("median", "SqueezeNet"),
    "SqueezeNet+flip": ("flip", "SqueezeNet"),
    "EfficientNetLite0+median": ("median", "EfficientNetLite0"),
    "EfficientNetLite0+flip": ("flip", "EfficientNetLite0"),
    "SqueezeNet+EfficientNetLite0+average": ("average", ""),
    "SqueezeNet": ("", "SqueezeNet"),
    "EfficientNetLite0": ("", "EfficientNetLite0"),
}


def test_each_model_behind_each_remedy_has_its_own_figures(made: Made) -> None:
    found = api.choose(made.run, remedies=True)
    entries = {entry["model"]: entry for entry in found.models}
    assert entries.keys() == IDS.keys()
    for name, key in IDS.items():
        entry, right = entries[name], made.top[key] == made.labels[:, None]
        assert entry["robust"] == pytest.approx(right.mean())
        assert entry["accuracy"] == pytest.approx((made.clean[key] == made.labels).mean())
        assert entry["remedy"] == key[0]
    costs = {
        name: [entries[name][key] for key in ("latency_ms", "megabytes", "memory_megabytes")]
        for name in IDS
    }
    assert costs["EfficientNetLite0"] == [10.0, 19.0, 110.0]
    assert costs["EfficientNetLite0+median"] == [10.5, 19.0, 110.0]
    assert costs["EfficientNetLite0+flip"] == [20.25, 19.0, 110.0], "a second forward pass"
    assert costs["SqueezeNet+EfficientNetLite0+average"] == [14.125, 24.0, 200.0]
    assert entries["EfficientNetLite0+median"]["label"] == "EfficientNet-Lite0 + Median 3 x 3"
    assert sum(entry["certainty"] for entry in found.models) == pytest.approx(1)
    assert [e["robust"] for e in found.models] == sorted(e["robust"] for e in found.models)[::-1]
    alone = api.choose(made.run)
    assert {entry["model"] for entry in alone.models} == {*MODELS}
    for entry in alone.models:
        assert entry["robust"] == entries[entry["model"]]["robust"]


def test_weights_and_limits_hold_for_remedies(made: Made) -> None:
    found = api.choose(
        made.run, weights={"fog": 3}, max_latency_ms=12, min_accuracy=0.5, remedies=True
    )
    entries = {entry["model"]: entry for entry in found.models}
    ruled_out = {name for name, entry in entries.items() if entry["status"] == "ruled out"}
    assert ruled_out == {"EfficientNetLite0+flip", "SqueezeNet+EfficientNetLite0+average"}
    right = made.top["median", "SqueezeNet"] == made.labels[:, None]
    expected = (3 * right[:, 0].mean() + right[:, 1].mean()) / 4
    assert entries["SqueezeNet+median"]["robust"] == pytest.approx(expected)


def test_without_labels_a_prediction_counts_if_it_is_that_without_the_remedy(
    tmp_path: Path,
) -> None:
    made = Made(tmp_path, labelled=False)
    found = api.choose(made.run, remedies=True)
    assert found.quantity == "consistency"
    for entry in found.models:
        remedy, model = key = IDS[entry["model"]]
        own = made.clean[key if remedy == "average" else ("", model)]
        assert entry["robust"] == pytest.approx((made.top[key] == own[:, None]).mean())
        assert entry["accuracy"] is None


def test_under_attack_an_image_counts_if_no_attack_breaks_it(tmp_path: Path) -> None:
    attacks = [Condition.attack(name, epsilon=0.5, norm="l2", steps=10) for name in ("apgd", "pgd")]
    made = Made(tmp_path, conditions=attacks)
    found = api.choose(made.run, remedies=True)
    assert found.quantity == "robust_accuracy"
    for entry in found.models:
        if entry["remedy"]:
            key = IDS[entry["model"]]
            right = (made.top[key] == made.labels[:, None]).all(axis=1)
            kept = right & (made.clean[key] == made.labels)
            assert entry["robust"] == pytest.approx(kept.mean())


def test_what_has_no_remedies_is_refused(made: Made, tmp_path: Path) -> None:
    without = Made(tmp_path, asked="").run
    asked: Sequence[tuple[Run | list[Run], str]] = [
        (without, "tried remedies"),
        ([made.run, made.run], "one run"),
    ]
    for run, message in asked:
        with pytest.raises(ParameterError, match=message):
            api.choose(run, remedies=True)
