"""The Runs page without a browser: list, search, compare, rename, delete, import, download."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from robustness import report, runs
from robustness.base.access import Who
from robustness.evaluation.condition import Condition
from robustness.runs import manifest as manifests
from robustness.runs import notes
from robustness.runs.compare import compare, flips
from robustness.runs.racing import Race
from robustness.statistics.differences import said
from robustness.ui.runs import comparison
from robustness.ui.runs import listing as page
from tests.support.made_datasets import labelled_folder
from tests.support.made_up_saved_runs import ESPRESSO, TABBY, saved
from tests.support.pages import html, run, texts
from tests.support.places import ROOT
from tests.support.saved_runs import performed, spec, use_stand_ins

OWNER = Who(local=True)
PAGE = ROOT / "pages" / "runs.py"
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
    """The runs that have a card."""
    keys = [str(box.key) for box in app.checkbox]
    return {key.removeprefix("compare ") for key in keys if key.startswith("compare ")}


def visit(*compared: str, **query: str | list[str]) -> AppTest:
    app = run(PAGE, **query | ({"compare": list(compared)} if compared else {}))
    assert not app.exception
    return app


# --- the list -------------------------------------------------------------------------------------


def test_without_runs_the_page_says_where_to_begin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "nowhere"))
    app = run(PAGE)
    assert "No runs yet" in texts(app)
    assert not (tmp_path / "nowhere").exists(), "looking is not doing"


def test_every_run_has_a_card_and_a_foreign_folder_its_reason(folder: Path) -> None:
    notes.update(folder / "first", title="Before <i>training</i>")
    app = visit()
    assert shown(app) == {"first", "second", "third"}
    assert app.header[0].value == "3 runs"
    assert "Before &lt;i&gt;training&lt;/i&gt;" in html(app)
    assert "12 images of photos · all labelled" in html(app)
    assert app.expander[0].label == "1 folder that is not a run"
    assert any("holiday \\<b\\>" in str(each.value) for each in (*app.markdown, *app.caption))


def test_an_unfinished_run_says_so_and_does_not_travel(folder: Path) -> None:
    manifest = folder / "first" / "manifest.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(told | {"status": "unfinished", "images": 3}))
    app = visit()
    assert "unfinished: 3 of 12" in html(app)
    assert "12 images of photos" in html(app)
    assert app.download_button(key="download first").disabled
    assert not app.download_button(key="download second").disabled


def test_a_card_says_who_keeps_its_answer_most_as_the_run_itself_does(folder: Path) -> None:
    answers = {report.of_run(runs.load(folder / name)).answer[0] for name in NAMES}

    def claims(text: str) -> int:
        return sum(text.count(f">{answer}</div>") for answer in answers)

    assert claims(html(visit())) == len(NAMES)
    manifest = manifests.read(folder / "first")
    manifest.updated(status=runs.UNFINISHED).write(folder / "first")
    text = html(visit())
    assert claims(text) == len(NAMES) - 1, "unfinished: no claim"
    assert "unfinished: 12 of 12" in text


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
def test_the_search_is_part_of_the_link(folder: Path, words: str, names: set[str]) -> None:
    app = visit(search=words)
    assert shown(app) == names
    assert app.header[0].value == f"{len(names)} of 3 runs"


def test_many_runs_come_in_portions(folder: Path) -> None:
    for number in range(10):
        shutil.copytree(folder / "third", folder / f"more-{number}")
    app = visit()
    assert len(shown(app)) == page.AT_ONCE
    next(button for button in app.button if button.label == "Show 3 more").click().run()
    assert len(shown(app)) == 13


# --- comparison -----------------------------------------------------------------------------------


def test_ticking_two_runs_compares_them_and_the_link_holds_it(folder: Path) -> None:
    app = visit()
    app.checkbox(key="compare first").check().run()
    assert "Tick another run" in texts(app)
    app.checkbox(key="compare second").check().run()
    assert app.query_params["compare"] == ["first", "second"]
    assert "below" in app.toast[0].value
    linked = visit("first", "second")
    assert html(app) == html(linked)
    assert app.selectbox(key="baseline").value == "first"
    app.checkbox(key="compare first").uncheck().run()
    assert app.query_params["compare"] == "second"
    next(button for button in app.button if button.label == "Clear").click().run()
    assert "compare" not in app.query_params
    assert "Comparison" not in [heading.value for heading in app.header]


def aged(folder: Path, **days: int) -> None:
    """Has the runs be created on these days of a month."""
    for name, day in days.items():
        manifest = manifests.read(folder / name)
        manifest.updated(created=f"2026-01-{day:02}T00:00:00+00:00").write(folder / name)


def test_the_oldest_ticked_run_is_the_baseline_until_another_is_chosen(folder: Path) -> None:
    shutil.rmtree(folder / "third")
    shutil.copytree(folder / "second", folder / "third")
    aged(folder, first=1, second=2, third=3)
    app = visit()
    for name in ("third", "second"):
        app.checkbox(key=f"compare {name}").check().run()
    assert app.query_params["compare"] == ["second", "third"]
    assert "the oldest ticked one" in texts(app)
    app.selectbox(key="baseline").set_value("third").run()
    app.checkbox(key="compare first").check().run()
    assert app.query_params["compare"] == ["third", "first", "second"], "chosen by hand"
    app.checkbox(key="compare third").uncheck().run()
    assert app.query_params["compare"] == ["first", "second"]
    assert app.selectbox(key="baseline").value == "first"


def test_the_comparison_is_that_of_the_statistics_in_words_and_numbers(folder: Path) -> None:
    app = visit("first", "second")
    found = runs.compare(runs.load(folder / "first"), runs.load(folder / "second"))
    text = html(app)
    for entry in found.differences:
        if entry["perturbation"] is None:
            for side in "ab":
                assert f">{entry[f'consistency_{side}']:.1%}</td>" in text
            assert f">{said(entry['consistency_verdict'])}</td>" in text
    assert text.count("<li>") == 2
    assert "5 and 6" in texts(app)
    assert "12 shared images" in texts(app)
    accuracy = visit("first", "second", change_of="Perturbed accuracy")
    assert "perturbed accuracy" in html(accuracy)


def test_another_baseline_turns_the_comparison_round(folder: Path) -> None:
    app = visit("first", "second", "third")
    app.selectbox(key="baseline").set_value("third").run()
    assert app.query_params["compare"] == ["third", "first", "second"]
    assert len(app.warning) == 2, "third has no image of the others"


def test_runs_that_differ_in_fit_alone_are_told_apart_and_say_why_they_do_not_compare(
    runs_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    photos = labelled_folder(tmp_path / "photos", 1)
    names = [
        performed(photos, runs_folder, spec(fit=fit)).folder.name for fit in ("crop", "squash")
    ]
    app = visit(*names)
    titles = app.selectbox(key="baseline").options
    assert ["squash" in title for title in titles] == [False, True]
    assert ["crop" in title for title in titles] == [True, False]
    assert html(app).count("squash, seed 5") == html(app).count("crop, seed 5") == 1
    (warning,) = app.warning
    assert "crop in the baseline" in warning.value
    (choice,) = run(ROOT / "pages" / "dataset.py", models="SqueezeNet").selectbox
    assert len(set(choice.options)) == 2


def test_a_run_that_cannot_be_compared_has_no_tick_but_a_reason(folder: Path) -> None:
    app = visit("first")
    assert not app.checkbox(key="compare second").disabled
    tick = app.checkbox(key="compare third")
    assert tick.disabled
    assert "no condition in common" in tick.help
    assert any("no condition in common" in caption.value for caption in app.caption)


def test_a_pinned_run_is_the_baseline_of_the_next_tick(folder: Path) -> None:
    aged(folder, first=1, second=2)
    app = visit()
    app.button(key="pin second").click().run()
    app.checkbox(key="compare first").check().run()
    assert app.query_params["compare"] == ["second", "first"]
    assert app.selectbox(key="baseline").value == "second"


def test_who_may_not_pin_for_everyone_chooses_a_baseline_for_the_session(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.set_baseline(folder, "third")
    monkeypatch.setenv("ROBUSTNESS_LOCAL_ROLE", "evaluator")
    app = visit()
    assert "baseline for everyone" in app.button(key="pin second").help
    app.button(key="pin second").click().run()
    assert notes.baseline(folder) == "third"
    app.checkbox(key="compare first").check().run()
    assert app.query_params["compare"][0] == "second"
    app.checkbox(key="compare first").uncheck().run()
    app.checkbox(key="compare second").uncheck().run()
    app.button(key="pin second").click().run()
    app.checkbox(key="compare first").check().run()
    assert app.query_params["compare"][0] == "third"
    assert not app.exception


def test_a_race_cannot_be_ticked_or_pinned(folder: Path) -> None:
    manifests.read(folder / "first").updated(race=Race()).write(folder / "first")
    app = visit()
    assert app.checkbox(key="compare first").disabled
    assert app.button(key="pin first").disabled
    assert not app.button(key="pin second").disabled


def test_title_tags_and_notes_are_saved_searched_and_listed(folder: Path) -> None:
    app = visit()
    app.text_input(key="title first").set_value("Before training")
    app.text_input(key="tags first").set_value("night, v2")
    app.text_area(key="note first").set_value("camera <b>7</b>")
    app.button(key="rename first").click().run()
    listed = runs.listed(folder / "first")
    assert (listed.tags, listed.note) == (("night", "v2"), "camera <b>7</b>")
    assert listed.title == "Before training"
    assert len(app.success) == 1
    assert shown(visit(search="night")) == {"first"}
    (table,) = app.dataframe
    row = table.value.set_index("Id").loc["first"]
    assert (row["Tags"], row["Note"]) == ("night, v2", "camera <b>7</b>")
    assert "<b>7" not in html(app)


def test_flipped_images_are_read_when_the_conditions_are_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Mock(return_value=([], []))
    monkeypatch.setattr(comparison, "flips", read)
    app = visit("first", "second")
    read.assert_not_called()
    app.session_state["conditions of second"] = True
    app.run()
    read.assert_called_once()
    assert "Now worse: 0 images" in texts(app)


@pytest.mark.parametrize("quantity", ["consistency", "perturbed_accuracy"])
@pytest.mark.parametrize("side", [224, 96])
def test_flipped_images_are_those_that_the_change_counts(
    side: int, quantity: str, tmp_path: Path
) -> None:
    names, conditions = [f"{at}.png" for at in range(12)], [Condition.of({"fog": 0.6})]
    verdicts = np.random.default_rng(0).random((2, 12, 1)) < 0.5
    made = [
        saved(
            tmp_path / f"{asked}-{place}",
            {name: f"{name} of {asked}" for name in names},
            {"SqueezeNet": 1},
            source=tmp_path,
            conditions=conditions,
            kept={"SqueezeNet": verdicts[place]},
        )
        for place, asked in enumerate((224, side))
    ]
    asked = replace(made[1].manifest.spec, side=side)
    made[1].manifest.updated(spec=asked).write(made[1].folder)
    first, second = (runs.load(run.folder) for run in made)
    incorrect = np.arange(12) % 5 == 0  # before the perturbation: correct where it is changed
    before, after = verdicts[..., 0] ^ (incorrect & (quantity != "consistency"))
    told = [
        [flip.image for flip in each]
        for each in flips(first, second, "SqueezeNet", conditions[0].id, quantity)
    ]
    expected = [np.flatnonzero(before & ~after), np.flatnonzero(~before & after)]
    assert told == [[names[at] for at in places] for places in expected]
    assert all(told)


def test_an_image_whose_prediction_is_the_target_already_flips_nowhere(tmp_path: Path) -> None:
    names, verdicts = [f"{at}.png" for at in range(12)], np.arange(24).reshape(2, 12, 1) < 12
    for target, flipped in ((ESPRESSO, 0), (TABBY, 12)):  # espresso is what was predicted before
        aimed = Condition.attack("pgd", epsilon=0.5, norm="l2", steps=10, target=target)
        first, second = (
            saved(
                tmp_path / f"{target}-{place}",
                {name: name for name in names},
                {"SqueezeNet": 1},
                source=tmp_path,
                conditions=[aimed],
                labelled=False,
                kept={"SqueezeNet": kept},
            )
            for place, kept in enumerate(verdicts)
        )
        (_, entry) = compare(first, second).differences
        assert entry["consistency_moved"] == flipped
        worse, better = flips(first, second, "SqueezeNet", aimed.id, "consistency")
        assert (len(worse), len(better)) == (flipped, 0)


def test_runs_that_are_gone_or_hostile_get_a_sentence(folder: Path) -> None:
    app = visit("first", "../made", "<b>x</b>")
    warnings = [warning.value for warning in app.warning]
    assert len(warnings) == 2
    assert all("No run" in text and "<b>" not in text for text in warnings)
    (folder / "second" / "part-000000.parquet").write_bytes(b"x")
    assert "damaged" in visit("first", "second").error[0].value


# --- what can be done with a run ------------------------------------------------------------------


def test_a_run_is_deleted_once_that_is_confirmed(folder: Path) -> None:
    app = visit("first", "second")
    assert app.button(key="delete first").disabled
    app.checkbox(key="sure first").check().run()
    app.button(key="delete first").click().run()
    assert not app.exception
    seen = {name for name in os.listdir(folder) if not name.startswith(".")}
    assert seen == {"holiday <b>", "second", "third"}
    assert app.query_params["compare"] == "second"


def test_a_run_is_downloaded_and_brought_in_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = page._archive(folder / "first", OWNER)
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "there"))
    app = visit()
    assert app.button(key="import run").disabled
    app.file_uploader[0].upload("run.zip", data, "application/zip").run()
    app.button(key="import run").click().run()
    assert not app.exception
    (entry,) = runs.listing(tmp_path / "there")
    assert entry.imported
    assert "imported" in html(app)
    assert runs.load(entry.folder).table().equals(runs.load(folder / "first").table())
    assert app.button(key="import run").disabled, "nothing waits to be imported twice"
    opened = run(ROOT / "pages" / "dataset.py", run=entry.folder.name)
    assert not opened.error
    assert "come from another machine" in texts(opened)
