"""The user's own models: described in a file, loaded safely, and used like any other."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.support.process_memory import growing_at_most
from robustness import models
from robustness.base.errors import ParameterError, RobustnessError, WeightsError
from robustness.cli import main
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing, Picture, study_image
from robustness.measure.loop import evaluate
from robustness.measure.request import make_spec, study_conditions
from robustness.models import own
from robustness.models.check import check_model
from robustness.models.frameworks import keras, tensorflow
from robustness.models.loaded import LOADED
from tests.support.user_models import (
    DIGITS,
    describe,
    digit_file,
    digits_images,
    small_network,
    with_lambda,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that has learned the digits, as a ``.keras`` file."""
    keras().utils.set_random_seed(0)
    network = small_network()
    optimizer = keras().optimizers.Adam(0.01)
    network.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    images, classes = digits_images()
    network.fit(images[:1500], classes[:1500], epochs=8, batch_size=50, verbose=0)
    assert network.evaluate(images[1500:], classes[1500:], verbose=0)[1] > 0.85
    path = tmp_path_factory.mktemp("trained") / "digits.keras"
    network.save(path)
    return path


@cache
def network_file(**options: Any) -> bytes:
    """A small untrained network in the ``.keras`` format."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.keras"
        small_network(**options).save(path)
        return path.read_bytes()


def answers(network: Any, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(network(pictures, training=False))


# --- used like any other --------------------------------------------------------------------------


def test_a_model_of_digits_is_studied_from_the_command_line(
    models_folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = {"image": digit_file(models_folder, 7).name, "class": "seven"}
    describe(models_folder, path=str(trained), check=check, title="My digits", year=2026)
    pictures = [str(digit_file(models_folder, number)) for number in (0, 4, 7)]

    assert main.main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["digits"]["ready"]
    assert rows["digits"]["group"] == "own"
    assert rows["digits"]["weights_bytes"] == trained.stat().st_size
    assert models.default_names()[-1] == "digits"

    assert main.main(["predict", *pictures, "--models", "digits", "--json"]) == 0
    predictions = json.loads(capsys.readouterr().out)["predictions"]
    assert [entry["top"][0]["name"] for entry in predictions] == ["zero", "four", "seven"]
    assert all(answer["synset"] is None for answer in predictions[0]["top"])

    assert main.main(["study", *pictures, "--models", "digits,SqueezeNet", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    mine = [row for row in result["measurements"] if row["model"] == "digits"]
    assert len(mine) == 3 * 10
    assert {row["perturbation"] for row in mine} == {
        step for condition in study_conditions() for step, _ in condition.steps
    }
    assert all(0 <= row["top1"] < 10 and len(row["top5"]) == 5 for row in mine)
    assert 0 < sum(row["consistent"] for row in mine) < 30
    assert all(-1 <= row["cosine"] <= 1 and 0 <= row["euclidean"] <= 1 for row in mine)
    assert [entry["label_set"] for entry in result["summary"]] == ["digits", "ImageNet-1k"]

    checked = check_model("digits")
    assert checked.state == "ok"
    assert (checked.answers[0].picture, checked.answers[0].top1) == ("seven.png", "seven")
    assert checked.milliseconds is not None


def test_a_trained_model_has_as_many_parameters_as_its_parent(models_folder: Path) -> None:
    origin = {
        "parent": "SqueezeNet",
        "digest": "sha256:0",
        "trained_on": ["fog"],
        "images": "sha256:1",
        "image_count": 20,
        "epochs": 1,
        "rate": 0.01,
        "seed": 0,
        "share": 0.5,
        "recommended": False,
        "version": "1",
    }
    describe(models_folder, origin=origin)
    own.refresh()
    assert models.REGISTRY["digits"].parameters == models.REGISTRY["SqueezeNet"].parameters


def test_a_saved_model_answers_the_same(models_folder: Path) -> None:
    network = small_network()
    tensorflow().saved_model.save(network, str(models_folder / "saved"))
    describe(models_folder, path="saved")
    own.refresh()
    picture = study_image(sample_bytes("coffee"), Framing(side=8))[None]
    outputs = models.load("digits", side=8)(picture)
    np.testing.assert_allclose(outputs.probabilities, answers(network, picture), atol=1e-5)
    assert list(outputs.features) == ["8 x 8", "4 x 4", "embedding"]
    rows = list(
        evaluate(
            make_spec(["digits"], study_conditions(["fog"]), side=8), [Picture.of("c", picture[0])]
        )
    )
    assert [row.perturbation for row in rows] == ["fog"]


def test_grouped_and_recurrent_layers_become_one_graph(models_folder: Path) -> None:
    layers = keras().layers
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", groups=4)(layers.Conv2D(8, 3, padding="same")(inputs))
    x = layers.GRU(6)(layers.Reshape((8, 64))(x))
    network = keras().Model(inputs, layers.Dense(10, activation="softmax")(x))
    network.save(models_folder / "digits.keras")
    describe(models_folder)
    own.refresh()
    picture = study_image(sample_bytes("coffee"), Framing(side=8))[None]
    outputs = models.load("digits", side=8)(picture)
    np.testing.assert_allclose(outputs.probabilities, answers(network, picture), atol=1e-5)
    assert list(outputs.features) == ["8 x 8", "embedding"]


# --- the file changes -----------------------------------------------------------------------------


def test_without_a_file_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = models.REGISTRY.names
    monkeypatch.delenv("ROBUSTNESS_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)
    own.refresh()
    assert models.REGISTRY.names == before
    small_network().save(tmp_path / "digits.keras")
    describe(tmp_path)
    own.refresh()
    assert models.REGISTRY.names == (*before, "digits")
    (tmp_path / "models.toml").unlink()
    own.refresh()
    assert models.REGISTRY.names == before


# --- what is refused, each in a sentence ----------------------------------------------------------


def assert_one_sentence(error: BaseException) -> None:
    text = str(error)
    assert isinstance(error, RobustnessError)
    assert text.endswith(".")
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) < 500


DESCRIPTIONS = {
    "a key too few": ({"labels": None}, "'labels' is missing"),
    "an unknown key": ({"labls": "x"}, r"no 'labls'\. Did you mean 'labels'\?"),
    "a size too large": ({"input_size": 5000}, "from 8 to 1024.*got 5000"),
    "an unknown normalisation": ({"normalisation": "zscore"}, "\"-1..1\".*got 'zscore'"),
    "a scale beyond all floats": (
        {"normalisation": {"order": "RGB", "scale": 10**400, "mean": [0] * 3, "std": [1] * 3}},
        "more than 64 bits",
    ),
    "a mean that is no number": (
        {
            "normalisation": {
                "order": "RGB",
                "scale": 1,
                "mean": [0, 0, float("nan")],
                "std": [1] * 3,
            }
        },
        "normalisation: mean 3: expected",
    ),
    "a mean of two": (
        {"normalisation": {"mean": [0, 0], "std": [1] * 3}},
        "normalisation: mean 3: expected a value, got none",
    ),
    "a path in nobody's home": ({"path": "~nobody-here/x.keras"}, "a user without a home"),
    "another model's title": ({"title": "SqueezeNet 1.1"}, "title that no other model has"),
    "a name that is taken": ({"name": "VGG16"}, "a bundled model has that name"),
    "a name with a slash": ({"name": "a/b"}, "letters, digits"),
}


@pytest.mark.parametrize(("changes", "said"), DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys())
def test_a_bad_description_is_refused(
    models_folder: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    before = models.REGISTRY.names
    describe(models_folder, **changes)
    with pytest.raises(ParameterError, match=said) as caught:
        own.refresh()
    assert_one_sentence(caught.value)
    assert "models.toml" in str(caught.value)
    assert models.REGISTRY.names == before
    assert main.main(["models"]) == 2
    assert "models.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[digits\n", "not valid TOML"),
        ("digits = 3\n", "expected a table"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_a_file_that_is_no_description_is_refused(
    models_folder: Path, text: str | bytes, said: str
) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (models_folder / "models.toml").write_bytes(data)
    with pytest.raises(ParameterError, match=said) as caught:
        own.refresh()
    assert_one_sentence(caught.value)


def test_a_named_file_that_is_not_there_is_refused(models_folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"setting 'models' names .*models\.toml") as caught:
        own.refresh()
    assert_one_sentence(caught.value)


def with_a_class_of_its_own(models_folder: Path) -> None:
    (models_folder / "digits.keras").write_bytes(network_file())
    edit_config(models_folder / "digits.keras", '"module": "keras.layers"', '"module": "os.path"')


def edit_config(path: Path, old: str, new: str) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert old in parts["config.json"].decode()
    parts["config.json"] = parts["config.json"].decode().replace(old, new).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def damaged(models_folder: Path) -> None:
    data = network_file()
    (models_folder / "digits.keras").write_bytes(data[: len(data) // 2])


def bad_weights(models_folder: Path) -> None:
    (models_folder / "digits.keras").write_bytes(network_file())
    edit_config(models_folder / "digits.keras", '"filters": 16', '"filters": 17')


def two_outputs(models_folder: Path) -> None:
    layers = keras().layers
    inputs = layers.Input((8, 8, 3))
    x = layers.Flatten()(inputs)
    outputs = [layers.Dense(10, activation="softmax")(x) for _ in range(2)]
    keras().Model(inputs, outputs).save(models_folder / "digits.keras")


def saved(**options: Any) -> Any:
    return lambda models_folder: (models_folder / "digits.keras").write_bytes(
        network_file(**options)
    )


def not_a_saved_model(models_folder: Path) -> None:
    (models_folder / "digits.keras").mkdir()
    (models_folder / "digits.keras" / "saved_model.pb").write_bytes(b"nothing")


def random_saved_model(models_folder: Path) -> None:
    """Keras exports its layers of augmentation as they are in training."""
    layers = keras().layers
    inputs = layers.Input((8, 8, 3))
    found = layers.Flatten()(layers.RandomTranslation(0.4, 0.4)(inputs))
    network = keras().Model(inputs, layers.Dense(10, activation="softmax")(found))
    network.export(models_folder / "digits.keras", verbose=False)


def with_nan(models_folder: Path) -> None:
    network = small_network()
    network.get_layer("head").bias.assign(np.full(10, np.nan))
    network.save(models_folder / "digits.keras")


def a_pipe(models_folder: Path) -> None:
    os.mkfifo(models_folder / "digits.keras")


def a_pipe_within(models_folder: Path) -> None:
    (models_folder / "digits.keras").mkdir()
    os.mkfifo(models_folder / "digits.keras" / "saved_model.pb")


MODELS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a Lambda layer": (with_lambda, {}, "holds a Lambda layer"),
    "a class of another package": (with_a_class_of_its_own, {}, "not part of Keras"),
    "half a file": (damaged, {}, "not a model in Keras 3's own format"),
    "weights of another shape": (bad_weights, {}, "cannot be loaded"),
    "two outputs": (two_outputs, {}, "expected one output of 10 classes, got"),
    "another size": (saved(), {"input_size": 16}, r"\(N, 16, 16, 3\), got"),
    "one sigmoid": (saved(classes=1, activation="sigmoid"), {}, "one output for each class"),
    "logits undeclared": (saved(activation=None), {}, 'not a distribution.*output = "logits"'),
    "an unknown layer": (saved(), {"features": ["conv9"]}, "no layer 'conv9'.*pool2"),
    "no SavedModel": (not_a_saved_model, {}, "cannot be used as a SavedModel"),
    "random numbers": (random_saved_model, {}, "used random numbers"),
    "NaN": (with_nan, {}, "not finite"),
    "a pipe": (a_pipe, {}, "cannot be read: it is a pipe or device"),
    "a SavedModel with a pipe": (a_pipe_within, {}, "holds a pipe, a device or a broken link"),
}


@pytest.mark.parametrize(("make", "changes", "said"), MODELS.values(), ids=MODELS.keys())
def test_a_model_that_is_not_as_described_is_refused(
    models_folder: Path,
    capsys: pytest.CaptureFixture[str],
    make: Any,
    changes: dict[str, Any],
    said: str,
) -> None:
    make(models_folder)
    describe(models_folder, **changes)
    own.refresh()
    with pytest.raises(WeightsError, match=said) as caught:
        models.load("digits")
    assert_one_sentence(caught.value)
    assert "digits" not in LOADED.names()
    state = models.state(models.REGISTRY["digits"])
    assert not state.ready, "what failed once is not offered again"
    assert state.reason == str(caught.value)
    assert main.main(["study", str(digit_file(models_folder, 1)), "--models", "digits"]) == 2
    assert str(caught.value) in capsys.readouterr().err
    describe(models_folder)
    small = models_folder / "digits.keras"
    if small.is_file():
        small.write_bytes(network_file())
        own.refresh()
        assert models.state(models.REGISTRY["digits"]).ready, "mended"


def swollen(path: Path) -> None:
    """The weights as 120 MB of zeros, packed into 120 KB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        with archive.open("model.weights.h5", "w") as weights:
            for _ in range(120):
                weights.write(bytes(1_000_000))


def crowded(path: Path) -> None:
    """A list of contents that names one file for ever."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    data = path.read_bytes()
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entries = data[start:end] * 200_000
    sizes = struct.pack("<HHLL", 9, 9, len(entries), start)
    path.write_bytes(data[:start] + entries + data[end : end + 8] + sizes + data[end + 20 :])


def declared_large(path: Path) -> None:
    """Layers of 900 million weights, none of which the file holds."""
    layers = keras().layers
    inputs = layers.Input((8, 8, 3))
    x = layers.Dense(4, name="wide")(layers.Dense(4, name="wider")(layers.Flatten()(inputs)))
    keras().Model(inputs, layers.Dense(10, activation="softmax")(x)).save(path)
    for old in ('"units": 4', "[null, 4]"):
        edit_config(path, old, old.replace("4", "30000"))


def large_when_it_runs(path: Path) -> None:
    """A few weights, and features of 27 GB for an image."""
    layers = keras().layers
    inputs = layers.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.UpSampling2D(6000)(inputs))
    keras().Model(inputs, layers.Dense(10, activation="softmax")(x)).save(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (declared_large, "declare 90.,...,... weights, and the file holds"),
        (large_when_it_runs, "ResourceExhausted|memory"),
        (swollen, "would unpack to 120,000,002, as no weights do"),
        (crowded, "is not a model in Keras 3's own format"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bomb_is_refused_before_it_takes_memory(
    models_folder: Path, make: Callable[[Path], None], said: str
) -> None:
    make(models_folder / "digits.keras")
    describe(models_folder)
    own.refresh()
    keras()
    with growing_at_most(60), pytest.raises(WeightsError, match=said) as caught:
        models.load("digits")
    assert_one_sentence(caught.value)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"one\n", "the lines of.*two or more different classes; got 1"),
        (b"one\ntwo\none\n", "'one' is listed twice"),
        (b"one\n" + bytes(2000), "one has 2,000 characters, more than 1,000"),
    ],
)
def test_a_label_file_that_cannot_serve_is_named(
    models_folder: Path, labels: bytes | None, said: str
) -> None:
    small_network().save(models_folder / "digits.keras")
    describe(models_folder, labels="mine.txt")
    if labels is not None:
        (models_folder / "mine.txt").write_bytes(labels)
    own.refresh()
    state = models.state(models.REGISTRY["digits"])
    assert not state.ready
    with pytest.raises(WeightsError, match=said) as caught:
        models.load("digits")
    assert_one_sentence(caught.value)
    assert "digits" not in models.default_names()


def test_files_of_a_windows_editor_are_read_as_they_are_meant(models_folder: Path) -> None:
    small_network().save(models_folder / "digits.keras")
    for file in (describe(models_folder), models_folder / "digits.txt"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    own.refresh()
    assert models.REGISTRY["digits"].labels().names == DIGITS


@pytest.mark.parametrize("path", ["digits.keras", "x" * 300], ids=len)
def test_a_missing_model_is_named(models_folder: Path, path: str) -> None:
    describe(models_folder, path=path)
    assert main.main(["models"]) == 0
    assert not models.state(models.REGISTRY["digits"]).ready
    with pytest.raises(WeightsError, match="there is no model at"):
        models.resolve(["digits"])
