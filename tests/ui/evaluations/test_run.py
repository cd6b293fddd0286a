"""The results of a run over many images as a page, run without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from robustness import models, report, runs
from robustness.report import harm
from robustness.report.blocks import Text, Titled
from robustness.report.fixes import REMEDIES
from robustness.runs import Analysis, jobs
from robustness.runs.calibrate import Calibration
from robustness.statistics import TOO_FEW
from robustness.ui.draw import _customdata
from tests.support import pages
from tests.support.pages import html
from tests.support.synthetic_results import ESPRESSO, SquaresRun, squares_run


def page(
    run: SquaresRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    finished: bool = True,
    **query: Any,
) -> AppTest:
    """A page that shows ``run``; it stands where the Live page does, so that links find it."""
    status = runs.FINISHED if finished else "unfinished"
    run.manifest = replace(run.manifest, id=tmp_path.name, status=status)
    if not run.folder.exists():
        run.folder = tmp_path
    run.manifest.write(run.folder)  # whose the run is stands there
    script = tmp_path / "app.py"
    script.write_text(
        "from robustness.ui.evaluations import run as run_view\n"
        "from tests.ui.evaluations import test_run as this\n"
        "run_view.show(this.CURRENT, this.ENTRY)\n"
    )
    monkeypatch.setitem(globals(), "CURRENT", run)
    monkeypatch.setitem(globals(), "ENTRY", runs.Listed(tmp_path, run.manifest))
    return pages.run(script, **query)


Shown = Callable[..., AppTest]


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    return lambda run, **query: page(run, tmp_path, monkeypatch, **query)


def charts(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def headings(app: AppTest) -> list[str]:
    """The titles of the sections, also of those that are one line."""
    lines = [re.match(r"\*\*(.+)\.\*\*", each.value) for each in app.markdown]
    titles = [*(each.value for each in app.header), *(line[1] for line in lines if line)]
    return [title.replace("\\", "") for title in titles]


def case_names(app: AppTest) -> list[str]:
    return re.findall(r">Image: ([^<]*)<", html(app))


VIEWS = {
    "compare": (
        ["Trade-offs", "Ranking", "Agreement", "Accuracy", "ImageNet-C corruption error"],
        3,
    ),
    "failures": (
        ["Perturbations", "Classes", "Changed classes", "Slices"],
        2,
    ),
    "fix": (
        [
            "What should we fix?",
            "Train a model to be more robust",
            "Safe threshold",
        ],
        1,
    ),
    "images": (["Images left out"], 0),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_of_a_run_without_labels_opens(shown: Shown, view: str) -> None:
    app = shown(squares_run(labelled=False), view=view)
    assert not app.exception
    assert "accept from" not in {button.key for button in app.button}, "no threshold to use"


@pytest.mark.parametrize("view", VIEWS)
def test_the_open_view_draws_its_sections_of_the_report_alone(shown: Shown, view: str) -> None:
    run = squares_run()
    app = shown(run, view=view)
    assert not app.exception
    told, words = report.of_run(run), pages.texts(app)
    own = [section for section in told.sections if section.title in VIEWS[view][0]]
    notes = [b.text for section in own for b in section.printed if isinstance(b, Text)]
    assert not [note for note in notes if note not in words]
    if view == "compare":
        assert escape(Analysis(run).figures.choice.sentences[0]) in html(app)
        (drawn,) = pages.components(app, "map")
        figures = Analysis(run).figures
        told_map = harm.keyed_map(figures, figures.choice)
        assert drawn["html"] == told_map.drawing.html
        for titled in [block for block in told.brief if isinstance(block, Titled)][:2]:
            for row in titled.table.rows:
                assert all(f">{escape(cell)}</td>" in html(app) for cell in row)
    assert "EfficientNet-Lite1 and EfficientNet-Lite0 tie" in html(app)
    assert (headings(app), len(charts(app))) == VIEWS[view]
    assert "60 images under 8 conditions" in words or view != "compare"
    if view == "compare":
        assert any("not comparable with published mCE" in caption.value for caption in app.caption)
        assert "104.1" in html(app), "the published figure stands beside"
    if view == "failures":
        assert len(pages.components(app, "map")) == 1, "that of another figure comes on request"
    if view == "images":
        assert len(case_names(app)) == 6
        assert any("1 image left out" in each.label for each in app.expander)


def test_a_training_is_queued_for_the_weakest_perturbations(
    shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    monkeypatch.setenv("ROBUSTNESS_DATASETS", str(tmp_path))
    monkeypatch.setattr("robustness.runs.jobs.supervise", lambda _: None)  # nobody works on it here
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    run = squares_run()
    run.folder = tmp_path / "runs" / "run"
    run.folder.mkdir(parents=True)
    app = shown(run, view="fix", harden_source="server", harden_server_source="images")
    elsewhere = run.manifest
    run.manifest = elsewhere.updated(dataset=replace(elsewhere.dataset, source=str(images)))
    app.run()
    assert app.button(key="harden").disabled, "these images judge the result"
    run.manifest = elsewhere
    app.run()
    app.button(key="harden").click().run()
    assert not app.exception
    ((folder, request),) = runs.trainings_of(run.folder)
    assert request.source == str(images)
    assert request.name == f"{request.model}Hardened"
    names = {name for condition in run.conditions for name in condition.perturbations}
    assert set(request.perturbations) <= names
    assert jobs.is_queued(folder)
    assert "harden" not in {button.key for button in app.button}, "one at a time"
    app.button(key=f"page Cancel {folder.name}").click().run()
    assert not jobs.is_queued(folder)
    assert "The training stopped. It was cancelled" in app.warning[0].value
    app.button(key=f"page Continue {folder.name}").click().run()
    assert jobs.is_queued(folder)


@pytest.mark.parametrize("helps", [True, False])
def test_one_button_fits_every_temperature_and_one_adds_those_that_help(
    shown: Shown, models_folder: Path, monkeypatch: pytest.MonkeyPatch, helps: bool
) -> None:
    (models_folder / "models.toml").write_text("")
    bounds = {"value": 0.2, "low": 0.1 if helps else -0.1, "high": 0.3}
    saved: dict[str, Calibration] = {}

    def fit(run: runs.Run, name: str, note: object) -> None:
        saved[name] = Calibration(name, 1.7, 55, 65, 0, bounds, bounds, bounds)

    form = "robustness.ui.evaluations.train"
    monkeypatch.setattr(f"{form}.calibrate", fit)
    monkeypatch.setattr(Analysis, "calibrations", saved)
    app = shown(squares_run(images=120), view="fix")
    assert "calibration error" not in html(app)
    app.button(key="calibrate").click().run()
    assert not app.exception
    assert not app.error
    assert set(saved) == {"SqueezeNet", "EfficientNetLite0", "EfficientNetLite1"}
    assert "calibration error" in html(app)
    assert [button.label for button in app.button if "calibrated" in button.label] == (
        ["Add 3 calibrated models"] if helps else []
    )
    if helps:
        app.button(key="add calibrated").click().run()
        assert "SqueezeNetCalibrated" in models.REGISTRY


def test_a_button_tries_remedies_in_a_new_run(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []

    def planned(manifest: Any, *, remedies: Any) -> Any:
        plans.append((manifest, remedies))
        return "plan"

    monkeypatch.setattr(runs, "reevaluation_plan", planned)
    monkeypatch.setattr("robustness.ui.jobs.submit", lambda _: ["new-run"])
    run = squares_run()
    app = shown(run, view="fix")
    app.button(key="try remedies").click().run()
    assert plans == [(run.manifest, REMEDIES)]
    assert app.query_params["run"] in ("new-run", ["new-run"])


def test_a_selection_is_part_of_the_link_and_filters_the_images(
    shown: Shown, tmp_path: Path
) -> None:
    app = shown(squares_run(), cell=["model=SqueezeNet&condition=rotation=0.1"])
    assert "SqueezeNet 1.1, under Rotation 0.1" in pages.texts(app)
    assert len(case_names(app)) == 3
    next(button for button in app.button if re.match(r"All \d+ images", button.label)).click()
    app.run()
    assert app.segmented_control(key="view").value == "images"
    cases_shown = html(app).split('class="rb-case"')[1:]
    assert len(cases_shown) == 6
    assert all("SqueezeNet" in case and "Rotation 0.1" in case for case in cases_shown)
    next(button for button in app.button if button.label == "Show all images").click().run()
    assert "cell" not in app.query_params
    assert app.selectbox(key="case_model")
    app = shown(squares_run(), cell=["model=nobody"])
    assert not app.exception
    assert "**SqueezeNet" not in pages.texts(app)


def test_a_selection_of_nothing_known_gets_a_sentence(shown: Shown) -> None:
    app = shown(squares_run(images=4), cell=["condition=nope"])
    assert not app.exception
    (error,) = app.error
    assert "Expected" in error.value


def test_filters_choose_cases_and_more_can_be_asked_for(shown: Shown) -> None:
    app = shown(
        squares_run(),
        view="images",
        case_model="EfficientNetLite0",
        case_perturbation="rotation",
    )
    assert len(case_names(app)) == 6
    text = html(app).split('class="rb-case"')[1:]
    assert all("EfficientNet-Lite0" in case and "Rotation 0.1" in case for case in text)
    app.button(key="shown_worst_button").click().run()
    assert len(case_names(app)) > 6
    app.selectbox(key="case_class").set_value(models.class_name("SqueezeNet", ESPRESSO + 1)).run()
    titles = re.findall(r'rb-name">([^<]*)<', html(app))
    assert set(titles) == {models.class_name("SqueezeNet", ESPRESSO + 1)}


def test_a_case_opens_on_the_live_page(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    links: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(
        "streamlit.page_link",
        lambda page, *, label, icon, query_params: (
            links.append((page, query_params)) if label == "Open" else None
        ),
    )
    run = squares_run()
    app = shown(run, view="images", case_perturbation="horizontal_flip")
    page, query = links[0]
    assert page == "app.py"
    assert query["image"] == case_names(app)[0]
    assert query == {
        "run": run.id,
        "image": query["image"],
        "horizontal_flip": "true",
        "seed": "7",
    }
    links.clear()
    shown(squares_run(), view="images", case_perturbation="fog+rotation")
    assert links[0][1]["fog"] == "0.4"
    assert links[0][1]["rotation"] == "0.25"


def test_names_are_escaped_and_missing_pictures_say_so(shown: Shown) -> None:
    run = squares_run(images=4)
    app = shown(run, view="images")
    assert not app.exception
    names = case_names(app)
    assert len(names) == 4
    assert "a &lt;b&gt;bold&lt;/b&gt; *star*.png" in names
    assert "The image *is gone*; put it back." in html(app)
    assert any(TOO_FEW in info.value.replace("\\", "") for info in app.info)
    assert any("1 image left out" in e.label for e in app.expander)


def test_a_run_with_a_model_that_is_not_here_can_be_read(shown: Shown) -> None:
    run = squares_run(images=40)
    run._frame["model"] = run._frame["model"].replace("SqueezeNet", "someone's <i>network</i>")
    app = shown(run)
    assert not app.exception
    text = html(app)
    assert "omeone&#39;s &lt;i&gt;network&lt;/i&gt;: perturbed accuracy" in text
    assert any("ranked only against those with the same classes" in i.value for i in app.info)


def test_a_run_without_rows_says_so_and_lists_what_it_could_not_read(shown: Shown) -> None:
    run = squares_run()
    run._frame = run._frame.iloc[:0]
    app = shown(run, finished=False)
    assert not app.exception
    assert app.info
    assert headings(app) == ["Images left out"]
    assert any("1 image left out" in each.label for each in app.expander)


@pytest.mark.parametrize(
    ("points", "meant"),
    [
        ([], None),
        ([["0.4"]], ["0.4"]),
        ([["0.4"], ["0.6"]], ["0.4"]),
        ([["Fog", "A"], ["Fog", "B"]], ["Fog", "A"]),
        ([None, ["0.6"]], ["0.6"]),
        ([0.1], [0.1]),
        ([0.0, 0.1], [0.0]),
    ],
)
def test_several_points_mean_the_first_with_data(
    points: list[Any], meant: list[str] | None
) -> None:
    event = {"selection": {"points": [{"customdata": values} for values in points]}}
    assert _customdata(event) == meant
