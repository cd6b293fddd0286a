"""The form of a domain, and the page of its run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.support.image_folders import labelled_folder
from benchmarks.support.repository import ROOT
from robustness import runs
from robustness.matching.domain import PRESETS
from robustness.runs.manifest import read
from tests.support.jobs import in_threads, worked_off
from tests.support.pages import html, run
from tests.support.saved_runs import use_stand_ins

PAGE = ROOT / "pages" / "evaluations.py"


@pytest.fixture(autouse=True)
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    use_stand_ins(monkeypatch)
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUSTNESS_DATASETS", str(tmp_path))
    labelled_folder(tmp_path / "photos", 2)
    with in_threads():
        yield


def test_a_domain_is_declared_evaluated_and_shown(tmp_path: Path) -> None:
    link = {"source": "server", "server_source": "photos", "models": "SqueezeNet"}
    app = run(PAGE, question="domain", domain_start="scanner", limit="2", **link)
    assert not app.exception
    app.text_input(key="domain name scanner").set_value("archive").run()
    app.multiselect(key="domain perturbations scanner").set_value(["rotation", "contrast"]).run()
    app.slider(key="domain contrast scanner").set_value((0.0, 0.5)).run()
    app.text_input(key="domain requirement contrast").set_value("REQ-9").run()
    assert any("by a trial" in caption.value for caption in app.caption)
    app.button(key="evaluate").click().run()
    assert not app.exception
    worked_off(tmp_path / "runs")
    (entry,) = runs.listing(tmp_path / "runs")
    domain = read(entry.folder).spec.domain
    assert domain is not None
    assert domain.name == "archive"
    rotation, contrast = domain.ranges
    assert rotation.source == PRESETS["scanner"].ranges["rotation"]["source"]
    assert (contrast.low, contrast.high, contrast.requirement) == (0, 0.5, "REQ-9")
    shown = run(PAGE, run=entry.folder.name)
    assert not shown.exception
    assert "Within the domain archive" in html(shown)


def test_a_domain_of_one_perturbation_is_refused_in_a_sentence() -> None:
    link = {"source": "server", "server_source": "photos", "models": "SqueezeNet"}
    app = run(PAGE, question="domain", **link)
    app.multiselect(key="domain perturbations outdoor-camera").set_value(["fog"]).run()
    assert not app.exception
    assert any("2 perturbations" in info.value for info in app.info)
    assert "evaluate" not in {button.key for button in app.button}
