"""Adding a model file: what is found in it and tried on images, what is asked, what is written."""

from __future__ import annotations

import io
import json
import os
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from robustness import api, models, runs
from robustness.base.errors import ModelWarning, ParameterError
from robustness.cli import main
from robustness.images.framing import Framing
from robustness.models import metadata, own
from robustness.models.describe import propose
from robustness.models.formats import Quantisation
from robustness.models.frameworks import keras
from robustness.models.graph import factors
from robustness.models.record import LabelledAccuracy, Labels, Normalisation, means_text
from robustness.models.trials import Labelled, from_folder, is_clear, trials
from tests.support import onnx_files as onnx
from tests.support.large_files import terabyte, within

COLOURS = {
    "red": (230, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 230),
    "grey": (120, 120, 120),
    "light": (180, 180, 180),
    "dark": (10, 30, 60),
    "pale": (250, 240, 200),
}
"""Each is a class, and the one colour of its images."""


def colour_model(*metadata: tuple[str, str], image: bytes = onnx.IMAGE, last: str = "") -> bytes:
    """Tells the nearest of ``COLOURS`` from the mean of pixels in [-1, 1].

    With a ``last`` operation after the logits: of pixels in [0, 1].
    """
    pixels = np.array(list(COLOURS.values()), np.float32)
    seen = (pixels / 255 if last else pixels / 127.5 - 1).astype(np.float32)
    arrays = {"w": 80 * seen.T, "b": -40 * (seen**2).sum(axis=1)}
    nodes = [
        onnx.node("GlobalAveragePool", ["image"], ["mean"]),
        onnx.node("Flatten", ["mean"], ["flat"]),
        onnx.node("Gemm", ["flat", "w", "b"], ["logits" if last else "answer"]),
        *([onnx.node(last, ["logits"], ["answer"])] if last else []),
    ]
    tensors = [onnx.tensor(name, np.ascontiguousarray(each)) for name, each in arrays.items()]
    answer = onnx.value("answer", ["n", len(COLOURS)])
    return onnx.model(nodes, [image], [answer], tensors, metadata)


@pytest.fixture(autouse=True)
def folder(models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the model, its labels, and images of each class; the working folder."""
    monkeypatch.chdir(models_folder)
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(models_folder / "cache"))
    (models_folder / "colours.onnx").write_bytes(colour_model())
    (models_folder / "colours.txt").write_text("\n".join(COLOURS) + "\n")
    for name, colour in COLOURS.items():
        (models_folder / "images" / name).mkdir(parents=True)
        Image.new("RGB", (12, 12), colour).save(models_folder / "images" / name / "1.png")
    return models_folder


def run(*arguments: str) -> int:
    return main.main(["models", *arguments])


def added(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run("add", *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def described(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "models.toml").read_text())


# --- by command -----------------------------------------------------------------------------------


def test_what_the_file_and_the_images_tell_is_not_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = added(capsys, "colours.onnx", "--labels", "colours.txt", "--images", "images")
    assert found["entry"] == described(folder)["colours"]
    accuracy = found["entry"]["accuracy"]
    assert found["entry"] | {"labels": "", "path": "", "accuracy": {}} == {
        "path": "",
        "labels": "",
        "input_size": 8,
        "normalisation": "-1..1",
        "fit": "squash",
        "output": "logits",
        "accuracy": {},
    }
    assert (accuracy["correct"], accuracy["images"]) == (len(COLOURS), len(COLOURS))
    assert accuracy["normalisation"] == "the images it was tried on"
    record = models.REGISTRY["colours"]
    assert record.accuracy is not None
    assert record.accuracy.model_dump() == accuracy
    assert found["warning"] == ""
    assert found["tried_on"] == len(COLOURS)
    assert [found["trials"][0][key] for key in ("name", "correct")] == ["-1..1", len(COLOURS)]
    assert found["trials"][-1]["correct"] < len(COLOURS)
    assert len(found["trials"]) == 10
    assert [answer["class"] in COLOURS for answer in found["samples"]] == [True] * 5
    assert run("remove", "colours") == 0
    assert described(folder) == {}
    assert "colours" not in models.REGISTRY


def test_a_model_with_its_own_classes_sees_whole_images_at_its_own_size(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The centre of every image is of one colour; the rest has that of its class."""
    for name, colour in COLOURS.items():
        wide = Image.new("RGB", (180, 20), colour)
        wide.paste(COLOURS["grey"], (80, 0, 100, 20))
        wide.save(folder / "images" / name / "1.png")
    told = ["--labels", "colours.txt", "--normalisation", "-1..1", "--images", "images"]
    found = added(capsys, "colours.onnx", *told)
    assert found["entry"]["accuracy"]["correct"] == len(COLOURS)
    with (folder / "models.toml").open("a") as file:
        file.write(found["toml"].replace("[colours]", "[without]").replace('fit = "squash"\n', ""))

    def measured(name: str, *options: str) -> tuple[str, int, float]:
        request = ["--perturbations", "brightness", "--models", name, "--out", "runs", "--json"]
        assert main.main(["evaluate", "images", *request, *options]) == 0
        document = json.loads(capsys.readouterr().out)
        spec = runs.load(Path(document["folder"])).manifest.spec
        return *spec.framing_of(name)[:2], document["summary"][0]["clean_accuracy"]

    assert measured("colours") == ("squash", 8, 1.0)
    assert measured("colours", "--fit", "crop") == ("crop", 8, 1 / len(COLOURS))
    assert measured("colours", "--side", "224") == ("squash", 224, 1.0)
    assert measured("without") == ("crop", 224, 1 / len(COLOURS))
    assert added(capsys, "colours.onnx", *told, "--fit", "letterbox", "--name", "boxed")
    assert models.REGISTRY["boxed"].framing == Framing("letterbox", 8)
    smooth = ("--interpolation", "bilinear", "--name", "smooth")
    assert added(capsys, "colours.onnx", *told, *smooth)["entry"]["fit"] == "squash"
    assert models.REGISTRY["smooth"].framing == Framing("squash", 8, None, "bilinear")
    assert added(capsys, "colours.onnx", *told, "--crop-pct", "0.8", "--name", "cropped")
    assert models.REGISTRY["cropped"].framing == Framing("crop", 8, 0.8)


def test_told_all_it_asks_nothing_and_the_model_is_used_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--labels", "colours.txt", "--output", "logits", "--title", "Colours"]
    table = '{order = "BGR", scale = 2, mean = [1, 1, 1], std = [1, 1, 1]}'
    for value in (table, "-1..1"):
        assert added(capsys, "colours.onnx", *told, "--normalisation", value, "--dry-run")
    assert not (folder / "models.toml").exists()
    found = added(capsys, "colours.onnx", "--name", "c.1", *told, "--normalisation", table)
    assert tomllib.loads(found["toml"]) == described(folder)
    assert described(folder)["c.1"]["normalisation"]["order"] == "BGR"
    assert models.REGISTRY["c.1"].label == "Colours"
    assert run("add", "colours.onnx", "--name", "c.1", *told, "--normalisation", "torch") == 2
    assert "already" in capsys.readouterr().err
    assert main.main(["predict", "images/red/1.png", "--models", "c.1", "--json"]) == 0
    top = json.loads(capsys.readouterr().out)["predictions"][0]["top"][0]["name"]
    assert top == "blue", "its channels are turned"


def test_what_nothing_tells_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def lacking(*arguments: str) -> str:
        assert run("add", *arguments) == 2
        assert not (folder / "models.toml").exists()
        return capsys.readouterr().err

    assert "expected --labels and --normalisation" in lacking("colours.onnx")
    unknown = lacking("colours.onnx", "--labels", "colours.txt")
    assert "expected --normalisation" in unknown
    assert "--images" in unknown
    free = onnx.value("image", ["n", 3, "h", "w"])
    (folder / "free.onnx").write_bytes(colour_model(image=free))
    assert "--input-size" in lacking("free.onnx", "--labels", "colours.txt")
    assert "There is no model" in lacking("missing.onnx")
    wrong = ["colours.onnx", "--labels", "colours.txt", "--normalisation", "0..2"]
    assert "0..2" in lacking(*wrong)
    (folder / "bad.onnx").write_bytes(b"no model")
    assert "bad.onnx cannot be used" in lacking("bad.onnx")
    assert "sub-folders" in lacking("colours.onnx", "--labels", "colours.txt", "--images", "cache")


def test_the_rest_is_asked_for_on_a_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    replies = iter(["colours.txt", "-1..1"])

    def reply(prompt: str) -> str:
        asked.append(prompt)
        return next(replies)

    monkeypatch.setattr("builtins.input", reply)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for name in set(COLOURS) - {"green", "pale"}:  # of which several normalisations are right
        (folder / "images" / name / "1.png").unlink()
    assert run("add", "colours.onnx", "--images", "images") == 0
    assert [prompt.split()[0] for prompt in asked] == ["labels", "normalisation"]
    said = capsys.readouterr()
    assert "These images cannot decide the normalisation" in said.err
    assert "written to" in said.out


def test_a_trial_has_the_confidence_and_the_probability_of_the_true_class(folder: Path) -> None:
    record = replace(
        models.REGISTRY["SqueezeNet"], input_size=8, labels=lambda: Labels("two", ("red", "blue"))
    )
    labelled = from_folder(folder / "images", record, Framing("squash", 8))
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3]], np.float32)  # of blue, then red
    assert labelled.classes == (frozenset({1}), frozenset({0}))
    for trial in trials(lambda *_: probabilities, labelled):
        assert trial.correct == 1
        assert trial.confidence == pytest.approx(0.8)
        assert trial.true_class_probability == pytest.approx(0.4)
        means = means_text(trial.confidence, trial.true_class_probability)
        assert means == "mean confidence 80.0%, mean probability of the true class 40.0%"


def test_grey_images_decide_a_normalisation_without_an_order_of_channels() -> None:
    draws = np.random.default_rng(0)
    grey = np.repeat(draws.random((12, 8, 8, 1), np.float32), 3, axis=-1)
    truth = np.arange(12) % 2

    def ask(images: Any, by: Normalisation) -> Any:
        scale, offset = factors(by)
        right = np.abs((images * scale + offset).mean((1, 2, 3)) - images.mean((1, 2, 3))) < 0.1
        sure = np.where(right, 0.9, 0.5)[:, None]
        return np.where(np.arange(2) == truth[:, None], sure, 1 - sure)

    labelled = Labelled(grey, tuple(frozenset({int(index)}) for index in truth))
    results = trials(ask, labelled)
    assert results[0].name == "0..1"
    assert is_clear(results, 12)
    assert {"torch", "torch in BGR"} < {trial.name for trial in results}
    coloured = grey.copy()
    coloured[0, 0, 0, 0] = 0
    assert len(trials(ask, replace(labelled, images=coloured))) == 10


@pytest.mark.parametrize(
    ("correct", "images", "classes", "doubtful"),
    [
        (0, 3, 1000, True),  # may be chance
        (18, 60, 10, True),  # better than chance, but below one half
        (28, 60, 10, False),
        (0, 60, 2, True),  # worse than chance: the classes are swapped
    ],
)
def test_a_low_accuracy_is_doubted(correct: int, images: int, classes: int, doubtful: bool) -> None:
    share = correct / images
    accuracy = LabelledAccuracy(
        images=images, correct=correct, confidence=0.9, true_class_probability=share
    )
    assert bool(accuracy.doubt(classes)) == doubtful
    low, high = binomtest(correct, images).proportion_ci(method="exact")
    assert accuracy.interval == pytest.approx((share, low, high))
    assert doubtful == (high < 0.5 or low <= 1 / classes <= high)


def test_a_model_with_wrong_classes_is_added_with_a_warning(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "turned.txt").write_text("\n".join([*list(COLOURS)[1:], "red"]))
    told = ["--labels", "turned.txt", "--normalisation", "-1..1", "--images", "images"]
    found = added(capsys, "colours.onnx", *told)
    assert found["entry"]["accuracy"]["correct"] == 0
    assert found["warning"]
    assert "colours" in models.REGISTRY
    assert run("remove", "colours") == 0
    assert run("add", "colours.onnx", *told) == 0
    assert found["warning"] in capsys.readouterr().err


def test_sigmoids_are_not_taken_for_logits(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sigmoids.onnx").write_bytes(colour_model(last="Sigmoid"))
    layers = keras().layers
    inputs = layers.Input((8, 8, 3))
    answer = layers.Dense(len(COLOURS), activation="sigmoid")(layers.Flatten()(inputs))
    keras().Model(inputs, answer).save(folder / "sigmoids.keras")
    for file in ("sigmoids.onnx", "sigmoids.keras"):
        assert run("add", file, "--labels", "colours.txt", "--normalisation", "0..1") == 2
        assert "if they come from a sigmoid" in capsys.readouterr().err
    assert not (folder / "models.toml").exists()
    (folder / "models.toml").touch()
    table: dict[str, Any] = {"labels": "colours.txt", "input_size": 8, "normalisation": "0..1"}
    for file in ("sigmoids.onnx", "sigmoids.keras"):
        options = ["--labels", "colours.txt", "--normalisation", "0..1", "--output", "logits"]
        assert run("add", file, *options, "--dry-run") == 0
        assert "sigmoid" in capsys.readouterr().err
        with pytest.warns(ModelWarning):
            api.add_model("sigmoids", folder / file, output="logits", **table)
        api.remove_model("sigmoids")


def test_an_input_of_whole_numbers_takes_the_values_of_pixels(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = onnx.small_model(
        image=onnx.value("image", ["n", 3, 8, 8], onnx.UINT8),
        before=[onnx.node("Cast", ["image"], ["real"], to=onnx.FLOAT)],
        first="real",
    )
    (folder / "bytes.onnx").write_bytes(content)
    (folder / "ten.txt").write_text("\n".join("abcdefghij"))
    found = added(capsys, "bytes.onnx", "--labels", "ten.txt", "--dry-run")
    assert (found["entry"]["normalisation"], found["missing"]) == ("0..255", [])
    assert run("add", "bytes.onnx", "--labels", "ten.txt", "--normalisation", "torch") == 2
    assert "whole numbers, got torch" in capsys.readouterr().err
    (folder / "models.toml").touch()
    with pytest.raises(ParameterError, match="whole numbers, got torch"):
        api.add_model("bytes", "bytes.onnx", labels="ten.txt", input_size=8, normalisation="torch")


def test_a_refused_addition_writes_nothing_and_a_removed_model_takes_its_classes_along(
    folder: Path,
) -> None:
    (folder / "named.onnx").write_bytes(colour_model(("names", str(list(COLOURS)))))
    assert run("add", "named.onnx", "--normalisation", "-1..1") == 0
    labels = folder / "named.labels.txt"
    proposed = propose(folder / "named.onnx", {"normalisation": "-1..1"}, name="other")
    taken = replace(proposed, classes=tuple("abcdefg"))

    def contents() -> dict[Path, bytes]:
        paths = [*folder.parent.iterdir(), *folder.rglob("*")]
        return {path: path.read_bytes() for path in paths if path.is_file()}

    def refused(name: str, message: str) -> None:
        files = contents()
        with pytest.raises(ParameterError, match=message):
            taken.renamed(name).write()
        assert contents() == files

    refused("named", "already")
    refused("../up", "letters, digits")
    (folder / "mine.labels.txt").write_text("my own list\n")
    refused("mine", "mine.labels.txt")
    proposed.write()
    shared = {**proposed.entry, "labels": "named.labels.txt"}
    own.add("sharing", shared)
    assert run("remove", "named") == 0
    assert labels.exists(), "another model reads it"
    assert run("remove", "other") == run("remove", "sharing") == 0
    assert labels.exists(), "only the model of that name takes it along"
    assert not (folder / "other.labels.txt").exists()


def test_files_of_a_terabyte_are_refused_in_seconds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "named.onnx").write_bytes(colour_model(("names", str(list(COLOURS)))))
    terabyte(folder / "named.labels.txt")
    terabyte(folder / "big.onnx")
    with within(20):
        assert run("add", "named.onnx", "--normalisation", "-1..1") == 2
        assert run("add", "big.onnx") == 2
    told = capsys.readouterr().err
    assert "named.labels.txt, got one with other classes" in told
    assert "1,099,511,627,776 bytes are more than" in told


def test_what_is_no_model_file_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.zip").write_bytes(b"PK")
    (folder / "weights.pt").write_bytes(b"")
    os.mkfifo(folder / "pipe.keras")  # opening it would never end
    for file, reason in {
        "model.zip": "got model.zip",
        "images": "one model",
        "weights.pt": "api.add_model",
        "pipe.keras": "pipe",
    }.items():
        assert run("add", file) == 2
        assert reason in capsys.readouterr().err
    assert not (folder / "models.toml").exists()


# --- the file of descriptions ---------------------------------------------------------------------

OTHERS = """\
# my models
[one]  # the first
path = "colours.onnx"
labels = "colours.txt"
input_size = 8
normalisation = "torch"

[one.check]
image = "a.png"
class = "red"

["two.b"]
path = "colours.onnx"
labels = "colours.txt"
input_size = 8
normalisation = {order = "RGB", scale = 1, mean = [0,
  0, 0], std = [1, 1, 1]}
"""


@pytest.mark.parametrize(("gone", "kept"), [("one", "two.b"), ("two.b", "one")])
def test_removing_one_leaves_the_others_as_they_are(folder: Path, gone: str, kept: str) -> None:
    (folder / "models.toml").write_text(OTHERS)
    before = described(folder)
    assert run("remove", gone) == 0
    assert described(folder) == {kept: before[kept]}
    assert "# my models" in (folder / "models.toml").read_text()
    assert (folder / "colours.onnx").exists()


def test_what_cannot_be_removed_line_by_line_is_left(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ('three = {path = "x"}\n', 'three.path = "x"\n', '[one]\na = """\n[three]\n"""\n'):
        (folder / "models.toml").write_text(text)
        assert run("remove", "three") == 2
        assert (folder / "models.toml").read_text() == text
    (folder / "models.toml").write_text("")
    assert "no model called 'three'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['a "quoted" \\ one', "é\t\u007f", "]\n[x"])
def test_any_text_is_written_as_toml(text: str) -> None:
    table = {"title": text, "mean": [1.0, 2], "check": {"image": text, "class": "x"}}
    assert tomllib.loads(own.entry_text("a", table)) == {"a": table}


# --- what others wrote beside or into the file ----------------------------------------------------


def test_classes_are_read_from_wherever_exporters_write_them(folder: Path) -> None:
    names = tuple(COLOURS)
    numbered = {str(place): name for place, name in enumerate(names)}
    texts = {
        "names": str(dict(enumerate(names))),
        "classes": json.dumps(names),
        "labels": ",".join(names),
        "id2label": json.dumps(numbered),
    }
    for key, text in texts.items():
        (folder / "told.onnx").write_bytes(colour_model((key, text)))
        assert metadata.class_names(folder / "told.onnx", len(COLOURS)) == names
    assert metadata.class_names(folder / "told.onnx", 5) == ()
    assert metadata.class_names(folder / "colours.onnx", len(COLOURS)) == ()
    (folder / "config.json").write_text(json.dumps({"id2label": numbered}))
    assert metadata.class_names(folder / "colours.onnx", len(COLOURS)) == names
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "red", "x": "blue"}}))
    assert metadata.class_names(folder / "colours.onnx", 2) == ()
    (folder / "colours.json").write_text(json.dumps({"index2label": numbered}))
    assert metadata.class_names(folder / "colours.onnx", len(COLOURS)) == names
    archive = io.BytesIO(b"TFL3" * 10)
    with zipfile.ZipFile(archive, "a") as labels:
        labels.writestr("labels.txt", "\n".join(names))
    (folder / "other").mkdir()
    (folder / "other" / "model.tflite").write_bytes(archive.getvalue())
    assert metadata.class_names(folder / "other" / "model.tflite", len(COLOURS)) == names


def test_normalisations_are_read_from_configurations(folder: Path) -> None:
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.2, 0.1]
    table = {"mean": mean, "std": std}
    told = {"image_mean": mean, "image_std": std, "rescale_factor": 1 / 255}

    def stated(**changes: Any) -> tuple[Any, Any]:
        (folder / "preprocessor_config.json").write_text(json.dumps({**told, **changes}))
        entry, sources = metadata.stated_entry(folder / "colours.onnx")
        return entry.get("normalisation"), sources.get("normalisation")

    assert metadata.stated_entry(folder / "colours.onnx") == ({}, {})
    assert stated() == (table, "preprocessor_config.json")
    assert stated(do_normalize=False) == ("0..1", "preprocessor_config.json")
    assert stated(image_std=[0, 1, 1]) == (None, None)
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": table}))
    assert stated(image_std=[0, 1, 1]) == (table, "config.json")


@pytest.mark.parametrize(
    "quantised", [Quantisation(1 / 128, 127, 0, 255), Quantisation(1 / 128, -1, -128, 127)]
)
def test_a_quantised_input_takes_the_values_of_pixels(quantised: Quantisation) -> None:
    found = metadata.of_integers(quantised)
    values = np.arange(256)
    real = (values - found.mean[0]) / found.std[0]
    integers = real / quantised.scale + quantised.zero_point
    np.testing.assert_allclose(integers - quantised.lowest, values, atol=1e-9)
