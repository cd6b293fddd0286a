"""The pages' scripts, run without a browser."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import pytest
from streamlit.runtime.state.session_state import SessionState

from benchmarks.support.repository import ROOT
from robustness.evaluation.loop import evaluate
from robustness.evaluation.request import make_spec
from robustness.evaluation.suites import study_conditions
from robustness.evaluation.sweep import Break, sweep
from robustness.perturbations import REGISTRY
from robustness.pictures.samples import sample_bytes
from robustness.ui.computation import cache
from robustness.ui.server.streamlit_internals import report_ignored_values
from robustness.ui.session.inputs import link_number, warn_of_link
from tests.support.bad_images import BAD
from tests.support.pages import changes, headline, html, on, pictures, run, sample, texts


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


@pytest.mark.parametrize(("said", "is_named"), [("own", True), ("My own choice", False)])
def test_a_link_names_a_choice_by_its_id_alone(said: str, is_named: bool) -> None:
    app = run(ROOT / "pages" / "evaluations.py", models="SqueezeNet", suite=said)
    chosen = app.segmented_control(key="suite").value
    assert (chosen == "own") == is_named
    assert ("suite" in app.query_params) == is_named
    assert bool([text for text in app.warning if "suite" in text.value]) is not is_named


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "9" * 400])
@pytest.mark.parametrize(
    ("page", "link", "keys"),
    [
        (
            "app.py",
            {"view": "attack", "attack": "pgd", "epsilon": "0", "sample": "coffee"},
            ("seed", "restarts", "steps_pgd"),
        ),
        (
            "pages/evaluations.py",
            {"question": "release"},
            ("seed", "limit", "max_loss", "min_consistency"),
        ),
    ],
    ids=["attack", "release"],
)
def test_a_number_of_the_link_that_is_none_is_said_and_ignored(
    page: str,
    link: dict[str, str],
    keys: Sequence[str],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    seed = SessionState._seed_widget_from_url
    monkeypatch.setattr(SessionState, "_seed_widget_from_url", seed)  # put back afterwards
    report_ignored_values(warn_of_link, link_number)
    app = run(ROOT / page, models="SqueezeNet", **link, **dict.fromkeys(keys, text))
    said = texts(app)
    assert {key: f"{key}={text[:40]}" in said for key in keys} == dict.fromkeys(keys, True)
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


def test_the_scorecard_ranks_and_shows_every_perturbation() -> None:
    app = run(view="scorecard", sample="coffee", models="SqueezeNet")
    text = html(app)
    for record in REGISTRY:
        if record.in_study:
            assert escape(record.label) in text
    kept = sum(
        row.consistent
        for row in evaluate(make_spec(["SqueezeNet"], study_conditions()), [sample("coffee")])
    )
    assert f"SqueezeNet 1.1 kept its prediction under {kept} of 10 perturbations" in headline(app)
    assert "Ranking" not in [header.value for header in app.header], "one image ranks nothing"
    assert "DenseNet121" in text  # the published figures stand there whatever was run
    dial = app.segmented_control(key="mode").set_value("same").run()
    assert not dial.exception
    dial.query_params["dial"] = "0.05"
    weak = dial.run()
    spec = make_spec(["SqueezeNet"], study_conditions(strength=0.05))
    unchanged = sum(row.consistent for row in evaluate(spec, [sample("coffee")]))
    assert f"under {unchanged} of 10 perturbations" in headline(weak)


def test_the_scorecard_takes_several_pictures_and_flags_unsure_ones() -> None:
    app = run(view="scorecard", sample="coffee", models="SqueezeNet", also="rocket")
    assert "of 20" in html(app)
    assert "21% on rocket" in app.warning[0].value
    app.file_uploader[0].upload("mine.png", sample_bytes("astronaut"), "image/png").run()
    assert any("mine" in caption.value for caption in app.caption)
    assert "of 20" in html(app)


def test_the_breaking_point_page_gives_the_core_s_numbers() -> None:
    link = {"view": "breaking", "sample": "coffee", "models": "SqueezeNet"}
    app = run(perturbation="rotation", **link)
    (found,) = [
        e for e in sweep(sample("coffee"), ["rotation"], ["SqueezeNet"]) if isinstance(e, Break)
    ]
    assert f">{found.strength:.3f}</td>" in html(app)
    assert f"at strength {found.strength:.2f}" in headline(app)
    app.selectbox(key="quantity").set_value("ssim").run()
    assert not app.exception
    assert on(app) == {"rotation": found.strength}, "the first image is the one that decides"
    app.query_params["shown_strength"] = "0"
    app.run()
    assert "identical" in pictures(app)[0]["text"]
    link = {name: app.query_params[name] for name in app.query_params}
    again = run(**link)
    assert again.selectbox(key="quantity").value == "ssim"
    assert "identical" in pictures(again)[0]["text"]


def test_a_link_may_name_a_choice_as_commands_do() -> None:
    link = {"view": "breaking", "models": "SqueezeNet"}
    app = run(**link, perturbation="rotation", with_remedy="wind")
    assert app.selectbox(key="perturbation").value == "rotation"
    assert "wind" in app.warning[0].value


def test_a_view_goes_on_with_the_image_and_the_perturbation_of_the_last() -> None:
    app = run(sample="rocket", models="SqueezeNet", rotation="0.3")
    app.selectbox(key="shows").set_value("missile").run()
    app.segmented_control(key="view").set_value("breaking").run()
    assert app.selectbox(key="perturbation").value == "rotation"
    app.segmented_control(key="view").set_value("scorecard").run()
    assert app.selectbox(key="shows").value == "missile"
    assert headline(app).startswith("rocket: ")
    app.segmented_control(key="view").set_value("live").run()
    assert on(app) == {"rotation": 0.3}
    assert app.query_params["rotation"] == "0.3"


def test_only_the_open_view_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = changes(monkeypatch)
    monkeypatch.setattr(cache, "answers", None)  # neither images nor predictions of Live
    run(view="scorecard", sample="coffee", models="SqueezeNet")
    assert not computed


def test_no_model_chosen_asks_for_one() -> None:
    app = run(sample="coffee")
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
