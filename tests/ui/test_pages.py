"""The pages' scripts, run without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.runtime.state.session_state import SessionState

from benchmarks.support.repository import PAGES, ROOT
from robustness.ui import shared
from robustness.ui.patches import report_ignored_values
from robustness.ui.session import link_number, warn_of_link
from tests.support.bad_images import BAD
from tests.support.pages import changes, html, on, run, texts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_opens_on_its_own(page: Path) -> None:
    app = run(page, models="SqueezeNet", sample="coffee", perturbation="Rotation", steps_pgd="1")
    assert not app.exception
    assert not app.error
    assert app.title[0].value


def test_a_model_of_the_link_that_cannot_run_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    app = run(sample="coffee", models="VGG16")
    assert "VGG16: weights missing, 553 MB" in app.warning[0].value.replace("\\", "")
    assert not any("weights missing" in each.value for each in app.sidebar.caption)
    assert not app.run().warning, "the link is corrected"
    assert "Did you mean" in run(sample="coffee", models="SqueezeNt").warning[0].value


def test_a_link_holds_names_and_the_page_shows_labels() -> None:
    names = ["SqueezeNet", "EfficientNetLite0"]
    app = run(ROOT / "pages" / "evaluations.py", models=names)
    chosen = app.multiselect(key="models")
    assert chosen.value == app.query_params["models"] == names
    assert "EfficientNet-Lite0" in chosen.options
    assert "EfficientNetLite0" not in chosen.options


@pytest.mark.parametrize(("said", "is_named"), [("own", True), ("My choice", False)])
def test_a_link_names_a_choice_by_its_id_alone(said: str, is_named: bool) -> None:
    app = run(ROOT / "pages" / "evaluations.py", models="SqueezeNet", suite=said)
    chosen = app.segmented_control(key="suite").value
    assert (chosen == "own") == is_named
    assert ("suite" in app.query_params) == is_named
    assert bool([text for text in app.warning if "suite" in text.value]) is not is_named


def test_a_number_of_the_link_that_is_none_is_said_and_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    link = {"seed": "inf", "limit": "-inf", "max_loss": "nan", "min_consistency": "9" * 400}
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    seed = SessionState._seed_widget_from_url
    monkeypatch.setattr(SessionState, "_seed_widget_from_url", seed)  # put back afterwards
    report_ignored_values(warn_of_link, link_number)
    page = ROOT / "pages" / "evaluations.py"
    app = run(page, models="SqueezeNet", question="release", **link)
    said = texts(app)
    assert not [key for key, text in link.items() if f"{key}={text[:40]}" not in said]
    assert "9" * 41 not in said
    assert app.number_input(key="seed").value == 0


def test_a_choice_and_its_link_stay_in_step() -> None:
    app = run(ROOT / "pages" / "evaluations.py", models="SqueezeNet")
    app.segmented_control(key="labelling").set_value("none").run()
    assert app.query_params["labelling"] == "none"
    app.query_params["labelling"] = "known"  # as Back has it
    assert app.run().segmented_control(key="labelling").value == "known"
    app.query_params.pop("labelling")
    assert app.run().segmented_control(key="labelling").value == "folders"
    app.query_params["labelling"] = "known"  # the browser does not have the last link yet
    app.segmented_control(key="labelling").set_value("none").run()
    shown = app.segmented_control(key="labelling").value
    assert app.query_params["labelling"] == shown == "none"


@pytest.mark.usefixtures("few_cells")
def test_a_view_goes_on_with_the_image_and_the_perturbation_of_the_last() -> None:
    app = run(sample="rocket", models="SqueezeNet", rotation="0.3")
    app.selectbox(key="shows").set_value("missile").run()
    app.segmented_control(key="view").set_value("map").run()
    assert app.selectbox(key="shows").value == "missile"
    assert "rocket" in texts(app)
    app.segmented_control(key="view").set_value("live").run()
    assert on(app) == {"rotation": 0.3}
    assert app.query_params["rotation"] == "0.3"


@pytest.mark.usefixtures("few_cells")
def test_only_the_open_view_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = changes(monkeypatch)
    monkeypatch.setattr(shared, "answers", None)  # neither images nor predictions of Live
    run(view="map", sample="coffee", models="SqueezeNet")
    assert not computed


def test_no_model_chosen_asks_for_one() -> None:
    app = run(sample="coffee", models="SqueezeNet")
    app.multiselect(key="models").set_value([]).run()
    assert not app.exception
    assert "Choose at least one model" in app.info[0].value


def test_a_bad_upload_gets_one_sentence_and_the_sample_stays() -> None:
    name = "truncated JPEG"
    app = run(sample="coffee", models="SqueezeNet")
    before = html(app)
    app.file_uploader[0].upload(f"{name}.png", BAD[name](), "image/png").run()
    assert not app.exception
    assert len(app.error) == 1
    assert "Traceback" not in app.error[0].value
    assert html(app) == before
