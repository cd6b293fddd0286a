"""A working model passes its self-check; wrong preprocessing or weights cannot hide from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import WeightsError
from robustness.commands import main
from robustness.models import selfcheck
from robustness.models.graph.keras_networks import load_network
from robustness.models.model_record import Normalisation
from robustness.models.selfcheck import Answer, self_check, self_checks
from tests.conftest import OFFLINE_NAMES, register
from tests.support.preparing import prepared, undone


def swapped(right: Normalisation) -> Normalisation:
    order = "RGB" if right.order == "BGR" else "BGR"
    return replace(right, order=order, mean=right.mean[::-1], std=right.std[::-1])


WRONG: Mapping[str, Callable[[Normalisation], Normalisation]] = {
    "channels swapped": swapped,
    "no mean": lambda right: replace(right, mean=(0.0, 0.0, 0.0)),
    "another scale": lambda right: replace(right, scale=right.scale / 255),
    "ImageNet's mean and deviation": lambda _: Normalisation(
        "RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    ),
}


class PreparedWrongly:
    """A model that works, shown what another preprocessing than its own makes of images."""

    call_seconds = None

    def __init__(self, classifier: models.Classifier, what: str) -> None:
        self._classifier = classifier
        self.record = classifier.record
        self.side = classifier.side
        self.own = self.record.normalisation
        self.wrong = WRONG[what](self.own)

    def __call__(self, images: NDArray[np.float32]) -> models.Outputs:
        shown = undone(self.own, prepared(self.wrong, images))
        return self._classifier.unchecked(shown)

    unchecked = __call__


@pytest.mark.parametrize("name", OFFLINE_NAMES)
def test_a_model_that_works_passes(name: str) -> None:
    found = self_check(name)
    assert found.right
    assert not found.problem
    assert found.milliseconds is not None
    assert 0 < found.milliseconds < 60_000
    assert [answer.picture for answer in found.answers] == ["coffee", "chelsea", "motorcycle"]
    for answer in found.answers:
        assert answer.expected == (answer.top1,)
        assert answer.probability == pytest.approx(answer.expected_probability, abs=0.002)
    assert found.as_row()["right"] is True


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("name", ["SqueezeNet", "EfficientNetLite0"])
def test_wrong_preprocessing_cannot_hide(
    classifiers: Mapping[str, models.Classifier],
    name: str,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = PreparedWrongly(classifiers[name], what)
    monkeypatch.setattr(selfcheck, "load", lambda *_, **__: wrong)
    found = self_check(name)
    assert found.right is False
    if (name, what) == ("EfficientNetLite0", "channels swapped"):
        top1 = [answer.top1 for answer in found.answers]
        assert (top1[0], top1[2]) == ("espresso", "moped"), "the top-1 alone would let it pass"


def test_a_clearly_better_normalisation_of_one_s_own_model_is_named(
    classifiers: Mapping[str, models.Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "SqueezeNet"
    right = classifiers[name].record
    register(monkeypatch, replace(right, group=models.OWN))
    assert self_check(name).better == ""
    wrong = PreparedWrongly(classifiers[name], "ImageNet's mean and deviation")
    claimed = replace(right, normalisation=wrong.wrong)

    wrong.record = claimed
    monkeypatch.setattr(selfcheck, "load", lambda *_, **__: wrong)
    assert any(each in self_check(name).better for each in ("in BGR", "caffe"))


def test_wrong_weights_cannot_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_ENGINE", "tensorflow")  # it need not be converted for this
    record = models.REGISTRY["SqueezeNet"]
    network, stages = load_network(record)
    rng = np.random.default_rng(0)
    layer = network.get_layer("fire9_expand3x3")
    kernel, bias = layer.get_weights()
    layer.set_weights([rng.permutation(kernel, axis=-1), bias])
    wrong = models.Classifier.of(record, network, stages)
    monkeypatch.setattr(selfcheck, "load", lambda *_, **__: wrong)
    assert self_check("SqueezeNet").right is False


def test_without_a_reference_any_expected_class_is_right() -> None:
    answer = Answer("chelsea", ("tabby", "Egyptian cat"), None, "Egyptian cat", 0.3)
    assert answer.right
    assert not replace(answer, top1="tiger cat").right
    assert replace(answer, expected_probability=0.31).right
    assert not replace(answer, expected_probability=0.33).right


def test_every_expected_class_exists_and_belongs_to_a_sample() -> None:
    for record in models.REGISTRY:
        assert len(record.check_pictures) >= 3
        for known in record.check_pictures:
            assert set(known.classes) <= set(record.labels().names)


def test_one_that_cannot_run_says_why_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    load = selfcheck.load

    def broken(name: str, **options: int) -> models.Classifier:
        if name == "EfficientNetLite0":
            raise WeightsError("It is broken.")
        return load(name, **options)

    monkeypatch.setattr(selfcheck, "load", broken)
    first, second = self_checks(["EfficientNetLite0", "SqueezeNet"])
    assert (first.problem, first.right, first.milliseconds) == ("It is broken.", False, None)
    assert second.right


def test_the_command_prints_and_says_by_its_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.main(["models", "check", "SqueezeNet"]) == 0
    assert "as expected  coffee      espresso 93.7%" in capsys.readouterr().out
    monkeypatch.setenv("ROBUSTNESS_ENGINE", "tensorflow")  # it need not be converted for this
    record = models.REGISTRY["SqueezeNet"]
    wrong = "SqueezeNet with channels swapped"
    register(monkeypatch, replace(record, name=wrong, normalisation=swapped(record.normalisation)))
    assert main.main(["models", "check", "SqueezeNet", wrong, "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["right"]) for row in rows] == [
        ("SqueezeNet", True),
        (wrong, False),
    ]
    assert main.main(["models", "check", "SqueezeNt"]) == 2
    assert "Did you mean" in capsys.readouterr().err
