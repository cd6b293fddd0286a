"""The commands on saved runs: what they print, and their exit codes. The models are stand-ins."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.image_folders import labelled_folder
from robustness import runs
from robustness.cli import main
from robustness.report import comparison
from tests.support.saved_runs import assert_same_rows, finished, performed, spec, use_stand_ins

BUDGET = """
[[limit]]
min_consistency = 0.0
"""


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stand_ins(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images in ``photos`` and two runs of them in ``runs``."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        photos = labelled_folder(folder / "photos", 2)
        for seed in (5, 6):
            run = performed(photos, folder / "runs", spec(seed=seed))
            run.folder.rename(folder / "runs" / f"seed-{seed}")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the working folder; the images stay where the runs know them."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "budget.toml").write_text(BUDGET)
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert main.main([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_runs_are_listed_with_the_folders_that_are_none(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.notes.update(here / "runs" / "seed-5", title="Before training")
    (here / "runs" / "holiday").mkdir()
    found = answer(capsys, "runs")
    assert {entry["run"] for entry in found[:2]} == {"seed-5", "seed-6"}
    assert "not a saved run" in found[2]["reason"]
    first = next(entry for entry in found if entry["run"] == "seed-5")
    assert (first["title"], first["images"], first["seed"]) == ("Before training", 6, 5)
    assert main.main(["runs"]) == 0
    printed = capsys.readouterr().out
    assert "Before training: 6 of 6 images" in printed
    assert "holiday: " in printed
    assert main.main(["runs", "--out", "nowhere"]) == 0
    assert "There are no runs in nowhere." in capsys.readouterr().out


def test_commands_find_the_runs_of_the_dashboard(
    here: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(here / "runs"))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert len(answer(capsys, "runs")) == 2
    answer(capsys, "choose", "seed-5")
    assert answer(capsys, "runs", "--out", "runs") == []


def test_runs_are_compared_by_id_or_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = answer(capsys, "runs", "compare", "seed-5", str(here / "runs" / "seed-6"))
    assert found["images"] == 6
    assert "The seed differs: 5 and 6." in found["apart"]
    assert len(found["differences"]) == 2 * (1 + 2)
    assert len(answer(capsys, "runs", "compare", "seed-5", "seed-6", "seed-5")) == 2
    assert main.main(["runs", "compare", "seed-5", "seed-6"]) == 0
    printed = capsys.readouterr().out
    assert "6 shared images" in printed
    for entry in found["differences"]:
        if entry["condition"] is None:
            assert comparison.sentence(entry, "perturbed_accuracy") in printed, "as on the page"
    with pytest.raises(SystemExit):
        main.main(["runs", "compare", "seed-5"])
    assert "at least two runs" in capsys.readouterr().err
    to = ("--to", str(here / "compared.md"))
    (again,) = answer(capsys, "runs", "compare", "seed-5", "seed-6", *to)
    assert again == found
    assert "seed-6 against seed-5" in (here / "compared.md").read_text()
    with pytest.raises(SystemExit):
        main.main(["runs", "compare", "seed-5", "seed-6", "seed-5", *to])
    assert "one report compares two" in capsys.readouterr().err


def test_a_run_is_handed_over_as_a_folder_and_deleted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(here / "runs" / "seed-5", here / "there" / "copy")
    (found,) = answer(capsys, "runs", "compare", "seed-5", "there/copy")
    assert found["images"] == 6
    assert main.main(["runs", "delete", "copy", "--out", "there"]) == 2
    assert "--yes" in capsys.readouterr().err
    answer(capsys, "runs", "delete", "copy", "--out", "there", "--yes")
    assert os.listdir("there") == []
    assert main.main(["runs", "delete", "there", "--yes"]) == 2
    assert (here / "there").is_dir(), "it is no run"


def test_the_request_of_a_run_answers_from_the_run_and_is_computed_anew_on_request(
    here: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = shutil.copytree(made / "photos", here / "photos")
    plan = runs.plan(str(photos), spec(), labelling="none", limit=5, sample=3, batch=1)
    run = finished(plan, here / "runs")
    request = ["evaluate", "--request", run.id]
    assert answer(capsys, *request)["run"] == run.id
    assert len(os.listdir("runs")) == 3, "it is there already"
    assert main.main(["evaluate", "--request", str(run.folder)]) == 0
    assert "is already finished" in capsys.readouterr().err
    assert main.main([*request, "--fresh"]) == 0
    printed = capsys.readouterr().out
    (fresh,) = {*os.listdir("runs")} - {"seed-5", "seed-6", run.id}
    again = runs.load(here / "runs" / fresh)
    assert f"runs compare {Path('runs') / run.id} {Path('runs') / fresh}" in printed
    assert_same_rows(run, again)
    assert again.manifest.dataset == run.manifest.dataset
    (compared,) = answer(capsys, "runs", "compare", run.id, fresh)
    assert (compared["rows"]["compared"], compared["rows"]["equal"]) == (12, True)
    assert main.main(["runs", "compare", run.id, fresh]) == 0
    assert "Rows equal (12 compared)." in capsys.readouterr().out
    (compared,) = answer(capsys, "runs", "compare", run.id, "seed-6")
    assert compared["rows"] is None
    elsewhere = shutil.copytree(photos, here / "elsewhere")
    moved = answer(capsys, "evaluate", str(elsewhere), "--request", run.id)
    assert runs.find(here / "runs", moved["run"]).manifest.dataset.source == str(elsewhere)


def test_a_request_of_a_run_is_whole(
    here: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = shutil.copytree(made / "photos", here / "photos")
    run = performed(photos, here / "runs", spec())
    request = ["evaluate", "--request", run.id]
    for options, message in {
        ("--limit", "2", "--seed", "1"): f"the run {run.id} or --seed, --limit, got both",
        ("--predictions", "table.csv"): "omit --request",
    }.items():
        assert main.main([*request, *options]) == 2
        assert message in capsys.readouterr().err
    assert main.main(["evaluate", "--request", "nothing"]) == 2
    assert "There is no run nothing" in capsys.readouterr().err
    assert main.main(["evaluate", "photos", "--fresh"]) == 2
    assert "--fresh expects a run in --request" in capsys.readouterr().err
    assert main.main(["evaluate"]) == 2
    assert "Expected a SOURCE, a run in --request" in capsys.readouterr().err
    shutil.rmtree(photos)
    assert main.main(request) == 2
    assert "not where they were" in capsys.readouterr().err


def test_check_tells_by_its_status_whether_the_budget_is_kept(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "step.md"))
    (here / "step.md").write_text("what stood there\n")
    files = ["--junit", "out/a.xml", "--summary", "out/a.md", "--github"]
    command = ["check", "seed-5", "--budget", "budget.toml"]
    assert main.main([*command, *files]) == 0
    printed = capsys.readouterr().out
    assert "Release passes: 2 limits hold." in printed
    head, _, first = printed.splitlines()[4:7]
    assert head.index("Condition") == first.index("all conditions"), "the heading of the column"
    assert "<testsuites>" in Path("out/a.xml").read_text()
    assert Path("step.md").read_text() == "what stood there\n" + Path("out/a.md").read_text()
    Path("budget.toml").write_text("[[limit]]\nmin_consistency = 1.0\n")
    found = answer(capsys, *command, status=1)
    assert not found["passed"]
    assert main.main([*command, "--junit", "out/b.xml"]) == 1
    assert "<failure" in Path("out/b.xml").read_text()
    Path("budget.toml").write_text("[[limit]]\nmin_consistancy = 1.0\n")
    capsys.readouterr()
    assert main.main(command) == 2
    assert "Did you mean 'min_consistency'" in capsys.readouterr().err


def test_a_source_is_evaluated_once_and_held_against_the_budget(
    here: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["check", str(made / "photos"), "--budget", "budget.toml", "--out", "new"]
    request = ["--models", "SqueezeNet", "--perturbations", "fog", "--strength", "0.2,0.6"]
    request += ["--remedies", "median"]
    with Path("budget.toml").open("a") as file:
        file.write('[[limit]]\nmodel = "*+median"\nmin_consistency = 0\n')
    first = answer(capsys, *command, *request)
    assert "SqueezeNet+median" in [each["model"] for each in first["verdicts"]]
    assert answer(capsys, *command, *request) == first
    assert os.listdir("new") == [first["run"]]
    assert main.main(["check", "nowhere", "--budget", "budget.toml"]) == 2
    assert "There is no folder or file nowhere" in capsys.readouterr().err


def test_a_new_run_must_not_be_worse_than_the_last(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "[[limit]]\nmax_regression = 1.0\n"
    (here / "ci").mkdir()
    shutil.copytree(here / "runs" / "seed-6", here / "ci" / "last")
    (here / "ci" / "budget.toml").write_text(f'baseline = "last"\n{text}')
    found = answer(capsys, "check", "seed-5", "--budget", "ci/budget.toml")
    assert {entry["limit"] for entry in found["verdicts"]} == {"max_regression"}
    (here / "budget.toml").write_text(text)
    assert main.main(["check", "seed-5", "--budget", "budget.toml"]) == 2
    assert "needs a run to compare with" in capsys.readouterr().err
    assert main.main(["check", "seed-5", "--budget", "budget.toml", "--baseline", "seed-6"]) == 0
    (here / "budget.toml").write_text(f'baseline = "gone"\n{text}')
    assert main.main(["check", "seed-5", "--budget", "budget.toml"]) == 2
    assert "There is no run gone" in capsys.readouterr().err
