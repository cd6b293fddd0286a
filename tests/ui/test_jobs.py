"""Runs that are worked on, as pages show them: how far, cancelled and continued from any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.image_folders import labelled_folder
from benchmarks.support.repository import ROOT
from robustness import runs
from robustness.base.errors import RunLockedError
from robustness.runs import jobs
from robustness.runs.task import Progress, ProgressFile
from tests.support.jobs import in_threads, worked_off
from tests.support.pages import run
from tests.support.saved_runs import spec, use_stand_ins

PAGE = ROOT / "pages" / "evaluations.py"


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A run of stand-ins over six images that waits for its turn, and that nothing begins."""
    use_stand_ins(monkeypatch)
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    source = labelled_folder(tmp_path / "three", 2)
    with in_threads():
        yield jobs.submit(runs.plan(str(source), spec(), batch=2), tmp_path / "runs", "somebody")


def said(app: AppTest) -> str:
    """The texts of bars, captions and warnings."""
    bars = [element.proto.text for element in app.get("progress")]
    return "\n".join([*bars, *(e.value for kind in (app.caption, app.warning) for e in kind)])


@pytest.mark.parametrize("page", ["pages/models.py", "pages/evaluations.py"])
def test_other_pages_say_how_far_a_run_is_and_cancel_it(ordered: Path, page: str) -> None:
    file = ProgressFile(ordered, 6)
    file.write(Progress(2, 6, 1))
    app = run(ROOT / page)
    assert "2 of 6 images, 1 left out" in said(app)
    app.button(key=f"sidebar Cancel {ordered.name}").click().run()
    assert not app.exception
    assert not jobs.is_queued(ordered)
    assert "2 of 6" not in said(app)
    file.remove()


def test_what_another_process_works_on_is_followed_and_not_offered_to_continue(
    ordered: Path,
) -> None:
    jobs.cancel(ordered)  # as somebody did before the command continues it
    folder = ordered.parent
    plan = runs.plan(str(folder.parent / "three"), spec(), batch=2)
    with runs.start(plan, folder, resume=True) as writer:
        assert writer.folder == ordered
        working = writer.perform()
        while not next(working).done:
            pass
        app = run(PAGE, run=ordered.name)
        app.button(key="list runs").click().run()
        row = app.dataframe[0].value.set_index("Id").loc[ordered.name]
        assert row["State"].startswith("in another process: ")
        assert "Runs in another process" in said(app)
        assert " of 6 images" in said(app)
        assert {f"page {label} {ordered.name}" for label in ("Continue", "Cancel")}.isdisjoint(
            button.key for button in app.button
        )
        with pytest.raises(RunLockedError, match="another process"):
            jobs.resume(ordered, "somebody")
        assert jobs.submit(plan, folder, "somebody") == ordered
        assert not jobs.is_queued(ordered), "it need not be done twice"
    app.run()
    assert f"page Continue {ordered.name}" in {button.key for button in app.button}


def test_whoever_has_the_link_cancels_and_continues_it_to_its_end(ordered: Path) -> None:
    app = run(PAGE, run=ordered.name, models="SqueezeNet")
    app.button(key=f"page Cancel {ordered.name}").click().run()
    assert "This run is not finished" in said(app)
    assert "It was cancelled" in said(app).replace("\\", "")
    other = run(PAGE, run=ordered.name)
    other.button(key=f"page Continue {ordered.name}").click().run()
    worked_off(ordered.parent)
    assert runs.load(ordered).images == 6
    other.query_params.pop("run")
    other.run()
    assert "is ready" in said(other).replace("\\", ""), "who asked for it hears of it on any page"
    app.run()
    assert "not finished" not in said(app)
