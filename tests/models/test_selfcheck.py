"""A working model passes its self-check; wrong preprocessing or weights cannot hide from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from robustness import models
from robustness.base.errors import WeightsError
from robustness.commands import main
from robustness.models import loaded, selfcheck
from robustness.models.loading import load_network
from robustness.models.model_record import Normalisation, Stages
from robustness.models.selfcheck import Answer, self_check, self_checks
from tests.conftest import OFFLINE_NAMES, register


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


@cache
def network_of(name: str) -> tuple[Any, Stages]:
    return load_network(models.REGISTRY[name])


def prepared_wrongly(patch: pytest.MonkeyPatch, name: str, what: str) -> str:
    """Registers the model ``name`` once more, its network behind another preprocessing.

    By the engine that needs no conversion: another network would be converted for each.
    """
    patch.setenv("ROBUSTNESS_ENGINE", "tensorflow")
    record = models.REGISTRY[name]
    wrong = f"{name} with {what}"
    register(patch, replace(record, name=wrong, normalisation=WRONG[what](record.normalisation)))
    patch.setattr(loaded, "load_network", lambda _: network_of(name))
    return wrong


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
    name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert self_check(prepared_wrongly(monkeypatch, name, what)).right is False


def test_the_top1_alone_would_let_swapped_channels_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    name = prepared_wrongly(monkeypatch, "EfficientNetLite0", "channels swapped")
    top1 = [answer.top1 for answer in self_check(name).answers]
    assert top1[0] == "espresso"
    assert top1[2] == "moped"


def test_wrong_weights_cannot_hide(monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert len(record.known_pictures) >= 3
        for known in record.known_pictures:
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
    assert "right  coffee      espresso 93.7%" in capsys.readouterr().out
    wrong = prepared_wrongly(monkeypatch, "SqueezeNet", "channels swapped")
    assert main.main(["models", "check", "SqueezeNet", wrong, "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["right"]) for row in rows] == [
        ("SqueezeNet", True),
        (wrong, False),
    ]
    assert main.main(["models", "check", "SqueezeNt"]) == 2
    assert "Did you mean" in capsys.readouterr().err
