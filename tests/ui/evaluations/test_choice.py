"""The decision card: the same answer on the page, on the command line and in Python."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.support.repository import ROOT
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import api, runs
from robustness.cli.main import main
from robustness.report.blocks import COMPARE
from robustness.runs import notes
from robustness.runs.latencies import Latencies
from robustness.ui.evaluations.images import VIEW
from tests.support import pages
from tests.support.pages import html

SHARES = {"SqueezeNet": 0.3, "EfficientNetLite0": 0.9}


def test_a_budget_is_taken_on_the_page_as_by_command_and_from_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(60)])
    folder = tmp_path / "runs"
    run = saved(folder / "made", digests, SHARES, source=tmp_path / "set")
    before = saved(folder / "before", digests, dict.fromkeys(SHARES, 0.9), source=tmp_path / "set")
    budget = tmp_path / "gate.toml"
    budget.write_text('baseline = "before"\n[[limit]]\nmax_regression = 0.2\n')
    assert main(["choose", str(run.folder), "--budget", str(budget), "--out", str(folder)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    found = api.choose(run, budget=budget, baseline=before)
    out = next(each for each in found.models if each["model"] == "SqueezeNet")
    assert "consistency lost" in out["reason"]

    monkeypatch.setenv("ROBUSTNESS_RUNS", str(folder))
    app = pages.run(ROOT / "pages" / "evaluations.py", run="made")

    def upload(data: bytes) -> None:
        app.file_uploader(key="budget").set_value(("gate.toml", data, "text/plain")).run()

    upload(budget.read_bytes())
    assert len(app.error) == 1, "its limits compare with a baseline, and there is none"
    notes.set_baseline(folder, "before")
    app.run()
    assert not app.error
    assert not app.exception
    page = html(app) + pages.texts(app)
    for sentence in found.sentences:
        assert sentence in printed
        assert sentence in page
    ranked = [entry for entry in found.models if entry["robust"] is not None]
    assert all(f"{entry['robust']:.1%}" in page for entry in ranked)
    (drawn,) = pages.components(app, "map")
    assert all(name in drawn["html"] for name in SHARES), "a cell is a selection"

    upload(b"[[limit]]\nmin_consistancy = 1\n")
    assert not app.exception
    (error,) = app.error
    assert "min_consistency" in error.value.replace("\\", "")


@pytest.mark.parametrize("shares", [SHARES, dict.fromkeys(SHARES, 0.9)])
def test_a_page_says_once_that_the_machine_was_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: dict[str, float]
) -> None:
    """Also above the tables, where the headline names the faster one of models that tie."""
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(60)])
    run = saved(tmp_path / "runs" / "busy", digests, shares, source=tmp_path / "set")
    turns = {"SqueezeNet": (10.0,) * 9, "EfficientNetLite0": (80.0,) * 9}
    measured = Latencies("2026-01-02T03:04:05+00:00", "a processor", 2, {}, turns, waiting=0.3)
    run.manifest.updated(latencies=(measured,)).write(run.folder)
    assert (api.choose(runs.load(run.folder)).fastest is None) == (shares is SHARES)

    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    app = pages.run(ROOT / "pages" / "evaluations.py", run="busy", **{VIEW: COMPARE})
    assert not app.exception
    assert (html(app) + pages.texts(app)).count("30% of the time for a core") == 1


def test_pages_of_a_run_of_scores_name_the_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs"
    entries = []
    for number in range(40):
        for condition, score in (("clean", 0.9), ("fog=0.6", 0.2 + 0.01 * number)):
            entries.append({"image": f"{number}.png", "condition": condition, "score": score})
    table = pd.DataFrame(entries).assign(score_name="IoU", path="")
    frames = [table.assign(model="small"), table.assign(model="large")]
    run = api.evaluate_predictions(pd.concat(frames), out=folder)

    monkeypatch.setenv("ROBUSTNESS_RUNS", str(folder))
    page = ROOT / "pages" / "evaluations.py"
    app = pages.run(page)
    assert "Perturbed IoU" in app.dataframe[0].value.columns
    app = pages.run(page, run=run.id)
    labels = [each.label for each in app.number_input]
    assert "Min IoU on originals, %" in labels
    assert "Min perturbed IoU, %" in labels
    assert not [label for label in labels if "consistency" in label or "accuracy" in label]
    app.number_input(key="min_score").set_value(50.0).run()
    assert "Release fails" in html(app)
    app = pages.run(page, run=run.id, present="true", slide="2")
    assert "IoU kept by 0 of 2 models." in html(app)
    app = pages.run(page, run=run.id, present="true", slide="3")
    assert "drops from a mean IoU of 90% to 40%" in html(app)
    assert "Blue: mean IoU" in pages.texts(app)
