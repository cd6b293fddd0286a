"""What people said of a run in version 0.13, whose rows the golden runs hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

from robustness.runs import notes


def test_the_files_of_notes_are_read_until_something_changes(tmp_path: Path) -> None:
    (tmp_path / "title.txt").write_text("Night \u202e")
    (tmp_path / "tags.txt").write_text("night, v2, night")
    (tmp_path / "note.txt").write_text("Seen at night.\n")
    (tmp_path / "stopped.txt").write_text("It was cancelled.")
    (tmp_path / "imported").write_text("ada@example.org")
    (tmp_path / "restored").touch()
    os.utime(tmp_path / "imported", (5, 5))
    os.utime(tmp_path / "restored", (7, 7))
    (tmp_path / "deleted.json").write_text(json.dumps({"when": 9, "by": "bob@example.org"}))
    before = notes.read(tmp_path)
    assert (before.title, before.tags) == ("Night U+202E", ("night", "v2"))
    assert (before.note, before.stopped) == ("Seen at night.", "It was cancelled.")
    assert (before.imported, before.restored, before.deleted, before.arrived) == (5, 7, 9, 7)
    assert before.owner("eve@example.org") == "ada@example.org"
    assert before.deleted_by == "bob@example.org"
    notes.update(tmp_path, title="Day")
    assert notes.read(tmp_path) == before.model_copy(update={"title": "Day"})


def test_the_baseline_is_read_until_another_is_set(tmp_path: Path) -> None:
    (tmp_path / ".baseline").write_text("first")
    assert notes.baseline(tmp_path) == "first"
    notes.set_baseline(tmp_path, "")
    assert notes.baseline(tmp_path) == ""


def test_damaged_notes_say_nothing(tmp_path: Path) -> None:
    (tmp_path / notes.FILE).write_text('{"title": 5')
    (tmp_path / "title.txt").write_text("of another version")
    assert notes.read(tmp_path) == notes.Notes()
