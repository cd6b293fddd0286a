"""The many files of a long run become few, and no interruption loses or doubles a row."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from benchmarks.support.image_folders import flat_folder
from robustness import runs
from robustness.base.files import TEMPORARY, put_whole
from robustness.images.properties import PROPERTIES
from robustness.measure.rows import SCHEMA
from robustness.runs import engines, writer
from robustness.runs import files as run_files
from robustness.runs.engines import Chunk, Engine, ImageRecord
from tests.support.saved_runs import spec, use_stand_ins

PICTURES, FEW = 5, 2


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images, the fourth of which cannot be read."""
    folder = flat_folder(tmp_path_factory.mktemp("data") / "photos", PICTURES)
    sorted(folder.iterdir())[3].write_bytes(b"nothing of the kind")
    return folder


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    write_each_chunk(monkeypatch)


def write_each_chunk(patch: pytest.MonkeyPatch, few: int = FEW) -> None:
    use_stand_ins(patch)
    patch.setattr(writer, "measure_latencies", lambda _: ())
    patch.setattr(writer, "compute_headline", lambda *_: None)
    patch.setattr(writer, "ROWS_A_FILE", 1)
    patch.setattr(run_files, "FEW", few)


def performed(photos: Path, out: Path, *, resume: bool = False) -> runs.Run:
    with runs.start(runs.plan(str(photos), spec(), batch=1), out, resume=resume) as sitting:
        for _ in sitting.perform():
            pass
    return runs.load(sitting.folder)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """The run as it is without compacting."""
    with pytest.MonkeyPatch.context() as patch:
        write_each_chunk(patch, few=1000)
        return performed(photos, tmp_path_factory.mktemp("whole"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.parquet"))


def test_many_files_become_one_with_the_same_rows(
    photos: Path, whole: runs.Run, tmp_path: Path
) -> None:
    run = performed(photos, tmp_path)
    assert len(whole.parts) > FEW
    assert files(run.folder) == sorted(run.manifest.parts)
    assert len(run.parts) == 1
    assert run.table().equals(whole.table())
    assert run.table().schema.equals(SCHEMA)
    assert run.manifest.content == whole.manifest.content is not None
    assert run.unreadable == whole.unreadable
    assert (run.images, len(run.unreadable)) == (PICTURES - 1, 1)
    assert run.parts[0].chunks == tuple(range(PICTURES))
    assert run.seconds == pytest.approx(run.manifest.seconds)
    assert run.table(model="SqueezeNet").equals(whole.table(model="SqueezeNet"))


def test_a_file_takes_no_more_than_can_be_read_at_once(
    photos: Path, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = whole.parts[0].rows
    monkeypatch.setattr(run_files, "ROWS_A_FILE", 3 * each)
    monkeypatch.setattr(run_files, "ROWS_A_GROUP", 2 * each)
    run = performed(photos, tmp_path)
    assert [part.rows for part in run.parts] == [3 * each, each]
    assert run.table().equals(whole.table())
    there = runs.load(Path(shutil.copytree(run.folder, tmp_path / "there")))
    assert there.table().equals(whole.table())


def kill_at_each_step(photos: Path, whole: Path, out: Path, rows: int) -> None:
    """Perform a run in a folder for each change of a name, killed by itself just before that.

    Its chunks are those of the run in ``whole``.
    """
    chunks = _chunks(runs.load(whole))
    with pytest.MonkeyPatch.context() as patch:
        write_each_chunk(patch)
        patch.setattr(run_files, "ROWS_A_FILE", rows)
        engine = Engine("local", "ready rows", lambda *_: iter([None, *chunks]))
        patch.setitem(engines.REGISTRY._records, "local", engine)
        for step in count(1):
            if not (pid := os.fork()):
                _kill_at(step, photos, out / f"{step:03d}")
            status = os.waitpid(pid, 0)[1]
            if not os.WIFSIGNALED(status):
                assert status == 0
                return


def _chunks(whole: runs.Run) -> list[Chunk]:
    images = [
        ImageRecord(
            row["position"],
            row["name"],
            row["digest"],
            row["reason"] or "",
            {name: row[name] for name in PROPERTIES},
        )
        for row in whole.image_table.to_pylist()
    ]
    return [
        Chunk(number, run_files.read_rows(part), (images[number],))
        for part in whole.parts
        for number in part.chunks
    ]


def _kill_at(step: int, photos: Path, out: Path) -> None:
    steps = count(1)

    def before(change: Callable[..., None]) -> Callable[..., None]:
        def changed(*given: object, **options: object) -> None:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            change(*given, **options)

        return changed

    os.replace, os.unlink = before(os.replace), before(os.unlink)
    with runs.start(runs.plan(str(photos), spec(), batch=1), out) as sitting:
        for state in sitting.perform():
            (out / "done").write_text(str(state.done))
    os._exit(0)


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_step_of_writing_has_all_rows_that_it_wrote(
    photos: Path, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 2 * whole.parts[0].rows
    program = (
        "import sys; from pathlib import Path; from tests.runs import test_writer_compacting as t; "
    )
    program += f"t.kill_at_each_step(*map(Path, sys.argv[1:]), {rows})"
    subprocess.run([sys.executable, "-c", program, photos, whole.folder, tmp_path], check=True)
    monkeypatch.setattr(run_files, "ROWS_A_FILE", rows)
    finished = 0
    folders = sorted(tmp_path.iterdir())
    begun = [out for out in folders if list(out.glob("*/manifest.json"))]
    assert len(folders) - len(begun) <= 3, "killed before there was a manifest"
    for out in begun:
        done = int((out / "done").read_text()) if (out / "done").exists() else 0
        (entry,) = runs.listing(out)
        left = runs.load(entry.folder, unfinished=True)
        assert left.images + len(left.unreadable) >= done
        assert left.table().equals(whole.table().slice(0, left.table().num_rows))
        finished += left.finished
        run = performed(photos, out, resume=True)
        assert run.folder == left.folder
        assert run.table().equals(whole.table())
        assert run.manifest.content == whole.manifest.content
        assert files(run.folder) == sorted(run.manifest.parts)
        assert len(run.parts) <= FEW + 1
        assert not list(run.folder.glob(TEMPORARY))
    assert PICTURES < finished < len(folders) - 3 * PICTURES


def test_a_disk_without_room_for_a_second_copy_keeps_the_files_there_are(
    photos: Path, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compacted, joins = 0, False

    def compact(folder: Path, those: list[run_files.Part]) -> list[run_files.Part]:
        nonlocal joins
        joins = True
        parts = run_files.compact(folder, those)
        joins = False
        return parts

    def full(path: Path, *given: object) -> None:
        nonlocal compacted
        compacted += joins and path.suffix == ".parquet"
        if joins and compacted > 1:
            raise OSError(28, "No space left on device")
        put_whole(path, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(run_files, "ROWS_A_FILE", 2 * whole.parts[0].rows)
    monkeypatch.setattr(run_files, "put_whole", full)
    monkeypatch.setattr(writer, "compact", compact)
    run = performed(photos, tmp_path)
    assert compacted > 1
    assert files(run.folder) == sorted(run.manifest.parts)
    assert len(run.parts) == PICTURES
    assert run.table().equals(whole.table())
