"""Saved runs: the same rows whatever happens in between, and nothing that is read by half.

The models are stand-ins, but where a whole process is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.support.image_folders import flat_folder, labelled_folder
from benchmarks.support.stand_in_models import TWO, Stable
from robustness import runs
from robustness.base.errors import ParameterError, RobustnessError, RunError
from robustness.cli import main
from robustness.datasets import open_dataset
from robustness.images.framing import Framing, load_picture
from robustness.measure.condition import Condition
from robustness.measure.loop import evaluate
from robustness.measure.request import Request, graded_conditions, suite_conditions, suite_names
from robustness.measure.rows import SCHEMA, to_table
from robustness.runs import engines, manifest
from robustness.runs.engines import Chunk, Engine, Workload, chunks
from robustness.runs.manifest import Manifest
from tests.support.saved_runs import SIDE

CONDITIONS = (Condition.of({"gaussian_noise": 0.6}), Condition.of({"rotation": 0.5}))
FRAMINGS = tuple((name, Framing(side=SIDE)) for name, _ in TWO)
SPEC = Request(TWO, CONDITIONS, FRAMINGS, seed=5)


def stand_in(job: Workload, numbers: Sequence[int], _address: str | None) -> Iterator[Chunk | None]:
    return chunks(job, numbers, load=Stable().load)


def backwards(job: Workload, numbers: Sequence[int], address: str | None) -> Iterator[Chunk | None]:
    return stand_in(job, numbers[::-1], address)


def register_stand_in(patch: pytest.MonkeyPatch, run: Any = stand_in) -> None:
    record = Engine(name="stand-in", label="a stand-in", run=run)
    patch.setitem(engines.REGISTRY._records, record.name, record)


@pytest.fixture(autouse=True)
def stand_in_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    register_stand_in(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine images in three classes and one that is none."""
    made = labelled_folder(tmp_path_factory.mktemp("data") / "set", 3)
    (made / "670" / "broken.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    return made


def performed(source: Path, out: Path, *, batch: int = 2, spec: Request = SPEC) -> runs.Run:
    with runs.start(runs.plan(str(source), spec, batch=batch), out) as writer:
        for _ in writer.perform("stand-in"):
            pass
    return runs.load(writer.folder)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """A finished run of the folder, to be left as it is."""
    with pytest.MonkeyPatch.context() as patch:
        register_stand_in(patch)
        return performed(folder, tmp_path_factory.mktemp("whole"))


# --- the rows -------------------------------------------------------------------------------------


def test_the_rows_are_those_of_the_loop_over_pictures(folder: Path, whole: runs.Run) -> None:
    dataset = open_dataset(str(folder))
    pictures = [
        load_picture(folder / entry.name, [Framing(side=SIDE)], name=entry.name)
        for entry in dataset.entries
        if "broken" not in entry.name
    ]
    expected = to_table(list(evaluate(SPEC, pictures, load=Stable().load)), [0] * 36)
    unlabelled = ["position", "label", "clean_correct", "correct", "clean_correct5", "correct5"]
    found = whole.table()
    assert found.drop_columns(unlabelled).equals(expected.drop_columns(unlabelled))
    assert found.schema.equals(SCHEMA)
    assert whole.images == 9
    assert whole.finished


@pytest.mark.parametrize("batch", [1, 100])
def test_the_size_of_a_batch_changes_no_row(
    folder: Path, whole: runs.Run, tmp_path: Path, batch: int
) -> None:
    assert whole.table().equals(performed(folder, tmp_path, batch=batch).table())


def test_chunks_that_come_in_any_order_are_stored_in_the_order_of_the_dataset(
    folder: Path, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_stand_in(monkeypatch, backwards)
    run = performed(folder, tmp_path)
    assert run.table().equals(whole.table())
    (part,) = run.parts
    positions = pq.read_table(part.path)["position"].to_pylist()
    assert positions == sorted(positions)


def test_a_picture_of_a_run_can_be_read_again(whole: runs.Run) -> None:
    row = whole.frame().iloc[-1]
    assert whole.picture(str(row["image"])).source == row["image_digest"]
    with pytest.raises(RobustnessError, match="no longer among the images"):
        whole.picture("elsewhere.png")


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks_done", [0, 1, 3])
def test_a_cancelled_run_keeps_what_is_done_and_goes_on_to_the_same_rows(
    folder: Path, whole: runs.Run, tmp_path: Path, chunks_done: int
) -> None:
    plan = runs.plan(str(folder), SPEC, batch=2)
    with runs.start(plan, tmp_path / "a") as writer:
        work = writer.perform("stand-in")
        for _ in range(2 + chunks_done):  # first, that models are being loaded and that they are
            next(work)
        work.close()
    with pytest.raises(RunError, match="not finished"):
        runs.load(writer.folder)
    part = runs.load(writer.folder, unfinished=True)
    assert len(part.parts) == (chunks_done > 0)
    with runs.start(plan, tmp_path / "a", resume=True) as resumed:
        assert resumed.folder == writer.folder
        assert resumed.resumed == 2 * chunks_done
        for _ in resumed.perform("stand-in"):
            pass
    again = runs.load(resumed.folder)
    assert again.table().equals(whole.table())
    assert again.manifest.content == whole.manifest.content is not None
    assert again.unreadable == whole.unreadable


def test_resume_takes_the_batch_of_the_run_and_only_a_run_of_the_same_request(
    folder: Path, tmp_path: Path
) -> None:
    plan = runs.plan(str(folder), SPEC, batch=2)
    with runs.start(plan, tmp_path) as writer:
        work = writer.perform("stand-in")
        next(work), next(work), next(work)
        work.close()
    others = (
        runs.plan(str(folder), Request(TWO, CONDITIONS, FRAMINGS, seed=6)),
        runs.plan(str(folder), Request(TWO, CONDITIONS[:1], FRAMINGS, seed=5)),
        runs.plan(str(folder), SPEC, limit=3),
        runs.plan(str(folder), SPEC, labelling="none"),
    )
    for other in others:
        with runs.start(other, tmp_path, resume=True) as fresh:
            assert fresh.folder != writer.folder
    with runs.start(runs.plan(str(folder), SPEC, batch=5), tmp_path, resume=True) as resumed:
        assert resumed.folder == writer.folder
        assert resumed.manifest.batch == 2


def test_resume_does_not_take_other_pictures_of_the_same_names_and_sizes(tmp_path: Path) -> None:
    for name, grey in (("a", 40), ("b", 200)):  # uncompressed, so the files are equally long
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32), (grey, grey, grey)).save(tmp_path / name / "0.bmp")
    first = performed(tmp_path / "a", tmp_path / "runs")
    with runs.start(runs.plan(str(tmp_path / "b"), SPEC), tmp_path / "runs", resume=True) as writer:
        assert writer.folder != first.folder
        assert not writer.finished


def test_resume_of_a_finished_run_has_nothing_to_do(folder: Path, tmp_path: Path) -> None:
    run = performed(folder, tmp_path)
    with runs.start(runs.plan(str(folder), SPEC), tmp_path, resume=True) as writer:
        assert writer.finished
        assert writer.folder == run.folder
    with runs.start(runs.plan(str(folder), SPEC), tmp_path) as anew:
        assert anew.folder != run.folder


def test_two_processes_do_not_write_one_run(folder: Path, tmp_path: Path) -> None:
    plan = runs.plan(str(folder), SPEC)
    with (
        runs.start(plan, tmp_path) as writer,
        pytest.raises(RunError, match=f"{writer.folder.name} is being written"),
    ):
        runs.start(plan, tmp_path, resume=True)


def test_a_run_that_cannot_be_begun_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def missing() -> None:
        raise ParameterError("There is no such engine here.")

    plan = runs.plan(str(folder), SPEC)
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", full)
        with pytest.raises(RunError, match="No space left"):
            runs.start(plan, tmp_path)
    record = Engine(name="missing", label="missing", run=stand_in, require=missing)
    monkeypatch.setitem(engines.REGISTRY._records, record.name, record)
    with pytest.raises(ParameterError, match="no such engine"):
        runs.start(plan, tmp_path, engine="missing")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_gets_a_sentence_and_leaves_no_half_file(
    folder: Path, whole: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:  # as Arrow says it
        raise OSError(28, "Error writing bytes to file. Detail: [errno 28] No space left on device")

    plan = runs.plan(str(folder), SPEC, batch=2)
    with (
        monkeypatch.context() as patch,
        pytest.raises(RunError, match=r": No space left on device\. Make room"),
        runs.start(plan, tmp_path) as writer,
    ):
        list(patch.setattr(pq, "write_table", full) or writer.perform("stand-in"))
    assert sorted(path.name for path in writer.folder.iterdir()) == [
        ".lock",
        "manifest.json",
    ]
    with runs.start(plan, tmp_path, resume=True) as resumed:
        list(resumed.perform("stand-in"))
    assert runs.load(resumed.folder).table().equals(whole.table())


STOPPED = """
import signal, sys
from pathlib import Path
from robustness.base.turns import Pace
from robustness import runs
from robustness.cli.main import main
from robustness.runs import writer

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a job in the background
writer.ROWS_A_FILE = 1
note = Pace.note
place, number = 2, signal.SIGINT

def noted(pace, done, *total):
    note(pace, done, *total)
    if done == place:
        signal.raise_signal(number)  # to this thread: another one may be slow to take it

Pace.note = noted
status = main(sys.argv[1:])
(entry,) = runs.listing(Path(sys.argv[-1]))
print(status, entry.manifest.status, runs.load(entry.folder, unfinished=True).images, flush=True)
place, number = 4, signal.SIGKILL
main([*sys.argv[1:], "--resume"])
"""
"""The program, sending itself a signal when so many images are done, each of them written: it is
interrupted, and when it goes on it is killed."""


def test_an_interrupted_and_a_killed_process_are_gone_on_with_to_the_same_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = flat_folder(tmp_path / "photos", 6)
    options = ["--models", "SqueezeNet", "--batch", "1", "--perturbations", "fog,gaussian_noise"]
    command = ["evaluate", str(source), *options, "--strength", "0.6", "--json", "--out"]

    def answer(*more: str) -> Any:
        assert main.main([*command, *more]) == 0
        return json.loads(capsys.readouterr().out)

    whole = answer(str(tmp_path / "a"))
    program = [sys.executable, "-c", STOPPED, *command, str(tmp_path / "b")]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.stdout == f"130 {runs.UNFINISHED} 2\n"
    assert f"runs resume {tmp_path / 'b'}" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == -signal.SIGKILL
    (left,) = (tmp_path / "b").iterdir()
    with pytest.raises(RunError, match="not finished"):
        runs.load(left)
    assert runs.load(left, unfinished=True).images == 4
    again = answer(str(tmp_path / "b"), "--resume")
    assert again["run"] == left.name
    first, second = (runs.find(tmp_path / o, r["run"]) for o, r in (("a", whole), ("b", again)))
    assert first.table().equals(second.table())
    assert first.images == second.images == 6
    assert again["summary"] == whole["summary"]


# --- what lies in a folder of runs ----------------------------------------------------------------


def copied(whole: runs.Run, out: Path) -> Path:
    """The folder of a copy of ``whole``."""
    return Path(shutil.copytree(whole.folder, out / whole.folder.name))


def test_runs_are_listed_newest_first_and_what_is_none_last(
    whole: runs.Run, tmp_path: Path
) -> None:
    first = runs.load(copied(whole, tmp_path))
    manifest = json.loads((first.folder / "manifest.json").read_text())
    newer = tmp_path / "newer"
    shutil.copytree(first.folder, newer)
    manifest |= {"id": "newer", "created": "2999-01-01T00:00:00+00:00"}
    (newer / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "holiday").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "note.txt").write_text("x")
    entries = runs.listing(tmp_path)
    assert [entry.folder.name for entry in entries] == ["newer", first.id, "holiday"]
    assert "is not a saved run" in entries[-1].reason
    assert runs.listing(tmp_path / "nowhere") == []


def damage_json(run: Path) -> None:
    (run / "manifest.json").write_text("{")


def other_program(run: Path) -> None:
    (run / "manifest.json").write_text('{"format": "something else"}')


def other_version(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))


def no_manifest(run: Path) -> None:
    (run / "manifest.json").unlink()


def unknown_perturbation(run: Path) -> None:
    text = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(text.replace("rotation", "rotatoin"))


def lost_part(run: Path) -> None:
    next(run.glob("part-*")).unlink()


def cut_part(run: Path) -> None:
    part = next(run.glob("part-*"))
    part.write_bytes(part.read_bytes()[:-100])


def foreign_part(run: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), run / "part-999999.parquet")
    name_parts(run)


def doubled_part(run: Path) -> None:
    shutil.copy(next(run.glob("part-*")), run / "part-999999.parquet")
    name_parts(run)


def name_parts(run: Path) -> None:
    """Have the manifest name all files of rows that there are."""
    sizes = {path.name: path.stat().st_size for path in run.glob("*.parquet")}
    manifest.read(run).updated(parts=sizes).write(run)


def test_a_file_of_rows_that_the_manifest_does_not_name_is_not_read(
    whole: runs.Run, tmp_path: Path
) -> None:
    run = copied(whole, tmp_path)
    shutil.copy(next(run.glob("part-*")), run / "part-999998.parquet")
    pq.write_table(pa.table({"x": [1]}), run / "part-999999.parquet")
    assert runs.load(run).table().equals(whole.table())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage_json, "damaged"),
        (other_program, "something else"),
        (
            other_version,
            f"has run format 99, expected {manifest.VERSION}: evaluate the images again",
        ),
        (no_manifest, "not a saved run"),
        (unknown_perturbation, "Did you mean 'rotation'"),
        (lost_part, "have changed"),
        (cut_part, "damaged"),
        (foreign_part, "damaged"),
        (doubled_part, "twice"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_damaged_folder_is_never_half_read(
    whole: runs.Run, tmp_path: Path, harm: object, message: str
) -> None:
    run = copied(whole, tmp_path)
    assert callable(harm)
    harm(run)
    for unfinished in (False, True):
        with pytest.raises(RunError, match=message):
            runs.load(run, unfinished=unfinished)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", ".hidden", "nowhere", "x" * 300, "ü" * 200, "a\0b", "\ud800"],
    ids=ascii,
)
def test_a_run_is_found_by_its_name_alone(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError) as refused:
        runs.find(tmp_path, name)
    assert len(str(refused.value)) < 200


# --- what is asked --------------------------------------------------------------------------------


def test_suites_and_severities_are_conditions() -> None:
    nineteen = suite_names("imagenet-c")
    assert len(nineteen) == 19
    assert "salt_and_pepper" not in nineteen
    graded = graded_conditions(nineteen, severities=(1, 5))
    assert [c.strength for c in graded] == [0.2, 1.0] * 19
    assert len(graded_conditions(suite_names("study"))) == 10
    saved = suite_conditions("imagenet-c-jpeg", severities=(1, 5))
    assert [c.steps for c in saved] == [(*c.steps, ("saved_as_jpeg", 1.0)) for c in graded]
    assert suite_conditions("imagenet-c", severities=(1, 5)) == graded
    several = graded_conditions(["fog", "horizontal_flip"], strengths=[0.1, 0.3, 0.3])
    assert [c.steps for c in several] == [
        (("fog", 0.1),),
        (("fog", 0.3),),
        (("horizontal_flip", 0.3),),
    ]
    with pytest.raises(ParameterError, match="rotation has no ImageNet-C severities"):
        graded_conditions(["rotation"], severities=[3])
    with pytest.raises(ParameterError, match="from 1 to 5, got 6"):
        graded_conditions(["fog"], severities=[6])


@pytest.mark.parametrize("batch", [0, -1, 5000])
def test_a_senseless_batch_is_refused(folder: Path, batch: int) -> None:
    with pytest.raises(ParameterError, match="--batch"):
        runs.plan(str(folder), SPEC, batch=batch)
