"""The decision card: the same answer on the page, on the command line and in Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.support.own_runs import adopt
from benchmarks.support.repository import ROOT
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import api, report, runs
from robustness.commands.main import main
from robustness.runs import notes
from tests.support import pages
from tests.support.pages import html

SHARES = {"SqueezeNet": 0.3, "EfficientNetLite0": 0.9}


def test_command_and_python_tell_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(30)])
    made = {"SqueezeNet": 0.3, "EfficientNetLite0": 0.9, "EfficientNetLite1": 0.9}
    run = saved(tmp_path / "runs" / "made", digests, made, source=tmp_path / "set")
    passes = {
        name: {"latency_ms": at, "latency_low_ms": at, "latency_high_ms": at + 1.0}
        for name, at in zip(made, (5.0, 20.0, 10.0), strict=True)
    }
    run.manifest.updated(costs=passes).write(run.folder)
    run = runs.load(adopt(run.folder))
    assert main(["choose", str(run.folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.pop("thresholds")
    assert main(["choose", str(run.folder)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    found = api.choose(run)
    assert set(found.best) == {"EfficientNetLite0", "EfficientNetLite1"}
    assert found.sentences[0].startswith("Ship EfficientNet-Lite1: no significant difference to")
    assert report.of_run(run).answer[0] == " ".join(found.sentences)
    assert told == json.loads(json.dumps(found.as_dict()))
    assert all(sentence in printed for sentence in found.sentences)
    assert all(f"{entry['robust']:.1%}" in printed for entry in found.models)


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
    assert "max_regression" in out["reason"]

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
