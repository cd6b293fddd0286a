"""New evaluations, and the other pages' side of the links into a run; without a browser."""

from __future__ import annotations

import io
import re
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.image_folders import labelled_folder
from benchmarks.support.repository import ROOT
from robustness import runs
from robustness.images.decoding import sample_bytes
from robustness.images.pixels import to_jpeg, to_png
from robustness.matching import FEWEST, AccuracyEstimate, ExpectedAccuracy, Match, SampleImage
from robustness.measure.condition import Condition
from robustness.measure.request import make_spec
from robustness.models.record import imagenet
from robustness.report.tables import verdict_of
from robustness.ui import session as ui_session
from robustness.ui import uploads
from robustness.ui.evaluations import form
from tests.matching.test_run import example
from tests.support.bad_images import BAD
from tests.support.jobs import in_threads, worked_off
from tests.support.pages import headline, html, run, texts

PAGE = ROOT / "pages" / "evaluations.py"
CONDITIONS = (Condition.of({"fog": 0.6}), Condition.of({"gaussian_noise": 0.6}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a labelled set and, in ``runs``, a finished run over it."""
    root = tmp_path_factory.mktemp("made")
    source = labelled_folder(root / "sets" / "three", 2)
    (source / "670" / "broken.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    plan = runs.plan(str(source), make_spec(["SqueezeNet"], CONDITIONS, seed=4))
    with runs.start(plan, root / "runs") as writer:
        list(writer.perform())
    return root


@pytest.fixture
def saved(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The id of a finished run in the dashboard's own folder of runs."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUSTNESS_DATASETS", str(made / "sets"))
    (entry,) = runs.listing(tmp_path / "runs")
    return entry.folder.name


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    with in_threads():
        yield


def evaluate(app: AppTest) -> Path:
    """Evaluate the page's request and show the run; returns its folder."""
    folder = ui_session.runs_folder()
    app.button(key="evaluate").click().run()
    assert not app.exception
    worked_off(folder)
    app.run()
    return folder / app.query_params["run"]


def test_a_first_visit_offers_the_samples(
    runs_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched = Mock(wraps=form.summary)
    monkeypatch.setattr(form, "summary", matched)
    app = run(PAGE)
    assert not app.error
    said = texts(app)
    assert "220 forward passes. Time: known once it runs. Disk: about 44 kB." in said
    assert not runs_folder.exists(), "looking is not doing"
    count = matched.call_count
    app.run()
    assert matched.call_count == count, "the names of all images are looked through once"


def test_a_run_is_made_saved_and_opened_by_its_link(runs_folder: Path) -> None:
    link = {"question": "compare", "suite": "own", "limit": "2"}
    app = run(PAGE, models="SqueezeNet", **link)
    assert "2 images without class labels" in texts(app)
    assert "second model" in texts(app)
    folder = evaluate(app)
    assert "evaluate" not in {button.key for button in app.button}, "the answer takes its place"
    found = runs.load(folder)
    assert (found.images, [c.name for c in found.conditions]) == (2, ["gaussian_blur", "fog"])
    assert "SqueezeNet 1.1: consistency" in html(app)
    again = run(PAGE, run=folder.name)
    assert "SqueezeNet 1.1: consistency" in html(again)


def test_an_archive_without_a_readable_image_is_refused_at_upload(runs_folder: Path) -> None:
    app = run(PAGE, source="upload", models="SqueezeNet")

    def given(files: dict[str, bytes]) -> AppTest:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as made:
            for name, data in files.items():
                made.writestr(name, data)
        upload = [("photos.zip", archive.getvalue(), "application/zip")]
        return app.file_uploader(key="dataset_upload").set_value(upload).run()

    broken = {"a.jpg": BAD["truncated JPEG"](), "b.png": b"no image"}
    (error,) = given(broken).error
    assert '"a.jpg" cannot be decoded' in error.value.replace("\\", ""), "the first, and why"
    assert not app.exception
    assert "evaluate" not in {button.key for button in app.button}, "there is nothing to begin"
    given({**broken, "espresso/c.png": sample_bytes("coffee")})
    assert not app.error
    said = texts(app)
    assert "1 matched to ImageNet-1k by name; 2 unreadable" in said
    assert sum(len(element.proto.imgs) for element in app.get("image")) == 1
    assert app.button(key="evaluate")


def test_a_folder_on_the_server_is_one_that_the_operator_allows(
    saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    permitted = labelled_folder(tmp_path / "sets" / "three", 2).parent
    (permitted / "secret").symlink_to(labelled_folder(tmp_path / "elsewhere", 1))
    monkeypatch.setenv("ROBUSTNESS_DATASETS", str(permitted))
    app = run(PAGE, source="server", models="SqueezeNet")
    assert app.selectbox(key="server_source").options == ["three"]
    assert "6 images ×" in texts(app)
    app = run(PAGE, source="server", server_source="../runs", models="SqueezeNet")
    assert app.selectbox(key="server_source").value == "three"


@pytest.mark.parametrize("name", ["../made", "<b>x</b>", "a\0b"], ids=ascii)
def test_a_run_that_is_not_there_gets_a_sentence(saved: str, name: str) -> None:
    app = run(PAGE, run=name)
    assert len(app.error) == 1
    assert "<b>" not in app.error[0].value


def test_a_case_opens_on_the_live_page(saved: str, tmp_path: Path) -> None:
    found = runs.find(tmp_path / "runs", saved)
    image = str(found.frame()["image"].iat[0])
    query = {"run": saved, "image": image, "gaussian_noise": "0.6", "seed": "4"}
    app = run(ROOT / "app.py", models="SqueezeNet", **query)
    assert re.search("Showing 670.*motorcycle.*of the run", texts(app))
    assert app.selectbox(key="shows").value == imagenet().names[670], "as it is labelled there"
    row = found.frame().query("image == @image and perturbation == 'gaussian_noise'").iloc[0]
    mark = verdict_of(dict(row))
    assert f">{mark.sign} {mark.word}<" in html(app)
    assert to_png(found.picture(image).image)
    app.button(key="choose_coffee").click().run()
    assert "run" not in app.query_params
    assert "image" not in app.query_params
    assert "of the run" not in texts(app)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "among the images"),
        ("x" * 300, "Expected the name of a run"),
        ("a\0b", "Expected the name of a run"),
    ],
    ids=ascii,
)
def test_a_case_that_is_gone_gets_a_sentence_and_the_sample_stays(
    saved: str, name: str | None, said: str
) -> None:
    app = run(ROOT / "app.py", models="SqueezeNet", run=name or saved, image="gone.png")
    assert any(said in warning.value for warning in app.warning)
    assert "correct" in headline(app)


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of uploads."""
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs" / ".uploads"


def session() -> AppTest:
    return run(PAGE, source="upload", models="SqueezeNet", suite="own")


def give(app: AppTest, *names: str) -> AppTest:
    """Upload these samples in the session, replacing its earlier uploads."""
    files = [(f"{name}.png", sample_bytes(name), "image/png") for name in names]
    app.file_uploader(key="dataset_upload").set_value(files)
    return app.run()


# --- other questions ------------------------------------------------------------------------------


def several(shade: float) -> list[tuple[str, bytes, str]]:
    """As many uploads as a match needs."""
    image = to_png(np.full((32, 32, 3), shade, np.float32))
    return [(f"{number}.png", image, "image/png") for number in range(FEWEST)]


def match_form(**query: str) -> AppTest:
    """The form of a match with images on both sides."""
    app = run(PAGE, question="match", models="SqueezeNet", **query)
    app.file_uploader(key="production_dataset_upload").set_value(several(0.2))
    app.file_uploader(key="dataset_upload").set_value(several(0.8))
    return app.run()


def test_beside_the_disabled_button_of_a_match_stands_what_is_missing(uploaded: Path) -> None:
    def missing(app: AppTest) -> str:
        (needed, *_) = [c.value for c in app.caption if "Still needed" in c.value] or [""]
        assert app.button(key="match").disabled is bool(needed)
        return needed

    app = run(PAGE, question="match", models="SqueezeNet")
    assert "images of your camera, reference images" in missing(app)
    app.file_uploader(key="production_dataset_upload").set_value(several(0.2)).run()
    assert "camera" not in missing(app)
    assert "reference images" in missing(app)
    app.file_uploader(key="dataset_upload").set_value(several(0.8)).run()
    assert not missing(app)


def test_a_match_is_a_job_whose_answer_a_link_opens_and_whose_profile_is_evaluated(
    uploaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Mock(return_value=example(0.3, 0.6))
    monkeypatch.setattr("robustness.matching.match", requests)
    form = match_form(seed="5")
    assert not requests.called
    form.button(key="match").click().run()
    assert not form.error
    name = form.query_params["run"]
    worked_off(uploaded.parent)
    production, reference, settings = requests.call_args.args
    assert (len(production), len(reference)) == (FEWEST, FEWEST)
    assert (settings.models, settings.seed) == (("SqueezeNet",), 5)
    form.button(key="open form").click().run()
    give(form, "coffee")  # the session has other images by now
    uploads.collect()
    assert production.read(production.entries[0]), "they stay with their match"
    form.button(key="open form").click().run()
    next(b for b in form.button if b.label == "Evaluate with this profile").click().run()
    assert f"{FEWEST} images × (3 conditions" in texts(form), "of the reference"

    app = run(PAGE, run=name)  # the page was closed
    assert "Your images look like the reference with fog" in html(app)
    assert "SqueezeNet 1.1 60% (55 to 65)" in texts(app)
    assert [len(element.proto.imgs) for element in app.get("image")] == [1] * 2
    assert "evaluate" not in {button.key for button in app.button}
    app.button(key="list runs").click().run()
    row = app.dataframe[0].value.set_index("Id").loc[name]
    assert (row["State"], row["Images"], row["Models"]) == ("match", 2 * FEWEST, 1)
    next(b for b in app.button if b.label == "Evaluate with this profile").click().run()
    link = dict(app.query_params)
    for page in (app, run(PAGE, **link)):
        assert not page.error
        assert "Fog effect" in texts(page)
        assert f"{FEWEST} images × (3 conditions" in texts(page), "of the reference"
        assert page.number_input(key="seed").value == 5
        assert page.multiselect(key="models").value == ["SqueezeNet"]

        assert not page.info
    (note,) = run(PAGE, **{**link, "dataset_side": "384"}).info
    assert "was matched at 224 px" in note.value

    app.query_params.clear()
    app.query_params["run"] = name  # as Back does
    app.run()
    assert "Your images look like the reference with fog" in html(app)
    assert "evaluate" not in {button.key for button in app.button}
    for key, value in link.items():  # and Forward
        app.query_params[key] = value
    app.query_params.pop("run")
    app.run()
    folder = evaluate(app)
    assert [c.id for c in runs.load(folder).conditions] == [
        c.id for c in example(0.3, 0.6).conditions
    ]
    assert "profile" not in app.query_params


def test_the_accuracy_is_on_the_page_before_the_search_and_labels_by_clicks_narrow_it(
    uploaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    jpeg = to_jpeg(np.zeros((32, 32, 3), np.float32), 90)
    sample = tuple(
        SampleImage(f"{number}.png", jpeg, {"SqueezeNet": "tabby"}, {"SqueezeNet": 0.6})
        for number in range(30)
    )
    confidence = AccuracyEstimate(0.41, 0.2, 0.62, 0.1)
    accuracy = ExpectedAccuracy("SqueezeNet", 0.7, confidence)
    unknown = replace(
        example(0.3, 0.6),
        matched=False,
        perturbations=(),
        conditions=(),
        unexplained=("noise",),
        statistics=(
            {
                "statistic": "noise",
                "production": 2.0,
                "reference": 0.0,
                "simulation": 0.5,
                "left": 1.5,
            },
        ),
        expected_accuracy=(accuracy,),
        sample=sample,
        confidences={"SqueezeNet": 0.6},
    )

    def match(*_arguments: object, first: Callable[[Match], object], **_: object) -> Match:
        first(replace(unknown, searched=False, different=False))
        goes_on.wait(20)
        return unknown

    monkeypatch.setattr("robustness.matching.match", match)
    form = match_form()
    form.button(key="match").click().run()
    name = form.query_params["run"]
    folder = uploaded.parent / name
    while not (folder / "accuracy.json").exists():
        time.sleep(0.01)
    app = run(PAGE, run=name)
    assert "SqueezeNet 1.1 41% (20 to 62)" in html(app)
    assert "unknown" not in html(app)
    assert "after 20" in texts(app)
    app.button(key="Correct SqueezeNet").click().run()
    goes_on.set()
    worked_off(uploaded.parent)
    app = run(PAGE, run=name)
    assert "The cause is unknown" in html(app)
    assert "difference is not explained" in texts(app)
    assert "no difference" not in texts(app)
    assert "from confidence and labels: SqueezeNet 1.1 4" in texts(app)
    app.button(key="Incorrect SqueezeNet").click().run()
    assert not app.error
    _, answer = runs.find_match(uploaded.parent, name)
    assert list(runs.read_labels(folder, answer).values()) == [True, False]
    app.button(key="unlabel").click().run()
    assert "SqueezeNet 1.1 41% (20 to 62)" in texts(app)


@pytest.mark.parametrize(
    ("setting", "value", "refusal"),
    [
        ("ROBUSTNESS_PICTURES_LIMIT", "39", "at most 39 images, got 40"),
        ("ROBUSTNESS_READ_ONLY", "true", "read-only"),
        ("ROBUSTNESS_LOCAL_ROLE", "viewer", "yours is viewer"),
    ],
)
def test_a_match_keeps_the_limits_of_evaluations(
    uploaded: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, refusal: str
) -> None:
    app = match_form()
    monkeypatch.setenv(setting, value)  # since the button was drawn
    app.button(key="match").click().run()
    assert not app.exception
    said = "\n".join([*(e.value for e in app.error), *(str(b.help) for b in app.button)])
    assert refusal in said.replace("\\", "")
    assert not runs.listing(uploaded.parent)


def test_a_release_verdict_stays_with_run_and_link(
    saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = {"source": "server", "server_source": "three", "suite": "own", "models": "SqueezeNet"}
    app = run(PAGE, question="release", seed="4", **link)
    assert app.query_params["max_loss"] == "2"
    app.selectbox(key="limits baseline").set_value(saved).run()
    app.multiselect(key="dataset_perturbations").set_value(["fog"]).run()
    evaluate(app)
    assert not app.error
    assert headline(app) == "Release passes: no model loses more than 2 points."
    release = app.query_params["run"]
    assert app.query_params["baseline"] == saved, "whoever opens the link sees the verdict"
    assert headline(run(PAGE, run=release)) == headline(app), "as does who opens the run"
    app.number_input(key="max_loss").set_value(None)
    app.number_input(key="min_consistency").set_value(100.0).run()
    assert "Release fails: 1 of 1 limit" in headline(app)
    assert headline(run(PAGE, run=release)) == headline(app)
    linked = run(PAGE, run=release, max_loss="3", baseline=saved)
    assert headline(linked) == "Release passes: no model loses more than 3 points."
    assert headline(run(PAGE, run=release)) == headline(app), "a link changes no run"
    with monkeypatch.context() as patch:
        patch.setenv("ROBUSTNESS_READ_ONLY", "1")
        visitor = run(PAGE, run=release)
        visitor.number_input(key="min_consistency").set_value(None)
        visitor.number_input(key="max_loss").set_value(4.0).run()
        assert not visitor.error
        assert headline(visitor) == "Release passes: no model loses more than 4 points."
    assert headline(run(PAGE, run=release)) == headline(app), "a visitor changes his link alone"
    app.selectbox(key="compare with").set_value(saved).run()
    assert not {"max_loss", "min_consistency"} & {*app.query_params}, "they are of that run"
    app.query_params["run"] = release
    del app.query_params["compare"]
    app.run()
    assert "Release fails: 1 of 1 limit" in headline(app)


@pytest.mark.parametrize("leaves", ["question", "form"])
def test_a_limit_of_a_release_check_stays_with_it(saved: str, leaves: str) -> None:
    app = run(PAGE, question="release", models="SqueezeNet")
    app.number_input(key="min_consistency").set_value(100.0).run()
    if leaves == "question":
        app.segmented_control(key="question").set_value("compare").run()
        assert not app.exception
        app.button(key="open form").click().run()
    else:
        app.button(key="open form").click().run()
    assert not {"max_loss", "min_consistency"} & {*app.query_params}
    app.query_params["run"] = saved
    app.run()
    assert not app.exception
    assert not app.error
    assert "Release" not in headline(app)
    app.button(key="open form").click().run()
    app.segmented_control(key="question").set_value("release").run()
    assert not app.exception
    assert app.number_input(key="max_loss").value == 2.0, "the default, once more"


def test_a_run_is_made_of_what_its_source_holds_when_it_is_asked_for(
    saved: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = labelled_folder(tmp_path / "sets" / "mine", 1) / "670" / "below"
    deep.mkdir()
    monkeypatch.setenv("ROBUSTNESS_DATASETS", str(tmp_path / "sets"))
    app = run(PAGE, source="server", models="SqueezeNet", suite="own")
    assert "3 images × (2 conditions" in texts(app)
    image = next(deep.parent.glob("*.*"))
    shutil.copy(image, deep.parent / "another.png")
    app.run()
    assert "4 images × (2 conditions" in texts(app)
    shutil.copy(image, deep / "more.png")
    app.run()
    assert "4 images × (2 conditions" in texts(app), "nothing right below has changed"
    assert runs.load(evaluate(app)).images == 5


def test_a_folder_that_is_no_class_says_where_to_do_without(uploaded: Path) -> None:
    app = session()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("n07920052/a.png", sample_bytes("coffee"))
        packed.writestr("notaclass/b.png", sample_bytes("rocket"))
    app.file_uploader(key="dataset_upload").set_value(
        ("mine.zip", archive.getvalue(), "application/zip")
    )
    app.run()
    (said,) = (error.value.replace("\\", "") for error in app.error)
    assert said.startswith("'notaclass' is not a class of ImageNet-1k: expected")
    assert said.endswith("or 'none' to ignore all classes.")
    assert "--labels" not in said
    assert len(app.get("image")) == 2, "the images are shown all the same"
    app.segmented_control(key="labelling").set_value("known").run()
    said = texts(app)
    assert "1 matched to ImageNet-1k by synset, none in 'notaclass'" in said
    app.segmented_control(key="labelling").set_value("none").run()
    assert not app.error
    assert "2 images × (2" in texts(app)
