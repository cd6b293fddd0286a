"""The Evaluations page without a browser: table, comparison, and what is done with a run."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from benchmarks.support.image_folders import labelled_folder
from benchmarks.support.repository import ROOT
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import models, runs
from robustness.base.text import share
from robustness.measure.condition import Condition
from robustness.measure.request import study_conditions
from robustness.report.maps import BandMap
from robustness.runs import Analysis, analysis, notes
from robustness.runs import manifest as manifests
from robustness.statistics.pairs import verdict_text
from robustness.ui import components
from robustness.ui.evaluations import table as run_table
from tests.support import pages
from tests.support.pages import html, run, texts
from tests.support.saved_runs import performed, spec, use_stand_ins

PAGE = ROOT / "pages" / "evaluations.py"
NAMES = ("first", "second", "third")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: two of the same images, one of the samples, and a foreign folder."""
    root = tmp_path_factory.mktemp("made")
    photos = labelled_folder(root / "photos", 4)
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        fog = spec([Condition.of({"fog": 0.6})])
        for name, source, asked in (
            ("first", photos, spec(seed=5)),
            ("second", photos, spec(seed=6)),
            ("third", "samples", fog),
        ):
            performed(source, root / "runs", asked).folder.rename(root / "runs" / name)
    (root / "runs" / "holiday <b>").mkdir()
    return root / "runs"


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where the dashboard keeps its runs."""
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def shown(app: AppTest) -> set[str]:
    """The runs in the table."""
    return {name for table in app.dataframe for name in table.value["Id"]}


def visit(*compared: str, **query: str | list[str]) -> AppTest:
    app = run(PAGE, **query | ({"compare": list(compared)} if compared else {}))
    assert not app.exception
    return app


# --- the list -------------------------------------------------------------------------------------


def test_every_run_is_in_the_table_and_a_foreign_folder_has_its_reason(folder: Path) -> None:
    notes.update(folder / "first", title="Before <i>training</i>", tags="night, v2")
    app = visit()
    assert shown(app) == {"first", "second", "third"}
    table = app.dataframe[0].value.set_index("Id")
    assert table.loc["first", "Evaluation"] == "Before <i>training</i>"
    assert table.loc["first", "Images"] == 12
    assert table.loc["first", "Tags"] == "night, v2"
    width = json.loads(app.dataframe[0].proto.columns)["Differs"]["width"]
    assert width >= 7 * table["Differs"].str.len().max(), "it is not cut"
    for name in NAMES:
        (best, *_) = Analysis(runs.load(folder / name)).figures.summary
        assert table.loc[name, "First model"] == models.label(best["model"])
        assert table.loc[name, "Consistency"] == pytest.approx(100 * best["consistency"])
    assert "3 runs" in texts(app)
    assert app.expander[0].label == "1 folder that is not a run"
    assert any("holiday \\<b\\>" in str(each.value) for each in (*app.markdown, *app.caption))


def test_figures_come_while_the_page_is_open_and_are_tried_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        (folder / name / "headline.json.gz").unlink()
    compute = analysis.compute_headline

    def compute_but_one(run: Path, *others: Any) -> analysis.Headline:
        if run.name == "third":
            raise ZeroDivisionError
        return compute(run, *others)

    monkeypatch.setattr(analysis, "compute_headline", compute_but_one)
    for path in (folder / "second").glob("*.parquet"):
        path.write_bytes(b"no rows")
    works: list[Callable[[], object]] = []
    monkeypatch.setattr(run_table, "begin", lambda _, work: works.append(work))
    table = visit().dataframe[0].value.set_index("Id")
    assert {*table["First model"]} == {"Computing …"}
    works.pop(0)()
    table = visit().dataframe[0].value.set_index("Id")
    assert table.loc["first", "First model"] == models.label("SqueezeNet")
    assert not table.loc["second", "First model"], "it cannot be read"
    assert "ZeroDivisionError" in str(table.loc["third", "First model"]), "it is not hidden"
    assert not works


def test_an_unfinished_run_says_so_and_can_continue_where_it_began(folder: Path) -> None:
    manifest = folder / "first" / "manifest.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(told | {"status": "unfinished", "images": 3}))
    row = visit().dataframe[0].value.set_index("Id").loc["first"]
    assert row["State"] == "unfinished: 3 of 12 images"
    app = visit(run="first")
    assert "3 of 12 images" in texts(app)
    assert not app.info, "the title and the state above say it already"
    assert not [t for t in app.dataframe if "Id" in t.value], "the list makes room for the run"
    app.button(key="list runs").click().run()
    row = app.dataframe[0].value.set_index("Id").loc["first"]
    assert row["State"] == "unfinished: 3 of 12 images"
    assert row["Images"] == 12
    assert app.button(key="page Continue first")
    assert not row["First model"], "unfinished: no claim"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("photos", {"first", "second"}),
        ("FOG", {"third"}),
        ("random noise", {"first", "second"}),
        ("lite0 second", {"second"}),
        ("nothing of the kind", set()),
    ],
)
def test_the_search_finds_what_describes_a_run(folder: Path, words: str, names: set[str]) -> None:
    known = {entry.folder.name: entry for entry in runs.listing(folder) if entry.manifest}
    assert set(run_table.matching(known, words)) == names


# --- comparison -----------------------------------------------------------------------------------


def aged(folder: Path, **days: int) -> None:
    """Set the days of the month on which the runs were created."""
    for name, day in days.items():
        manifest = manifests.read(folder / name)
        manifest.updated(created=f"2026-01-{day:02}T00:00:00+00:00").write(folder / name)


def test_the_baseline_is_the_one_before_or_pinned_or_the_oldest(folder: Path) -> None:
    aged(folder, first=1, second=2, third=3)
    known = {entry.folder.name: entry for entry in runs.listing(folder) if entry.manifest}

    def order(*names: str, before: tuple[str, ...] = ()) -> list[str]:
        return run_table.in_order(names, before, known)

    assert order("third", "second") == ["second", "third"]
    assert order("first", "second", "third", before=("third", "second"))[0] == "third"
    assert order("first", "second", before=("third", "second")) == ["first", "second"]
    notes.set_baseline(folder, "second")
    assert order("first", "second") == ["second", "first"]


def test_the_comparison_is_that_of_the_statistics_in_words_and_numbers(folder: Path) -> None:
    app = visit("first", "second")
    found = runs.compare(runs.load(folder / "first"), runs.load(folder / "second"))
    text = html(app)
    for entry in found.differences:
        if entry["perturbation"] is None:
            for side in "ab":
                assert f">{share(entry[f'perturbed_accuracy_{side}'])}</td>" in text
            assert f">{verdict_text(entry['perturbed_accuracy_verdict'])}</td>" in text
    assert "5 and 6" in texts(app)
    assert any(caption.value.endswith(", second") for caption in app.caption), "by its id, too"
    assert "12 shared images" in texts(app)
    consistency = visit("first", "second", change_of="consistency")
    assert "prediction consistency" in html(consistency)
    quantities = cast(Any, consistency.get("button_group")[0])
    assert quantities.options == ["Prediction consistency", "Perturbed accuracy"], (
        "there is no attack"
    )


def test_a_loss_under_one_condition_is_not_hidden_by_the_whole(folder: Path) -> None:
    """Every image loses the first condition; half of them lose all others, half gain them."""
    digests = pictures(folder.parent / "halves", [f"{number}.png" for number in range(40)])
    before = np.tile(np.arange(40)[:, None] < 20, len(study_conditions()))
    after = ~before
    before[:, 0], after[:, 0] = True, False
    for name, kept in (("whole", before), ("less", after)):
        saved(
            folder / name,
            digests,
            {"SqueezeNet": 0.5},
            source=folder.parent / "halves",
            kept={"SqueezeNet": kept},
            labelled=False,
        )
    app, worst = visit("whole", "less"), study_conditions()[0]
    lost = f"SqueezeNet 1.1 got significantly worse under {worst.short}."
    assert f"No significant change overall; {lost}" in html(app)
    app.session_state["changes chosen less"] = json.dumps(["SqueezeNet", worst.id])
    app.run()
    assert "Now worse: 40 images, the first 6" in texts(app)
    assert "Now better: 0 images" in texts(app)
    assert len(app.get("image")) == 6


def test_a_run_is_compared_with_the_pinned_one(folder: Path) -> None:
    visit(run="second").button(key="pin second").click().run()
    app = visit(run="first")
    choice = app.selectbox(key="compare with")
    assert len(choice.options) == 2
    assert ["second" in o for o in choice.options] == [
        o.endswith("(baseline)") for o in choice.options
    ]
    choice.set_value("second").run()
    assert app.query_params["compare"] == ["second", "first"]
    assert "run" not in app.query_params
    assert app.selectbox(key="baseline").value == "second"
    assert "not significant" in html(app)


def test_who_may_not_pin_for_everyone_chooses_a_baseline_for_the_session(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.set_baseline(folder, "third")
    monkeypatch.setenv("ROBUSTNESS_LOCAL_ROLE", "evaluator")
    app = visit(run="first")
    assert app.button(key="pin first").disabled
    app.selectbox(key="limits baseline").set_value("second").run()
    assert notes.baseline(folder) == "third"
    app.button(key="list runs").click().run()
    assert app.dataframe[0].value.set_index("Id").loc["second", "State"] == "baseline"


def test_title_tags_and_notes_are_saved(folder: Path) -> None:
    app = visit(run="first")
    app.text_input(key="title first").set_value("Before training")
    app.text_input(key="tags first").set_value("night, v2")
    app.text_area(key="note first").set_value("camera <b>7</b>")
    app.button(key="rename first").click().run()
    listed = runs.listed(folder / "first")
    assert (listed.tags, listed.note) == (("night", "v2"), "camera <b>7</b>")
    assert listed.title == "Before training"
    assert len(app.success) == 1
    assert "<b>7" not in html(app)


def test_a_click_on_a_change_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clicks: list[Callable[[], None]] = []
    draw = components.band_map

    def noted(key: str, drawing: BandMap, clicked: Callable[[], None], chosen: str = "") -> None:
        clicks.append(clicked)
        draw(key, drawing, clicked, chosen)

    monkeypatch.setattr(components, "band_map", noted)
    app = visit("first", "second")
    (drawn,) = pages.components(app, "map")
    key = unescape(re.findall(r'data-key="([^"]*)"', drawn["html"])[-1])
    state: dict[str, Any] = {"changes map second": {"chosen": {"n": 1, "key": key}}}
    monkeypatch.setattr(st, "session_state", state)
    clicks[-1]()
    assert state["changes chosen second"] == key


def test_runs_that_are_gone_or_hostile_get_a_sentence(folder: Path) -> None:
    app = visit("first", "../made", "<b>x</b>")
    warnings = [warning.value for warning in app.warning]
    assert len(warnings) == 2
    assert all("No run" in text and "<b>" not in text for text in warnings)
    (folder / "second" / "part-000000.parquet").write_bytes(b"x")
    assert "damaged" in visit("first", "second").error[0].value


# --- what can be done with a run ------------------------------------------------------------------


def test_a_run_is_deleted_once_that_is_confirmed(folder: Path) -> None:
    app = visit(run="first")
    assert app.button(key="delete first").disabled
    app.checkbox(key="sure first").check().run()
    app.button(key="delete first").click().run()
    assert not app.exception
    seen = {name for name in os.listdir(folder) if not name.startswith(".")}
    assert seen == {"holiday <b>", "second", "third"}
    assert "run" not in app.query_params
