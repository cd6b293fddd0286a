"""The bin, the audit log, and what the operator lets the folder of runs hold."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from robustness import runs
from robustness.base.errors import AccessError, RunError
from robustness.runs import audit, keeping, manifest
from tests.support.saved_runs import performed, spec, use_stand_ins


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        performed("samples", root / "runs", spec()).folder.rename(root / "runs" / "first")
    return root / "runs"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs"


def another(folder: Path, name: str, *, days_ago: float = 0.0) -> Path:
    """A copy of the run under another name, begun so many days ago."""
    shutil.copytree(folder / "first", folder / name)
    created = datetime.now(UTC) - timedelta(days=days_ago)
    manifest.read(folder / name).updated(id=name, created=created.isoformat()).write(folder / name)
    return folder / name


def age(folder: Path, name: str, days: float) -> None:
    """Backdate the deletion of the run in the bin by some days."""
    file = folder / runs.BIN / name / "notes.json"
    note = json.loads(file.read_text())
    file.write_text(json.dumps({**note, "deleted": note["deleted"] - days * 86400}))


def names(folder: Path) -> set[str]:
    return {entry.folder.name for entry in runs.listing(folder)}


def test_a_deleted_run_is_brought_back_as_it_was(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "first").iterdir()}
    runs.to_bin(folder / "first", "ada@example.org")
    assert names(folder) == set()
    (found,) = runs.deleted(folder)
    assert (found.entry.folder.name, found.by) == ("first", "ada@example.org")
    with pytest.raises(RunError):
        runs.find(folder, f"{runs.BIN}/first")
    back = runs.restore(folder, "first")
    after = {path.name: path.read_bytes() for path in back.iterdir()}
    besides = {".lock": b"", "notes.json": b""}
    assert {**after, **besides} == {**before, **besides}
    assert not runs.deleted(folder)


@pytest.mark.parametrize("name", ["nothing", "..", ".", "../first", "a\0b", "x" * 300])
def test_what_is_not_in_the_bin_gets_a_sentence(folder: Path, name: str) -> None:
    with pytest.raises(RunError, match="There is no run"):
        runs.restore(folder, name)


def test_the_bin_empties_after_days(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    another(folder, "young")
    for name in ("first", "young"):
        runs.to_bin(folder / name)
    age(folder, "first", 7.1)
    age(folder, "young", 6.9)
    keeping.tidy(folder)
    assert os.listdir(folder / runs.BIN) == ["young"]
    monkeypatch.setenv("ROBUSTNESS_BIN_DAYS", "6")
    keeping.tidy(folder)
    assert os.listdir(folder / runs.BIN) == []


@pytest.mark.parametrize("note", [None, "{", '{"title": "Mine"}'])
def test_a_run_without_a_note_of_deletion_stays_in_the_bin(folder: Path, note: str | None) -> None:
    """Whatever the age of its files, which a copy or a backup sets."""
    runs.to_bin(folder / "first")
    place = folder / runs.BIN / "first"
    (place / "notes.json").unlink()
    if note:
        (place / "notes.json").write_text(note)
    os.utime(place, (1, 1))
    keeping.tidy(folder)
    (entry,) = runs.deleted(folder)
    assert entry.when is None
    assert runs.load(runs.restore(folder, "first")).images


def test_a_run_that_is_being_written_is_not_deleted(folder: Path) -> None:
    from robustness.runs.folder import locked

    lock = locked(folder / "first")
    try:
        with pytest.raises(RunError, match="is being written"):
            runs.to_bin(folder / "first")
    finally:
        lock.release()
    assert names(folder) == {"first"}


def test_runs_beyond_the_number_or_the_days_go_to_the_bin(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, days_ago in (("new", 0.0), ("older", 3.0), ("oldest", 9.0)):
        another(folder, name, days_ago=days_ago)
    runs.delete(folder / "first")
    keeping.tidy(folder)
    assert names(folder) == {"new", "older", "oldest"}, "without a setting all are kept"
    monkeypatch.setenv("ROBUSTNESS_DAYS_KEPT", "8")
    keeping.tidy(folder)
    assert names(folder) == {"new", "older"}
    monkeypatch.setenv("ROBUSTNESS_RUNS_KEPT", "1")
    keeping.tidy(folder)
    assert names(folder) == {"new"}
    assert {entry.entry.folder.name for entry in runs.deleted(folder)} == {"older", "oldest"}


def test_the_runs_of_a_stranger_bin_nobody_elses(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, creator, days_ago in (
        ("mine", "ada@example.org", 2.0),
        ("mine before", "ada@example.org", 3.0),
        ("mine first", "ada@example.org", 4.0),
        *((f"other {number}", "browser-1", number / 100) for number in range(9)),
    ):
        another(folder, name, days_ago=days_ago)
        manifest.read(folder / name).updated(creator=creator).write(folder / name)
    monkeypatch.setenv("ROBUSTNESS_RUNS_KEPT", "2")
    keeping.tidy(folder)
    assert names(folder) == {"first", "mine", "mine before", "other 0", "other 1"}


def test_a_run_that_came_back_counts_from_then(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, days_ago in (("new", 1.0), ("newer", 0.5), ("old", 9.0)):
        another(folder, name, days_ago=days_ago)
    runs.delete(folder / "first")
    runs.to_bin(folder / "old")
    runs.restore(folder, "old")
    monkeypatch.setenv("ROBUSTNESS_DAYS_KEPT", "8")
    keeping.tidy(folder)
    assert names(folder) == {"new", "newer", "old"}
    monkeypatch.setenv("ROBUSTNESS_RUNS_KEPT", "2")
    keeping.tidy(folder)
    assert names(folder) == {"newer", "old"}


def test_a_dashboard_that_is_read_only_deletes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another(folder, "old", days_ago=9.0)
    another(folder, "binned")
    runs.to_bin(folder / "binned")
    age(folder, "binned", 8.0)
    monkeypatch.setenv("ROBUSTNESS_DAYS_KEPT", "8")
    monkeypatch.setenv("ROBUSTNESS_READ_ONLY", "on")
    keeping.tidy(folder)
    assert names(folder) == {"first", "old"}
    assert os.listdir(folder / runs.BIN) == ["binned"]


def test_too_many_pictures_or_bytes_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping.check_begin(folder, 10**9)
    monkeypatch.setenv("ROBUSTNESS_OPERATOR_CONTACT", "op@example.org")
    monkeypatch.setenv("ROBUSTNESS_PICTURES_LIMIT", "100")
    keeping.check_begin(folder, 100)
    with pytest.raises(AccessError, match=r"at most 100 images, got 101: .* ask op@example.org"):
        keeping.check_begin(folder, 101)
    monkeypatch.setenv("ROBUSTNESS_DISK_LIMIT", "1KB")
    with pytest.raises(AccessError, match=r"folder of runs takes .* ask op@example.org"):
        keeping.check_begin(folder)


def test_whose_a_run_is(folder: Path) -> None:
    assert runs.owner_of(folder / "first") == "", "a run of the command line is nobody's"
    mine = manifest.read(folder / "first").updated(creator="ada@example.org")
    assert mine.key == manifest.read(folder / "first").key
    mine.write(folder / "first")
    assert runs.owner_of(folder / "first") == "ada@example.org"
    assert runs.listing(folder)[0].owner == "ada@example.org"


def note(folder: Path, thing: str = "first", **changes: str) -> None:
    line = {"who": "ada@example.org", "role": "owner", "action": "delete", **changes}
    audit.note(folder, thing=thing, allowed=True, **line)


def test_the_log_is_lines_of_json_whatever_a_name_holds(tmp_path: Path) -> None:
    note(tmp_path, "a\nb\x1b[31m\u202e\ud800" + "x" * 500, who="y" * 500)
    text = (tmp_path / audit.FILE).read_bytes().decode("ascii")
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()
    line = json.loads(text)
    assert line["thing"].startswith("a\nb")
    assert len(line["thing"]) == len(line["who"]) == 200
    assert line["allowed"] is True


def test_the_log_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_BYTES", 300)
    monkeypatch.setattr(audit, "MOST_FILES", 3)
    for number in range(20):
        note(tmp_path, f"run {number}")
    files = sorted(path.name for path in tmp_path.glob(".audit*.jsonl"))
    assert files == [".audit.1.jsonl", ".audit.2.jsonl", ".audit.jsonl"]
    assert "run 19" in (tmp_path / audit.FILE).read_text()
    kept = [
        json.loads(line) for name in files for line in (tmp_path / name).read_text().splitlines()
    ]
    assert 4 <= len(kept) <= 9


def test_a_log_that_cannot_be_written_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    note(tmp_path / "file" / "runs")
    assert "cannot be written" in caplog.text
