"""The many files of a long run become few, and no interruption loses or doubles a row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from robustness import runs
from robustness.base import disk
from robustness.evaluation.rows import SCHEMA
from robustness.runs import compacting, parts, session
from robustness.runs.parts import is_compacted
from tests.support.made_datasets import flat_folder
from tests.support.saved_runs import spec, use_stand_ins

PICTURES, FEW = 7, 3


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images, the fourth of which cannot be read."""
    folder = flat_folder(tmp_path_factory.mktemp("data") / "photos", PICTURES)
    sorted(folder.iterdir())[3].write_bytes(b"nothing of the kind")
    return folder


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stand_ins(monkeypatch)
    monkeypatch.setattr(session, "_ROWS_TO_WRITE", 1)
    monkeypatch.setattr(compacting, "FEW", FEW)


def performed(
    photos: Path, out: Path, *, resume: bool = False, done: list[int] | None = None
) -> runs.Run:
    """A finished run; ``done`` takes how many images were done, one number for each step."""
    with runs.start(runs.plan(str(photos), spec(), batch=1), out, resume=resume) as sitting:
        for state in sitting.perform():
            if done is not None:
                done.append(state.done)
    return runs.load(sitting.folder)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """The run as it is without compacting."""
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        patch.setattr(session, "_ROWS_TO_WRITE", 1)
        patch.setattr(compacting, "FEW", 1000)
        return performed(photos, tmp_path_factory.mktemp("whole"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("part-*"))


def test_many_files_become_one_with_the_same_rows(
    photos: Path, whole: runs.Run, tmp_path: Path
) -> None:
    run = performed(photos, tmp_path)
    assert len(whole.parts) > FEW
    assert files(run.folder) == list(run.manifest.parts) == ["part-000000000000.parquet"]
    assert run.table().equals(whole.table())
    assert run.table().schema.equals(SCHEMA)
    assert run.manifest.content == whole.manifest.content is not None
    assert run.unreadable == whole.unreadable
    assert (run.images, len(run.unreadable)) == (PICTURES - 1, 1)
    assert run.parts[0].chunks == tuple(range(PICTURES))
    assert run.seconds == pytest.approx(run.manifest.seconds)
    assert run.table(model="SqueezeNet").equals(whole.table(model="SqueezeNet"))


def test_a_compacted_run_travels_and_has_nothing_left_to_do(
    photos: Path, whole: runs.Run, tmp_path: Path
) -> None:
    run = performed(photos, tmp_path / "here")
    runs.export_run(run, tmp_path / "run.zip")
    there = runs.import_run(tmp_path / "run.zip", tmp_path / "there")
    assert there.table().equals(whole.table())
    again = performed(photos, tmp_path / "here", resume=True)
    assert again.folder == run.folder
    assert again.manifest.parts == run.manifest.parts


def test_a_file_takes_no_more_than_can_be_read_at_once(
    photos: Path, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = whole.parts[0].rows
    monkeypatch.setattr(compacting, "ROWS_A_FILE", 4 * each)
    monkeypatch.setattr(compacting, "ROWS_A_GROUP", 3 * each)
    run = performed(photos, tmp_path)
    assert [part.rows for part in run.parts] == [4 * each, 2 * each]
    assert run.table().equals(whole.table())
    runs.export_run(run, tmp_path / "run.zip")
    assert runs.import_run(tmp_path / "run.zip", tmp_path / "b").table().equals(whole.table())


class Stopped(BaseException):
    """As if the process were killed here."""


def stopping(patch: pytest.MonkeyPatch, owner: object, name: str, at: int, after: bool) -> None:
    """Has the call ``at`` of a function stop everything, before or after it does its work."""
    done, calls = getattr(owner, name), 0

    def stop(*given: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at and not after:
            raise Stopped
        found = done(*given, **options)
        if calls == at:
            raise Stopped
        return found

    patch.setattr(owner, name, stop)


MOMENTS: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "before the first file": lambda p: stopping(p, compacting, "put_whole", 1, False),
    "after the first file": lambda p: stopping(p, compacting, "put_whole", 1, True),
    "after it is named": lambda p: stopping(p, session.Session, "_write_manifest", 4, True),
    "while its sources are removed": lambda p: stopping(p, parts.Path, "unlink", 1, True),
    "after all files": lambda p: stopping(p, session, "compact", 3, True),
    "while the last are removed": lambda p: stopping(p, parts.Path, "unlink", 10, True),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_at_any_moment_it_has_all_rows_written_so_far(
    moment: str, photos: Path, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "ROWS_A_FILE", 2 * whole.parts[0].rows)
    done: list[int] = []
    with monkeypatch.context() as patch:
        MOMENTS[moment](patch)
        with pytest.raises(Stopped):
            performed(photos, tmp_path, done=done)
    (entry,) = runs.listing(tmp_path)
    left = runs.load(entry.folder, unfinished=True)
    assert left.images + len(left.unreadable) >= done[-1]
    assert left.table().equals(whole.table().slice(0, left.table().num_rows))
    assert left.finished == (moment == "while the last are removed")
    run = performed(photos, tmp_path, resume=True)
    assert run.folder == left.folder
    assert run.table().equals(whole.table())
    assert run.manifest.content == whole.manifest.content
    assert files(run.folder) == sorted(run.manifest.parts)
    assert all(map(is_compacted, run.manifest.parts))
    assert not list(run.folder.glob(disk.TEMPORARY))


def test_files_become_few_while_the_run_goes_on(
    photos: Path, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "ROWS_A_FILE", 2 * whole.parts[0].rows)
    with runs.start(runs.plan(str(photos), spec(), batch=1), tmp_path) as sitting:
        for state in sitting.perform():
            if 0 < state.done < PICTURES:
                seen = runs.load(sitting.folder, unfinished=True)
                assert seen.table().equals(whole.table().slice(0, seen.table().num_rows))
    assert any(is_compacted(part.path.name) for part in seen.parts)
    assert len(files(sitting.folder)) == 3


def test_a_disk_without_room_for_a_second_copy_keeps_the_files_there_are(
    photos: Path, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def full(*given: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(28, "No space left on device")
        disk.put_whole(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(compacting, "ROWS_A_FILE", 2 * whole.parts[0].rows)
    monkeypatch.setattr(compacting, "put_whole", full)
    run = performed(photos, tmp_path)
    assert calls > 1
    assert files(run.folder) == sorted(run.manifest.parts)
    assert sum(map(is_compacted, run.manifest.parts)) == 1 < len(run.parts)
    assert run.table().equals(whole.table())
