"""Adding a model on the Models page, and removing it, without a browser."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from robustness import models
from robustness.models.own.propose import propose
from robustness.models.tensorflow_runtime import tensorflow
from robustness.ui import add_model
from tests.models.own.test_adding import COLOURS, colour_model
from tests.support.pages import html, run
from tests.support.places import ROOT
from tests.support.shared_examiner import ended, one_process

__all__ = ["ended", "one_process"]

MODELS = ROOT / "pages" / "models.py"


@pytest.fixture
def folder(models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds a model of colours and an image of each; the working folder."""
    monkeypatch.chdir(models_folder)
    (models_folder / "colours.onnx").write_bytes(colour_model(("license", "CC0-1.0")))
    for name, colour in COLOURS.items():
        (models_folder / "images" / name).mkdir(parents=True)
        Image.new("RGB", (12, 12), colour).save(models_folder / "images" / name / "1.png")
    return models_folder


def opened(path: Path) -> AppTest:
    app = run(MODELS)
    app.segmented_control(key="add_kind").set_value(add_model.ON_SERVER).run()
    return app.text_input(key="add_path").set_value(str(path)).run()


def inspected(path: Path, images: Path) -> AppTest:
    app = opened(path)
    app.text_input(key="add_images").set_value(str(images)).run()
    return app.button(key="inspect").click().run()


def errors(app: AppTest) -> str:
    return " ".join(element.value.replace("\\", "") for element in app.error)


def test_a_model_is_added_with_what_only_the_user_knows_and_removed(folder: Path) -> None:
    app = inspected(folder / "colours.onnx", folder / "images")
    assert not app.exception
    assert not [button for button in app.button if button.key == "add_model"], "no classes yet"
    app.text_area(key="add lines colours").set_value("\n".join(COLOURS)).run()
    app.button(key="inspect again").click().run()
    assert f"{len(COLOURS)} of {len(COLOURS)}" in html(app), "the trial of normalisations"
    app.button(key="add_model").click().run()
    assert not errors(app)
    described = tomllib.loads((folder / "models.toml").read_text())["colours"]
    assert described["normalisation"] == "-1..1"
    assert models.REGISTRY["colours"].labels().names == tuple(COLOURS)
    assert "CC0-1.0" in html(app), "its card names its licence"
    app.button(key="remove_colours").click().run()
    assert "colours" not in models.REGISTRY
    assert (folder / "colours.onnx").exists()


def test_a_file_that_is_no_model_is_a_sentence(folder: Path) -> None:
    (folder / "bad.onnx").write_bytes(b"no model")
    app = inspected(folder / "bad.onnx", folder / "images")
    assert "bad.onnx cannot be used" in errors(app)
    assert not app.exception
    app.text_input(key="add_path").set_value(str(folder / "missing.onnx")).run()
    assert "no file" in errors(app.button(key="inspect").click().run())


def test_only_owners_are_offered_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_LOCAL_ROLE", "evaluator")
    assert "inspect" not in {button.key for button in run(MODELS).button}


def test_uploaded_files_are_kept_under_the_name_given(folder: Path) -> None:
    app = run(MODELS)
    upload = app.file_uploader(key="add_upload")
    upload.set_value([("colours.onnx", colour_model(("names", str(list(COLOURS)))), "")]).run()
    app.text_input(key="add_images").set_value(str(folder / "images")).run()
    app.button(key="inspect").click().run()
    (name,) = [box for box in app.text_input if str(box.key).startswith("add_name")]
    name.set_value("mine").run()
    app.button(key="add_model").click().run()
    assert not errors(app)
    kept = folder / "added-models" / "mine"
    assert [file.name for file in kept.iterdir()] == ["colours.onnx"]
    assert models.state(models.REGISTRY["mine"]).ready
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
    upload = shutil.make_archive(str(folder / "packed"), "zip", saved)
    app = run(MODELS)
    app.file_uploader(key="add_upload").set_value(
        [("packed.zip", Path(upload).read_bytes(), "")]
    ).run()
    assert "SavedModel" in errors(app.button(key="inspect").click().run())
    app = opened(saved)
    assert "SavedModel" in errors(app.button(key="inspect").click().run())
    assert not (folder / "ran").exists()
    (tick,) = [box for box in app.checkbox if "SavedModel" in box.label]
    tick.check().run()
    assert "SavedModel" not in errors(app.button(key="inspect").click().run())


def test_the_inspection_tells_its_steps_and_can_be_cancelled(folder: Path) -> None:
    table = {"order": "RGB", "scale": 2.0, "mean": [1, 1, 1], "std": [1, 1, 1]}
    (folder / "c.txt").write_text("\n".join(COLOURS))
    given = {"labels": str(folder / "c.txt"), "normalisation": table}
    steps: list[str] = []
    file, images = folder / "colours.onnx", folder / "images"
    description = propose(file, given, name="c", images=images, said=steps.append)
    assert description.entry["normalisation"] == table
    assert not description.missing
    assert description.samples
    assert "reading the file" in steps
    assert "trying normalisation 11 of 11" in steps

    def cancel(step: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        propose(file, given, name="c", images=images, said=cancel)
