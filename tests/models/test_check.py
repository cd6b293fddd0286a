"""A working model passes its check; wrong preprocessing or weights cannot hide from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import models
from robustness.cli import main
from robustness.models import check
from robustness.models.check import Answer, ModelCheck, check_model, last_check
from robustness.models.engine import chosen
from robustness.models.record import Normalisation
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
    engine = "the same"

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


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the last checks, which no other test shares."""
    folder = tmp_path / "checks"
    monkeypatch.setattr(check, "_file", lambda record: folder / f"{record.name}.json")
    return folder


def checked(name: str) -> ModelCheck:
    """The check at the model's own input size: the one graph is converted already."""
    return check_model(name, side=models.REGISTRY[name].input_size)


@pytest.mark.parametrize("name", OFFLINE_NAMES[:2])
def test_a_model_that_works_passes(name: str) -> None:
    found = checked(name)
    assert (found.state, found.problem, found.notes) == ("ok", "", [])
    assert found.engine == str(chosen())
    assert found.in_cache
    assert found.milliseconds is not None
    assert 0 < found.milliseconds < 60_000
    assert [answer.picture for answer in found.answers] == ["coffee", "chelsea", "motorcycle"]
    for answer in found.answers:
        assert answer.expected == (answer.top1,)
        assert answer.probability == pytest.approx(answer.expected_probability, abs=0.002)
    assert found.images_text == "3 of 3"


@pytest.mark.parametrize("what", WRONG)
def test_wrong_preprocessing_cannot_hide(
    classifiers: Mapping[str, models.Classifier],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = PreparedWrongly(classifiers["EfficientNetLite0"], what)
    monkeypatch.setattr(check, "load", lambda *_, **__: wrong)
    found = checked("EfficientNetLite0")
    assert found.state == "wrong"
    assert len(found.notes) >= 1
    if what == "channels swapped":
        top1 = [answer.top1 for answer in found.answers]
        assert (top1[0], top1[2]) == ("espresso", "moped"), "the top-1 alone would let it pass"


def test_a_clearly_better_normalisation_of_one_s_own_model_is_named(
    classifiers: Mapping[str, models.Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "SqueezeNet"
    right = classifiers[name].record
    register(monkeypatch, replace(right, group=models.OWN))
    assert checked(name).better == ""
    wrong = PreparedWrongly(classifiers[name], "ImageNet's mean and deviation")
    claimed = replace(right, normalisation=wrong.wrong)

    wrong.record = claimed
    monkeypatch.setattr(check, "load", lambda *_, **__: wrong)
    found = checked(name)
    assert any(each in found.better for each in ("in BGR", "caffe"))
    assert found.better in found.notes


class Timed:
    """A function of the user's: it answers known images in 1 ms, those of a trial in a second."""

    engine = "a function"

    def __init__(self, classifier: models.Classifier) -> None:
        self._classifier = classifier
        self.record = classifier.record
        self.side = classifier.side
        self.call_seconds: tuple[float, ...] = ()

    def __call__(self, images: NDArray[np.float32]) -> models.Outputs:
        self.call_seconds += (0.001,)
        return self._classifier(images)

    def unchecked(self, images: NDArray[np.float32]) -> models.Outputs:
        self.call_seconds += (1.0,)
        return self._classifier.unchecked(images)


def test_the_trial_of_normalisations_does_not_count_as_the_time_of_a_function(
    classifiers: Mapping[str, models.Classifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = Timed(classifiers["SqueezeNet"])
    register(monkeypatch, replace(timed.record, group=models.OWN))
    monkeypatch.setattr(check, "load", lambda *_, **__: timed)
    assert checked("SqueezeNet").milliseconds == 1
    assert 1.0 in timed.call_seconds, "normalisations were tried"


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


def test_the_last_check_is_that_of_these_weights_and_this_engine(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = models.REGISTRY["SqueezeNet"]
    assert last_check(record) is None
    found = check_model("SqueezeNet", side=record.input_size, timing=False)
    assert found.milliseconds is None
    assert last_check(record) == found
    monkeypatch.setenv("ROBUSTNESS_ENGINE", "tensorflow")
    assert last_check(record) is None


def test_a_model_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_MEMORY", "1MB")
    record = replace(models.REGISTRY["SqueezeNet"], name="Large")
    register(monkeypatch, record)
    found = check_model("Large")
    assert (found.state, found.milliseconds) == ("failed", None)
    assert "raise the setting 'memory'" in found.problem
    assert last_check(record) == found


def test_a_graph_that_is_not_kept_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "conversion", lambda *_: None)
    found = checked("SqueezeNet")
    assert (found.state, found.in_cache) == ("ok", False)
    assert "every start converts it" in found.notes[0]


def test_the_command_prints_a_row_a_model_and_says_by_its_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.main(["models", "check", "SqueezeNet", "SqueezeNet", "--no-timing"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == ["SqueezeNet", "ok"]
    assert "known images: 3 of 3" in line
    assert line.endswith(f"  {chosen()}")
    monkeypatch.setenv("ROBUSTNESS_ENGINE", "tensorflow")  # it need not be converted for this
    record = models.REGISTRY["SqueezeNet"]
    wrong = "Swapped"
    register(monkeypatch, replace(record, name=wrong, normalisation=swapped(record.normalisation)))
    assert main.main(["models", "check", "SqueezeNet", wrong, "--json", "--no-timing"]) == 1
    rows = json.loads(capsys.readouterr().out)
    states = {row["model"]: row["state"] for row in rows}
    assert states == {"SqueezeNet": "ok", wrong: "wrong"}
    assert rows[0]["milliseconds"] is None
    assert not all(answer["right"] for answer in rows[1]["answers"])
    assert main.main(["models", "check", wrong, "--no-timing"]) == 1
    first, *notes = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{wrong:18}wrong")
    assert any("expected" in note and "got" in note for note in notes)
    assert main.main(["models", "check", "SqueezeNt"]) == 2
    assert "Did you mean" in capsys.readouterr().err


def test_without_names_missing_weights_alone_are_no_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = {name: models.REGISTRY[name] for name in ("SqueezeNet", "VGG16")}
    monkeypatch.setattr(models.REGISTRY, "_records", records)
    assert main.main(["models", "check", "--no-timing"]) == 0
    present, absent = capsys.readouterr().out.splitlines()
    assert present.startswith(f"{'SqueezeNet':18}ok")
    assert absent.startswith(f"{'VGG16':18}missing  VGG16: weights missing")
    assert main.main(["models", "check", "VGG16"]) == 1
