"""Adding a model on the Models page, and removing it, without a browser."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import ROOT
from robustness import models
from robustness.base.text import share
from robustness.cli.main import main
from robustness.models.frameworks import tensorflow
from robustness.ui import add
from tests.models.test_describe import COLOURS, colour_model
from tests.support.clip_folder import write_clip
from tests.support.pages import html, run

MODELS = ROOT / "pages" / "models.py"


@pytest.fixture
def folder(models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds a model of colours and an image of each; the working folder."""
    monkeypatch.chdir(models_folder)
    (models_folder / "colours.onnx").write_bytes(colour_model())
    for name, colour in COLOURS.items():
        (models_folder / "images" / name).mkdir(parents=True)
        Image.new("RGB", (12, 12), colour).save(models_folder / "images" / name / "1.png")
    return models_folder


def opened(path: Path) -> AppTest:
    app = run(MODELS)
    app.segmented_control(key="add_kind").set_value(add.ON_SERVER).run()
    return app.text_input(key="add_path").set_value(str(path)).run()


def uploaded(content: bytes) -> AppTest:
    app = run(MODELS)
    return app.file_uploader(key="add_upload 0").set_value([("colours.onnx", content, "")]).run()


def errors(app: AppTest) -> str:
    return " ".join(element.value.replace("\\", "") for element in app.error)


def test_a_model_is_added_with_what_only_the_user_knows_and_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = len(COLOURS) + 1
    doubtful = Image.new("RGB", (12, 12), (151, 151, 151))  # between grey and light
    doubtful.save(folder / "images" / "grey" / "2.png")
    tried: list[tuple[str, Any]] = []
    link = lambda page, _label, _icon, query: tried.append((page, query))  # noqa: E731
    monkeypatch.setattr(add, "page_link", link)
    app = opened(folder / "colours.onnx")
    assert "7 outputs: name 7 classes." in app.info[0].value
    lines = "add lines colours"
    app.text_area(key=lines).set_value("red\ngreen").run()
    assert "This model has 7 outputs; you named 2 classes." in errors(app)
    app.text_area(key=lines).set_value("\n".join(COLOURS)).run()
    assert "Choose a normalisation" in app.info[0].value, "no labelled images"
    app.text_input(key="add images colours").set_value(str(folder / "missing")).run()
    assert "Expected sub-folders of missing named after classes, such as 'red'" in errors(app)
    app.text_input(key="add images colours").set_value(str(folder / "images")).run()
    cells = re.findall("<t[dh][^>]*>(.*?)</t[dh]>", html(app), re.DOTALL)
    *head, _ = cells[: cells.index("-1..1") + 1]
    assert head[2:] == ["Mean confidence", "Mean probability of the true class"]
    assert cells[4:8] == ["-1..1", f"{len(COLOURS)} of {images}", "96.4%", "91.2%"]
    app.text_input(key="add name colours").set_value("x" * 70).run()
    assert "at most 64 characters, got 70" in errors(app)
    assert app.button(key="add_model").disabled
    assert any("a valid name" in caption.value for caption in app.caption), "what it lacks"
    assert app.text_area(key=lines).value == "\n".join(COLOURS), "nothing is forgotten"
    app.text_input(key="add name colours").set_value("colours").run()
    assert not any("Still needed" in caption.value for caption in app.caption)
    app.button(key="add_model").click().run()
    assert not errors(app)
    assert any("colours" in each.value and "added" in each.value for each in app.markdown)
    assert ("app.py", {"models": "colours"}) in tried
    described = tomllib.loads((folder / "models.toml").read_text())["colours"]
    assert described["normalisation"] == "-1..1"
    assert models.REGISTRY["colours"].labels().names == tuple(COLOURS)
    app.segmented_control(key="view").set_value("weights").run()
    accuracy = models.REGISTRY["colours"].accuracy
    assert accuracy is not None
    assert accuracy.correct == len(COLOURS)
    captions = [caption.value.replace("\\", "") for caption in app.caption]
    assert any(accuracy.text in caption for caption in captions)
    assert "-1..1, from the images it was tried on" in html(app)
    app.button(key="remove_colours").click().run()
    assert "colours" not in models.REGISTRY
    assert (folder / "colours.onnx").exists()
    (folder / "colours.txt").write_text("\n".join(COLOURS))
    words = ["models", "add", "colours.onnx", "--labels", "colours.txt", "--images", "images"]
    assert main([*words, "--dry-run"]) == 0
    console = capsys.readouterr().out
    assert main([*words, "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["entry"]["accuracy"] == described["accuracy"], "as in the file of models"
    assert accuracy.text in console
    for trial in document["trials"][:3]:
        sure, true = (share(trial[name]) for name in ("confidence", "true_class_probability"))
        means = f"mean confidence {sure}, mean probability of the true class {true}"
        assert f"{trial['correct']} correct, {means}" in console
        if trial["name"] == "-1..1":
            assert [sure, true] == cells[6:8], "as on the page"


def test_a_normalisation_that_images_do_not_decide_is_chosen(folder: Path) -> None:
    for name in set(COLOURS) - {"green", "pale"}:  # of which several normalisations are right
        (folder / "images" / name / "1.png").unlink()
    app = uploaded(colour_model(("names", str(list(COLOURS)))))
    app.text_input(key="add images colours").set_value(str(folder / "images")).run()
    assert "These images cannot decide" in app.info[0].value
    assert app.button(key="add_model").disabled
    app.selectbox(key="add normalisation colours").set_value("-1..1").run()
    app.selectbox(key="add fit colours").set_value("crop").run()
    assert not app.button(key="add_model").disabled


def test_a_file_that_is_no_model_is_a_sentence(folder: Path) -> None:
    (folder / "bad.onnx").write_bytes(b"no model")
    app = opened(folder / "bad.onnx")
    assert "bad.onnx cannot be used" in errors(app)
    assert not app.exception
    app.text_input(key="add_path").set_value(str(folder / "missing.onnx")).run()
    assert "no file" in errors(app)


def test_only_owners_are_offered_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_LOCAL_ROLE", "evaluator")
    assert not run(MODELS).file_uploader


def test_uploaded_files_are_kept_under_the_name_given(folder: Path) -> None:
    app = uploaded(colour_model(("names", str(list(COLOURS)))))
    app.text_input(key="add images colours").set_value(str(folder / "images")).run()
    app.text_input(key="add name colours").set_value("mine").run()
    app.button(key="add_model").click().run()
    assert not errors(app)
    kept = folder / "added-models" / "mine"
    assert [file.name for file in kept.iterdir()] == ["colours.onnx"]
    assert models.state(models.REGISTRY["mine"]).ready
    app.segmented_control(key="view").set_value("weights").run()
    app.button(key="remove_mine").click().run()
    assert not kept.exists()


def saved_model(folder: Path) -> Path:
    """A program that writes a file into ``folder`` when it predicts."""
    tf = tensorflow()

    module: Any = tf.Module

    class Writer(module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32)])
        def __call__(self, images: Any) -> Any:
            tf.io.write_file(str(folder / "ran"), "it ran")
            return tf.nn.softmax(tf.reduce_mean(images, (1, 2)) * tf.ones((3,)))

    writer = Writer()
    tf.saved_model.save(writer, str(folder / "saved"), signatures=writer.__call__)
    return folder / "saved"


def test_a_saved_model_runs_only_once_it_is_trusted(folder: Path) -> None:
    saved = saved_model(folder)
    app = opened(saved)
    assert "SavedModel" in errors(app)
    assert not (folder / "ran").exists()
    (tick,) = [box for box in app.checkbox if "SavedModel" in box.label]
    tick.check().run()
    assert "SavedModel" not in errors(app)


def test_preprocessing_is_chosen_by_its_names(folder: Path) -> None:
    app = opened(folder / "colours.onnx")
    app.text_area(key="add lines colours").set_value("\n".join(COLOURS)).run()
    app.selectbox(key="add resize colours").set_value("opencv").run()
    assert "area" in app.selectbox(key="add interpolation colours").options
    assert "hamming" not in app.selectbox(key="add interpolation colours").options
    app.selectbox(key="add interpolation colours").set_value("area").run()
    app.selectbox(key="add normalisation colours").set_value("-1..1").run()
    app.number_input(key="add crop_pct colours").set_value(0.9).run()
    assert "crop at 8 px (0.9 kept, area, resized as opencv), as given" in " ".join(
        caption.value for caption in app.caption
    )
    app.button(key="add_model").click().run()
    table = tomllib.loads((folder / "models.toml").read_text())["colours"]
    assert (table["resize"], table["interpolation"], table["crop_pct"]) == ("opencv", "area", 0.9)


def test_a_clip_folder_is_added_with_classes_and_templates(folder: Path) -> None:
    write_clip(folder / "my-clip")
    app = opened(folder / "my-clip")
    assert "does not name its classes" in app.info[0].value
    app.text_area(key="add lines my-clip").set_value("cat\ndog").run()
    app.text_area(key="add templates my-clip").set_value("no place for a class").run()
    assert "each with {} once" in errors(app)
    app.text_area(key="add templates my-clip").set_value("photo {}\nthe {}").run()
    app.button(key="add_model").click().run()
    tables = tomllib.loads((folder / "models.toml").read_text())
    assert tables["my-clip"]["templates"] == ["photo {}", "the {}"]
    assert models.REGISTRY["my-clip"].labels().names == ("cat", "dog")
