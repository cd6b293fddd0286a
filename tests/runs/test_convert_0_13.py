"""Runs of version 0.13: what people said of them, and their rows, which the golden runs hold."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.support.process_memory import growing_at_most
from robustness import runs
from robustness.base.errors import RunError
from robustness.evaluation.row_schema import REMEDIED
from robustness.runs import convert_0_13, notes
from tests.runs.test_exchange import endless

KEYS = ("image", "model", "condition", "remedy")
Change = Callable[[pa.Table], pa.Table]


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


GOLDEN = Path(__file__).parent / "golden_0_13"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A run with remedies, unreadable images and a plugin's metric, in many small files."""
    folder = tmp_path / "old"
    shutil.copytree(GOLDEN / "labelled", folder)
    return folder


def contents(run: runs.Run) -> list[Any]:
    return [
        run.table().to_pylist(),
        run.table([*KEYS, *REMEDIED], remedied=True).to_pylist(),
        run.image_table.to_pylist(),
        run.manifest.updated(parts={}),
    ]


def interrupt_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Stop before a file gets its name, or goes, for the ``step``th time."""
    steps = count(1)

    def before(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*values: object, **options: object) -> None:
            if next(steps) == step:
                raise KeyboardInterrupt
            change(*values, **options)

        return changed

    patch.setattr(os, "replace", before(os.replace))
    patch.setattr(os, "unlink", before(os.unlink))


def test_a_conversion_that_is_interrupted_anywhere_loses_nothing(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(runs.load(copied(old, tmp_path / "whole")))
    assert len(expected[0]) == 20 * 2 * 4
    assert len(expected[1]) == 20 * 2 * 4 * 2
    assert [image["status"] for image in expected[2]].count("unreadable") == 2
    for step in count(1):
        folder = copied(old, tmp_path / f"{step}")
        with monkeypatch.context() as patch:
            interrupt_at(step, patch)
            try:
                runs.load(folder)
                break
            except KeyboardInterrupt:
                pass
        assert contents(runs.load(folder)) == expected
        assert contents(runs.load(folder)) == expected
    assert step > 3


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_a_run_in_a_folder_that_cannot_be_written_to_says_what_to_do(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_values: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert_0_13, "put_whole", full)
    with pytest.raises(RunError, match="No space left"):
        runs.load(old)


def archive(folder: Path) -> io.BytesIO:
    """As version 0.13 exported it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, f"{folder.name}/{path.name}")
    return stream


def test_an_archive_is_checked_converted_and_checked(old: Path, tmp_path: Path) -> None:
    data = archive(old)
    there = runs.import_run(data, tmp_path / "there")
    assert contents(there)[:3] == contents(runs.load(old))[:3]
    assert sorted(there.manifest.parts) == sorted(
        path.name for path in there.folder.glob("*.parquet")
    )


def changed(folder: Path, change: Callable[[pa.Table], pa.Table]) -> io.BytesIO:
    """The archive of the run in ``folder`` with other rows."""
    (path,) = folder.glob("part-*")
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)
    head = json.loads((folder / "manifest.json").read_text())
    head["parts"] = {path.name: path.stat().st_size}
    (folder / "manifest.json").write_text(json.dumps(head))
    return archive(folder)


def with_values(name: str, values: Callable[[list[Any]], list[Any]]) -> Change:
    def change(table: pa.Table) -> pa.Table:
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        return table.set_column(place, field, pa.array(values(table[name].to_pylist()), field.type))

    return change


def of_remedies(**values: object) -> Change:
    return with_values(
        "remedies", lambda rows: [[{**each, **values} for each in row] for row in rows]
    )


HOSTILE: dict[str, tuple[Change, str]] = {
    "no column": (lambda table: table.drop_columns("image"), "damaged"),
    "another type": (
        lambda table: table.drop_columns("ssim").append_column(
            "ssim", pa.array(["5"] * len(table))
        ),
        "damaged",
    ),
    "endless rows": (endless, "no measurements do"),
    "remedies without end": (
        with_values("remedies", lambda rows: [row * 65 for row in rows]),
        "damaged",
    ),
    "an unknown remedy": (of_remedies(remedy="x" * 5000), "other remedies"),
    "a remedy without a class": (of_remedies(top1=None), "a row has no top1"),
    "a remedy with an endless figure": (
        of_remedies(probability=float("inf")),
        "expected every probability to be a number",
    ),
    "a remedy twice": (
        with_values("remedies", lambda rows: [[row[0], row[0]] for row in rows]),
        "duplicates",
    ),
    "a position far away": (
        with_values("position", lambda rows: [*rows[:-1], 2**31 - 1]),
        "images are missing in it|other numbers of images|is refused",
    ),
    "an endless name": (
        with_values("image", lambda rows: ["x" * 5000] * len(rows)),
        "is refused",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused(what: str, old: Path, tmp_path: Path) -> None:
    change, message = HOSTILE[what]
    data = changed(old, change)
    with growing_at_most(60), pytest.raises(RunError, match=message):
        runs.import_run(data, tmp_path / "there")
    assert not list((tmp_path / "there").iterdir())
