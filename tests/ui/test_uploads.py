"""Uploads for an evaluation: they belong to a session or a run, and have a limit in all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.support.repository import ROOT
from robustness import runs
from robustness.images.decoding import sample_bytes
from robustness.measure.condition import Condition
from robustness.measure.request import make_spec
from robustness.ui import uploads
from tests.support.pages import run

FOG = [Condition.of({"fog": 0.6})]

HELD = "archive of dataset_upload"
"""The session's record of its upload."""


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of uploads."""
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs" / ".uploads"


def session() -> AppTest:
    page = ROOT / "pages" / "evaluations.py"
    return run(page, source="Upload", models="SqueezeNet", suite="own")


def give(app: AppTest, name: str) -> AppTest:
    """Upload this sample in the session, replacing its earlier upload."""
    files = [(f"{name}.png", sample_bytes(name), "image/png")]
    app.file_uploader(key="dataset_upload").set_value(files)
    return app.run()


def test_what_a_session_held_goes_with_it_and_others_uploads_stay(uploaded: Path) -> None:
    goes, stays = give(session(), "coffee"), give(session(), "rocket")
    ours = set(uploaded.iterdir())
    of_another_server = uploaded / ("0" * 32)
    of_another_server.mkdir()
    uploads.collect()
    assert set(uploaded.iterdir()) == {*ours, of_another_server}
    (held,) = [held for held in uploads._HOLDERS if held is stays.session_state[HELD]]
    for other in set(uploads._HOLDERS) - {held}:  # as when their sessions have ended
        uploads._HOLDERS.discard(other)
    uploads.collect()
    assert set(uploaded.iterdir()) == {held.path.parent, of_another_server}
    assert HELD in goes.session_state, "or its end would have been seen above"


def test_an_upload_goes_with_its_run_and_not_while_that_is_in_the_bin(uploaded: Path) -> None:
    app = give(session(), "coffee")
    source = str(app.session_state[HELD].path)
    with runs.start(runs.plan(source, make_spec(["SqueezeNet"], FOG)), uploaded.parent) as begun:
        folder = begun.folder
    give(app, "rocket")
    uploads.collect()
    assert Path(source).exists(), "its run needs these images to go on"
    (uploaded.parent / ".bin").mkdir()
    folder.rename(uploaded.parent / ".bin" / folder.name)
    uploads.collect()
    assert Path(source).exists(), "its run may be fetched back"
    runs.delete(uploaded.parent / ".bin" / folder.name)
    uploads.collect()
    assert not Path(source).exists()
    assert len(list(uploaded.iterdir())) == 1


def test_no_foreign_folder_holds_the_check_of_the_uploads_up(uploaded: Path) -> None:
    """A pipe would be read for ever, and what is no manifest needs no upload."""
    left = uploaded / ("0" * 32)
    for name in ("pipe", "large", "link"):
        (uploaded.parent / name).mkdir(parents=True)
    left.mkdir(parents=True)
    os.mkfifo(uploaded.parent / "pipe" / "manifest.json")
    (uploaded.parent / "link" / "manifest.json").symlink_to("/dev/zero")
    with (uploaded.parent / "large" / "manifest.json").open("wb") as file:
        file.truncate(10**9)
    long_ago = time.time() - 2 * uploads.YOUNG
    os.utime(left, (long_ago, long_ago))
    uploads.collect()
    assert not left.exists()


def test_uploads_take_as_much_room_as_the_operator_allows(
    uploaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_UPLOADS", f"{len(sample_bytes('coffee')) + 1000}")
    app = give(session(), "coffee")
    (kept,) = uploaded.iterdir()
    other = give(session(), "rocket")
    assert other.error[0].value.startswith("No room")
    assert not other.exception
    assert list(uploaded.iterdir()) == [kept]
    give(app, "rocket")
    assert not app.error, "its own upload made room"
    monkeypatch.setenv("ROBUSTNESS_UPLOADS", "plenty")
    assert "expected a size" in give(app, "chelsea").error[0].value


def test_an_upload_is_kept_under_its_digest_and_packed_the_same_every_time(
    uploaded: Path,
) -> None:
    files = [("a.png", b"1"), ("a.png", b"2"), ("../../b.png", b"3")]
    packed = uploads._packed(files)
    assert packed == uploads._packed(files)
    path = uploads._keep("uploaded pictures.zip", packed)
    assert path.is_relative_to(uploaded)
    assert path == uploads._keep("uploaded pictures.zip", packed)
    plan = runs.plan(str(path), make_spec(["SqueezeNet"], FOG))
    assert [entry.name for entry in plan.dataset.entries] == ["a.png", "a (2).png", "b.png"]
    hostile = uploads._keep("../../../x.zip", packed)
    assert hostile.is_relative_to(uploaded)


def test_what_nothing_needs_any_more_goes_after_a_day(uploaded: Path) -> None:
    app = give(session(), "coffee")
    source = str(app.session_state[HELD].path)
    with runs.start(runs.plan(source, make_spec(["SqueezeNet"], FOG)), uploaded.parent):
        pass
    (of_a_run,) = uploaded.iterdir()
    held = give(session(), "rocket")
    (of_a_session,) = set(uploaded.iterdir()) - {of_a_run}
    old, young = uploaded / ("0" * 32), uploaded / ("1" * 32)
    for folder in (old, young):
        folder.mkdir()
        (folder / "left.zip").write_bytes(b"")
    yesterday = time.time() - uploads.YOUNG - 60
    for folder in (of_a_run, of_a_session, old):
        for path in (*folder.iterdir(), folder):
            os.utime(path, (yesterday, yesterday))
    uploads.collect()
    assert set(uploaded.iterdir()) == {of_a_run, of_a_session, young}
    assert not held.exception
