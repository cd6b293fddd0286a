"""Runs from another installation: checked before they open, and never a way into the server."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.support.image_folders import labelled_folder
from benchmarks.support.process_memory import growing_at_most
from robustness import runs
from robustness.base.code_digest import code_digest
from robustness.base.errors import RunError
from robustness.base.worker_process_pool import (
    WorkerDiedError,
    WorkerKilledError,
    WorkerLateError,
    WorkerTimeError,
)
from robustness.evaluation.labels_and_correctness import CORRECTNESS
from robustness.runs import (
    forecast,
    foreign_process,
    foreign_run_checks,
    headline_figures,
    image_table,
    jobs,
    result_cache,
    retention_and_storage_limits,
    row_specification_and_check,
    run_registration_and_origin,
    run_writer_and_continuation,
)
from robustness.runs.row_queries_and_cells import Rows
from robustness.statistics import Figures
from robustness.statistics.result_tables import FigureTables
from tests.support.saved_runs import performed, spec, use_stand_ins


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[runs.Run, Path]]:
    """A run of six images, and the folder that these lie in."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        patch.setattr(
            run_writer_and_continuation, "_LEAST_SECONDS", 600.0
        )  # one file of rows, on slow machines, too
        photos = labelled_folder(folder / "photos", 2)
        yield performed(photos, folder / "runs", spec()), photos


@pytest.fixture
def run(made: tuple[runs.Run, Path], tmp_path: Path) -> runs.Run:
    """A copy of it that a test may change, not checked yet."""
    folder = tmp_path / "here" / made[0].id
    shutil.copytree(made[0].folder, folder)
    (file,) = folder.glob("part-*")
    return runs.Run(folder, made[0].manifest, [replace(made[0].parts[0], path=file)], foreign=True)


def checks(patch: pytest.MonkeyPatch) -> list[str]:
    """The folders whose files are checked from now on."""
    folders = []
    ask = foreign_run_checks.Worker.ask

    def asked(worker: Any, head: bytes, data: bytes, **limits: Any) -> bytes:
        question = json.loads(head)
        if "expected" in question:
            folders.append(question["folder"])
        return ask(worker, head, data, **limits)

    patch.setattr(foreign_run_checks.Worker, "ask", asked)
    return folders


def change_manifest(run: runs.Run, **changes: Any) -> None:
    file = run.folder / runs.MANIFEST_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# --- which runs are foreign ---------------------------------------------------------------------


def test_a_run_is_own_where_it_was_begun_and_its_copy_is_foreign(
    made: tuple[runs.Run, Path], run: runs.Run
) -> None:
    assert not runs.load(made[0].folder).foreign
    copy = runs.load(run.folder)
    assert copy.foreign
    assert copy.table().equals(made[0].table())
    assert copy.failures == made[0].failures
    (entry,) = runs.listing(run.folder.parent)
    assert entry.foreign
    assert not runs.listed(made[0].folder).foreign


def test_the_list_lies_outside_the_runs_and_a_copy_of_all_carries_nothing_along(
    made: tuple[runs.Run, Path], tmp_path: Path
) -> None:
    there = tmp_path / "there"
    shutil.copytree(made[0].folder.parent, there)
    assert not list(there.rglob(run_registration_and_origin.FILE))
    assert [entry.foreign for entry in runs.listing(there)] == [True]


def test_no_manifest_makes_a_folder_an_own_run(made: tuple[runs.Run, Path], tmp_path: Path) -> None:
    """Not at the path of one, with its id, date, creator and all other words."""
    folder = tmp_path / "runs" / made[0].id
    shutil.copytree(made[0].folder, folder)
    run_registration_and_origin.register(
        folder, (folder / runs.MANIFEST_FILE).read_bytes(), made[0].manifest.parts
    )
    assert run_registration_and_origin.is_own(folder)
    change_manifest(made[0].__class__(folder, made[0].manifest, ()), creator="me@example.org")
    assert not run_registration_and_origin.is_own(folder)
    assert runs.owner_of(folder) == ""


def test_rows_that_were_replaced_under_an_own_manifest_are_noticed(
    made: tuple[runs.Run, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / made[0].id
    shutil.copytree(made[0].folder, folder)
    run_registration_and_origin.register(
        folder, (folder / runs.MANIFEST_FILE).read_bytes(), made[0].manifest.parts
    )
    (part,) = folder.glob("part-*")
    part.chmod(stat.S_IRUSR | stat.S_IWUSR)  # changes a time, but no byte
    assert not runs.load(folder).foreign
    status, data = part.stat(), bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(data)
    os.utime(part, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(RunError, match="damaged: its files of rows have changed"):
        runs.load(folder)


def test_a_run_that_was_begun_is_listed_before_others_see_it(
    made: tuple[runs.Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    write = run_writer_and_continuation.Manifest.write

    def watched(manifest: Any, folder: Path) -> None:
        write(manifest, folder)
        seen.append(run_registration_and_origin.is_own(folder))

    monkeypatch.setattr(run_writer_and_continuation.Manifest, "write", watched)
    use_stand_ins(monkeypatch)
    performed(made[1], tmp_path, spec(seed=9))
    assert len(seen) >= 2
    assert all(seen)


def test_without_the_list_every_run_is_foreign_and_a_damaged_one_is_not_lost(
    made: tuple[runs.Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path / "state"))
    assert runs.load(made[0].folder).foreign
    (tmp_path / "state" / run_registration_and_origin.FILE).write_text("{")
    assert runs.listed(made[0].folder).foreign
    with pytest.raises(
        RunError, match=f"{run_registration_and_origin.FILE} in the state folder is damaged"
    ):
        runs.start(runs.plan(str(made[1]), spec()), tmp_path / "runs")
    assert (tmp_path / "state" / run_registration_and_origin.FILE).read_text() == "{"
    assert os.listdir(tmp_path / "runs") == []


def test_the_bin_keeps_a_run_own_and_deleting_it_forgets_it(
    made: tuple[runs.Run, Path], tmp_path: Path
) -> None:
    with runs.start(runs.plan(str(made[1]), spec(seed=9)), tmp_path, creator="me") as begun:
        pass
    runs.to_bin(begun.folder)
    (deleted,) = runs.deleted(tmp_path)
    assert (deleted.entry.foreign, deleted.entry.owner) == (False, "me")
    assert runs.restore(tmp_path, begun.folder.name) == begun.folder
    assert run_registration_and_origin.is_own(begun.folder)
    copy = tmp_path / "copy"
    shutil.copytree(begun.folder, copy)
    runs.delete(begun.folder)
    copy.rename(begun.folder)
    assert not run_registration_and_origin.is_own(begun.folder)


# --- the check ----------------------------------------------------------------------------------


def test_rows_are_checked_once_and_again_when_a_file_changes(
    run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = checks(monkeypatch)
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    runs.listing(run.folder.parent)
    assert not checked, "a list opens no rows"
    for _ in range(2):
        runs.load(run.folder)
    assert checked == [str(run.folder)]
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before
    (part,) = run.folder.glob("part-*")
    os.utime(part, (1, 1))
    runs.load(run.folder)
    assert len(checked) == 2
    monkeypatch.setattr("robustness.runs.foreign_run_checks.code_digest", lambda _: "newer")
    runs.load(run.folder)
    assert len(checked) == 3, "the checks may be stricter by now"


def test_a_refusal_is_remembered_too(run: runs.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    HOSTILE["an impossible class"][0](run)
    checked = checks(monkeypatch)
    for _ in range(2):
        with pytest.raises(RunError, match="classes that do not exist"):
            runs.load(run.folder)
    assert len(checked) == 1


def test_figures_are_worked_out_once_within_limits_and_never_in_the_server(
    run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rows, "figures", lambda rows: pytest.fail("worked out here"))
    ask = foreign_run_checks.Worker.ask

    def dying(worker: Any, head: bytes, data: bytes, **limits: Any) -> bytes:
        if limits["memory"] >= foreign_run_checks.FIGURES_MEMORY:
            raise WorkerDiedError
        return ask(worker, head, data, **limits)

    with monkeypatch.context() as patch:
        patch.setattr(foreign_run_checks.Worker, "ask", dying)
        with pytest.raises(RunError, match=r"figures .* more than 2\.0 GB"):
            runs.load(run.folder)
    (run.folder / runs.MANIFEST_FILE).touch()
    there = runs.load(run.folder)
    figures = headline_figures.stored(there.folder, there.manifest)
    assert figures is not None
    assert len(figures.models) == len(run.manifest.spec.models)
    assert there.figures().summary


def test_figures_that_came_along_are_ignored(run: runs.Run, tmp_path: Path) -> None:
    """Even those that would be right by their key: somebody may have written others there."""
    own = runs.load(run.folder).figures()
    results = ("figures", "headline", "cases", "failures", "maps")
    for name in results:
        file = run_registration_and_origin.stored(run.folder) / f"{name}.json.gz"
        (run.folder / file.name).write_bytes(file.read_bytes() if file.exists() else b"x")

    def stored_tables() -> FigureTables | None:
        version = code_digest("robustness.runs.run")
        return result_cache.read(
            run.folder, run.manifest, result_cache.FIGURES, FigureTables, version
        )

    tables = stored_tables()
    shutil.rmtree(run_registration_and_origin.stored(run.folder))
    assert tables is not None
    assert stored_tables() is None
    assert runs.load(run.folder).figures().summary == own.summary


@pytest.mark.parametrize(
    ("error", "message", "times"),
    [
        (WorkerTimeError, "is refused: its files take more than 60 s to read", 1),
        (WorkerDiedError, r"its files are damaged, or take more than 0\.6 GB of memory", 1),
        (WorkerLateError, "the machine is busy: try again", 2),
        (WorkerKilledError, "try again", 2),
        (KeyboardInterrupt, None, 2),
    ],
)
def test_a_check_that_ends_midway_opens_nothing(
    error: type[BaseException],
    message: str | None,
    times: int,
    run: runs.Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = 0

    def ask(*_args: Any, **_limits: Any) -> bytes:
        nonlocal tried
        tried += 1
        raise error

    monkeypatch.setattr(foreign_run_checks.Worker, "ask", ask)
    expected = error if error is KeyboardInterrupt else RunError
    for _ in range(2):
        with pytest.raises(expected, match=message):
            runs.load(run.folder)
    assert tried == times


@pytest.mark.parametrize(
    "error", [pa.lib.ArrowMemoryError("no"), MemoryError(), RunError("no."), ValueError("no")]
)
def test_figures_that_fail_within_the_limits_are_not_left_to_the_server(
    error: Exception, run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_run: runs.Run) -> Figures:
        raise error

    monkeypatch.setattr(runs.Run, "figures", fail)
    question = json.dumps({"folder": str(run.folder)}).encode()
    assert json.loads(foreign_process.answer(question, b""))["problem"]


def test_an_unfinished_foreign_run_is_not_opened(
    made: tuple[runs.Run, Path], tmp_path: Path
) -> None:
    with runs.start(runs.plan(str(made[1]), spec(seed=9)), tmp_path / "runs") as begun:
        pass
    copy = tmp_path / "there" / begun.folder.name
    shutil.copytree(begun.folder, copy)
    for unfinished in (False, True):
        with pytest.raises(RunError, match="not finished"):
            runs.load(copy, unfinished=unfinished)
    with pytest.raises(RunError, match="foreign, from another installation"):
        jobs.resume(copy, "me")
    with pytest.raises(RunError, match="foreign, from another installation"):
        next(jobs.work_off(copy))
    assert not (copy / "notes.json").exists(), "nothing is written there"


# --- what a foreign run may not do --------------------------------------------------------------


def test_a_foreign_run_stands_in_for_no_evaluation(
    run: runs.Run, made: tuple[runs.Run, Path]
) -> None:
    there = run.folder.parent
    plan = runs.plan(str(made[1]), spec(), batch=2)
    assert forecast.from_earlier(plan, made[0].folder.parent).seconds is not None
    assert forecast.from_earlier(plan, there).seconds is None
    with runs.start(plan, there, resume=True) as writer:
        assert writer.folder != run.folder
        assert not writer.finished


def test_a_foreign_run_is_nobody_s_and_no_job_works_on_it(run: runs.Run) -> None:
    change_manifest(run, creator="eve@example.org")
    runs.notes.update(run.folder, title="Mine")
    (run.folder / jobs.HARDENING).write_text('["SqueezeNet", "--images", "/etc"]')
    assert runs.owner_of(run.folder) == ""
    entry = runs.listed(run.folder)
    assert (entry.owner, entry.title) == ("", "Mine")
    with pytest.raises(RunError, match="foreign, from another installation"):
        jobs.resume(run.folder, "eve")
    with pytest.raises(RunError, match="foreign, from another installation"):
        jobs.submit_hardening(run.folder, [], "eve")
    queue = run.folder.parent / ".queue"
    queue.mkdir()
    job = queue / f"{run.id}.json"
    job.write_text('{"by": "eve", "asked": 1.0}')  # as a copy of all runs carries it along
    assert jobs.read_queue(run.folder.parent) == []
    assert job.exists(), "it may be the job of another dashboard of this folder"


def test_the_age_of_a_foreign_run_is_that_of_its_arrival(
    made: tuple[runs.Run, Path], run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest and notes would have it older than others, or younger for ever."""
    folder = run.folder.parent
    with runs.start(runs.plan(str(made[1]), spec(seed=9)), folder):
        pass
    change_manifest(run, created="2999-01-01T00:00:00+00:00")
    (run.folder / "notes.json").write_text('{"restored": 1e18}')
    monkeypatch.setenv("ROBUSTNESS_RUNS_KEPT", "1")
    retention_and_storage_limits.tidy(folder)
    assert len(runs.listing(folder)) == 2, "it takes no other run's place"
    monkeypatch.setenv("ROBUSTNESS_DAYS_KEPT", "1")
    monkeypatch.setattr(retention_and_storage_limits, "now", lambda: 4e9)
    retention_and_storage_limits.tidy(folder)
    assert runs.listing(folder) == []


# --- images -------------------------------------------------------------------------------------


def with_source(run: runs.Run, source: str) -> runs.Run:
    change_manifest(run, dataset={**run.manifest.as_dict()["dataset"], "source": source})
    return runs.find(run.folder.parent, run.id)


def test_pictures_of_a_foreign_run_are_opened_only_where_anybody_may_see_them(
    run: runs.Run,
    made: tuple[runs.Run, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos, name = made[1], str(run.frame()["image"].iloc[0])
    there = with_source(run, str(photos))
    for allowed in (None, tmp_path / "elsewhere"):
        if allowed:
            monkeypatch.setenv("ROBUSTNESS_DATASETS", str(allowed))
        with pytest.raises(RunError, match="from another installation"):
            runs.load(there.folder).picture(name)
    assert runs.load(there.folder, anywhere=True).picture(name).name == name
    monkeypatch.setenv("ROBUSTNESS_DATASETS", str(photos.parent))
    assert runs.load(there.folder).picture(name).name == name


def test_no_source_leads_out_of_what_is_allowed(
    run: runs.Run, made: tuple[runs.Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("allowed", "secret", "relative", "samples"):
        shutil.copytree(made[1], tmp_path / name)
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    (allowed / "link").symlink_to(secret)
    shutil.copytree(secret, allowed / "fog" / "1")  # a published tree, with the secret's names
    shutil.copytree(secret, allowed / ".git")
    files = [path.relative_to(tmp_path) for path in secret.rglob("*.png")]
    (allowed / "table.csv").write_text("path\n" + "".join(f"../{file}\n" for file in files))
    monkeypatch.setenv("ROBUSTNESS_DATASETS", str(allowed))
    rows = len(run.frame())
    for source in (
        "/etc",
        f"{allowed}/../secret",
        f"{allowed}/link",
        f"{run.folder.parent}/.uploads/../../secret",
        f"{allowed}/fog/..::{allowed}/../secret",
        f"{allowed}/table.csv",
        f"{allowed}/.git",
        f"file://{allowed}",
        "https://example.com/photos",
        "relative",
        "",
        "\0",
        "samples",
    ):
        there = with_source(run, source)
        with pytest.raises(RunError, match="from another installation"):
            print(source, there.dataset)
        assert len(there.frame()) == rows, "everything else is there"


def test_what_is_allowed_is_what_is_opened(
    run: runs.Run, made: tuple[runs.Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table by the name of a link, and an archive by the name of the file behind it."""
    shutil.copytree(made[1], tmp_path / "secret")
    names = [str(name) for name in dict.fromkeys(run.frame()["image"])]
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "a.zip").write_text("path\n" + "".join(f"../secret/{name}\n" for name in names))
    (allowed / "a.csv").symlink_to("a.zip")
    monkeypatch.setenv("ROBUSTNESS_DATASETS", str(allowed))
    there = with_source(run, str(allowed / "a.csv"))
    with pytest.raises(RunError, match="cannot be opened"):
        there.dataset  # noqa: B018


# --- hostile folders ----------------------------------------------------------------------------


Change = Callable[[runs.Run], object]


def manifest_of(**changes: Any) -> Change:
    return lambda run: change_manifest(run, **changes)


def spec_of(**changes: Any) -> Change:
    """Another request, whose digest the manifest has right."""

    def made(run: runs.Run) -> None:
        values = run.manifest.spec.as_dict() | changes
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        change_manifest(run, spec=values, spec_digest=digest)

    return made


def framed_as(framing: Any) -> Change:
    """Another framing, of all models."""

    def made(run: runs.Run) -> None:
        spec_of(framings=dict.fromkeys(run.manifest.spec.model_names, framing))(run)

    return made


def models_of(*names: str, **changes: Any) -> Change:
    """Other models, which see the images alike."""
    framings = {name: {"fit": "crop", "side": 224} for name in names}
    return spec_of(models=dict.fromkeys(names, "digest"), framings=framings, **changes)


def write_sizes(run: runs.Run) -> None:
    """Have the manifest say how large the files of ``run`` are."""
    sizes = {name: (run.folder / name).stat().st_size for name in run.manifest.parts}
    run.manifest.updated(parts=sizes).write(run.folder)


def rows_of(change: Callable[[pa.Table], pa.Table]) -> Change:
    """Other rows, whose sizes the manifest has right."""

    def made(run: runs.Run) -> None:
        for part in run.parts:
            table = pq.read_table(part.path)
            changed = change(table)
            options = {"compression": "zstd", "store_schema": False}  # dictionaries look like texts
            with pq.ParquetWriter(part.path, changed.schema, **options) as writer:
                writer.write_table(changed)
                writer.add_key_value_metadata(changed.schema.metadata)
        write_sizes(run)

    return made


def replaced(column: str, value: object) -> Change:
    return rows_of(lambda table: set_column(table, column, [value] * table.num_rows))


def last_replaced(column: str, value: object) -> Change:
    """Another value in the last row alone."""

    def change(table: pa.Table) -> pa.Table:
        return set_column(table, column, [*table[column].to_pylist()[:-1], value])

    return rows_of(change)


def last_changed(change: Callable[[dict[str, Any]], object]) -> Change:
    """Another last row."""

    def changed(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        change(rows[-1])
        return pa.Table.from_pylist(rows, table.schema)

    return rows_of(changed)


def follow(row: dict[str, Any], **changes: Any) -> None:
    """Change a row, and all that follows from it."""
    row |= changes
    row["clean_top5"][0], row["top5"][0] = row["clean_top1"], row["top1"]
    row["consistent"] = row["clean_top1"] == row["top1"]
    for prefix in ("clean_", ""):
        row[f"{prefix}correct"] = row[f"{prefix}top1"] == row["label"]
        row[f"{prefix}correct5"] = row["label"] in row[f"{prefix}top5"]


def endless(table: pa.Table) -> pa.Table:
    """Half a million equal rows in a few bytes."""
    thousand = pa.concat_tables([table.slice(0, 1)] * 1000).combine_chunks()
    return pa.concat_tables([thousand] * 510)


def noted(change: Callable[[dict[str, Any]], object]) -> Change:
    """Another note of the file of rows about itself."""

    def noting(table: pa.Table) -> pa.Table:
        about = json.loads(table.schema.metadata[b"robustness"])
        change(about)
        return table.replace_schema_metadata({b"robustness": json.dumps(about)})

    return rows_of(noting)


def claiming_footer(run: runs.Run) -> None:
    """A list of a hundred million columns, for all of which a reader would make room."""
    (part,) = run.parts
    length = 4096
    footer = (b"\x15\x04\x19\xfc\x80\xc2\xd7\x2f" + bytes(length))[:length]
    part.path.write_bytes(b"PAR1" + footer + length.to_bytes(4, "little") + b"PAR1")
    write_sizes(run)


def unread(run: runs.Run, number: int, reason: str = "") -> None:
    """So many more images, none of which could be read."""
    total = run.images + number
    asked = replace(run.manifest.dataset, pictures=total)
    manifest = run.manifest.updated(unreadable=number, dataset=asked)
    others = {
        "position": range(run.images, total),
        "name": ["x"] * number,
        "status": [image_table.UNREADABLE] * number,
        "reason": [reason] * number,
    }
    more = pa.table(
        {
            name: pa.array(values, image_table.SCHEMA.field(name).type)
            for name, values in others.items()
        }
    )
    images_of(lambda table: pa.concat_tables([table, more], promote_options="default"))(
        runs.Run(run.folder, manifest, run.parts)
    )


def of_a_stage(name: str, value: object) -> Change:
    def change(table: pa.Table) -> pa.Table:
        rows = [[{**stage, name: value} for stage in row] for row in table["stages"].to_pylist()]
        return set_column(table, "stages", rows)

    return rows_of(change)


def images_of(change: Callable[[pa.Table], pa.Table]) -> Change:
    def made(run: runs.Run) -> None:
        pq.write_table(change(run.image_table), run.folder / image_table.FILE)
        write_sizes(run)

    return made


def with_column(name: str, value: object) -> Change:
    return images_of(
        lambda table: (
            table.drop_columns(name) if name in table.column_names else table
        ).append_column(name, pa.array([value] * len(table)))
    )


def images_with(name: str, value: object) -> Change:
    return images_of(lambda table: set_column(table, name, [value] * len(table)))


def repeated(column: str, value: str | bytes) -> Change:
    """One text in ``column``, which its file holds once."""

    def change(table: pa.Table) -> pa.Table:
        words = pa.array([value], pa.binary()).view(pa.string())
        coded = pa.DictionaryArray.from_arrays(pa.array([0] * len(table), pa.int32()), words)
        return table.set_column(table.schema.get_field_index(column), column, coded)

    return rows_of(change)


def set_column(table: pa.Table, column: str, values: list[Any]) -> pa.Table:
    place, field = table.schema.get_field_index(column), table.schema.field(column)
    return table.set_column(place, field, pa.array(values, field.type))


def linked(file: Path) -> None:
    """Replace ``file`` by a link to it elsewhere."""
    if file.exists():
        file.rename(file.parent.parent / file.name)
    file.symlink_to(file.parent.parent / file.name)


def piped(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def huge(run: runs.Run) -> None:
    """A file that is almost all a hole, which takes no room on the disk."""
    with run.parts[0].path.open("r+b") as file:
        file.truncate(5 * 10**9)
    write_sizes(run)


PROPERTIES = r"images\.parquet is refused: expected one row per image"

HOSTILE: dict[str, tuple[Change, str]] = {
    "more rows than it says": (
        lambda run: change_manifest(run, parts=dict(run.manifest.parts) | {"part-9.parquet": 1}),
        "rows differ",
    ),
    "a file that lies elsewhere": (
        lambda run: change_manifest(
            run, parts={**run.manifest.parts, "../../part-000000.parquet": 1}
        ),
        "damaged",
    ),
    "images of several files": (
        lambda run: change_manifest(run, parts={**run.manifest.parts, "images-0.parquet": 1}),
        r"expected images\.parquet and files of rows",
    ),
    "a link to rows": (lambda run: linked(run.parts[0].path), "is a link, folder or device"),
    "a link to a manifest": (
        lambda run: linked(run.folder / runs.MANIFEST_FILE),
        "expected a readable manifest",
    ),
    "a pipe for rows": (lambda run: piped(run.parts[0].path), "is a link, folder or device"),
    "a pipe for a manifest": (
        lambda run: piped(run.folder / runs.MANIFEST_FILE),
        "expected a readable manifest",
    ),
    "a hole of 5 GB": (huge, "bytes are more than 4,294,967,296"),
    "a date that is a word": (
        manifest_of(created="yesterday"),
        "no date and time",
    ),
    "an endless time": (manifest_of(seconds=float("inf")), "damaged"),
    "brackets without end": (
        lambda run: (run.folder / runs.MANIFEST_FILE).write_bytes(b"[" * 100_000),
        "damaged",
    ),
    "a strength that is no number": (
        spec_of(perturbations=[{"fog": float("nan")}]),
        "damaged",
    ),
    "a condition of nothing": (
        spec_of(perturbations=[{"fog": 0.5}, {}]),
        "one of its conditions",
    ),
    "a huge image": (framed_as({"fit": "crop", "side": 10**6}), "xpected a side"),
    "no framings": (spec_of(framings={}), "a framing for each model"),
    "other models": (models_of("a", "b"), "other models"),
    "other images": (manifest_of(content="0" * 64), "other images"),
    "endless rows": (rows_of(endless), "no measurements do"),
    "a huge manifest": (
        manifest_of(more=os.urandom(1_500_000).hex()),
        r"expected a manifest\.json of at most 1,048,576 bytes",
    ),
    "conditions without end": (
        spec_of(perturbations=[{}] * 10_001),
        "expected at most 10,000 conditions, got 10,001",
    ),
    "images that are none": (
        lambda run: (run.folder / image_table.FILE).write_bytes(b"x"),
        "rows differ",
    ),
    "properties of more images": (
        images_of(lambda table: pa.concat_tables([table, table])),
        PROPERTIES,
    ),
    "properties without end": (
        images_of(lambda table: table.take(pa.array([0]).take([0] * 1_000_000))),
        PROPERTIES,
    ),
    "properties of an image that there is not": (
        images_of(lambda t: t.set_column(0, "position", pa.array(range(1, 7), pa.int32()))),
        PROPERTIES,
    ),
    "properties without positions": (
        images_of(lambda table: table.drop_columns("position")),
        PROPERTIES,
    ),
    "a long text of an image": (with_column("weather", "x" * 1_000_000), PROPERTIES),
    "a list of each image": (with_column("weather", [1, 2]), PROPERTIES),
    "a column of a long name": (with_column("x" * 1000, "y"), PROPERTIES),
    "columns without end": (
        images_of(
            lambda table: pa.table(
                {**dict(zip(table.column_names, table.columns, strict=True))}
                | {f"c{at}": pa.array(["x"] * len(table)) for at in range(500)}
            )
        ),
        PROPERTIES,
    ),
    "a footer that claims far more": (
        claiming_footer,
        r"part-000000\.parquet is damaged",
    ),
    "a long note": (
        noted(lambda about: about.update(chunks=[*range(700_000)])),
        "its texts are too long",
    ),
    "a long reason": (lambda run: unread(run, 1, "x" * 5000), PROPERTIES),
    "an image without a digest": (images_with("digest", None), PROPERTIES),
    "a status of no image": (images_with("status", "lost"), PROPERTIES),
    "one name of all images": (images_with("name", "x"), PROPERTIES),
    "other counts": (manifest_of(images=5), "other numbers of images"),
    "missing images": (images_of(lambda table: table.slice(1)), "images are missing in it"),
    "parts that there are not": (
        noted(lambda about: about.update(chunks=[10**9])),
        "parts that the run",
    ),
    "a time below zero": (manifest_of(seconds=-5.0), "expected seconds to be"),
    "another condition": (replaced("condition", "fog=0.5"), "other conditions"),
    "a condition of another name": (
        replaced("condition", "rotation=0.5"),
        "other conditions",
    ),
    "rows twice": (
        rows_of(
            lambda table: pa.concat_tables([table.slice(0, 1), table.slice(0, len(table) - 1)])
        ),
        "duplicates",
    ),
    "a lacking column": (
        rows_of(lambda table: table.drop_columns(["psnr"])),
        "damaged or of another kind",
    ),
    "no stages": (last_replaced("stages", None), "a row has no stages"),
    "an endless figure of a stage": (
        of_a_stage("cosine", float("inf")),
        "expected every cosine of a stage to be a number from -1 to 1",
    ),
    "a stage without a name": (of_a_stage("stage", None), "a row has no stage"),
    "six classes of five": (replaced("top5", [1, 2, 3, 4, 5, 6]), "top5 is not of up to 5 classes"),
    "a class of five that is none": (
        last_replaced("top5", [1, 2, 3, 4, 1000]),
        "do not exist",
    ),
    "a share above one": (
        last_replaced("top5_probabilities", [2.0, 0.0, 0.0, 0.0, 0.0]),
        "expected every top5_probabilities to be a number from 0 to 1",
    ),
    "an answer that is not the same": (
        last_replaced("consistent", None),
        "contradicts its predictions",
    ),
    "another seed": (
        lambda run: change_manifest(run, spec=run.manifest.spec.as_dict() | {"seed": 6}),
        "its request has changed",
    ),
    "no digest of the request": (manifest_of(spec_digest=None), "its request has changed"),
    "a label of one row": (
        last_changed(lambda row: follow(row, label=(row["label"] + 1) % 1000)),
        "different labels",
    ),
    "no label of one row": (
        last_changed(lambda row: row.update(label=None, **dict.fromkeys(CORRECTNESS))),
        "different labels",
    ),
    "another original of one row": (
        last_changed(lambda row: follow(row, clean_top1=(row["clean_top1"] + 1) % 1000)),
        "different predictions",
    ),
    "a label alone": (
        last_changed(lambda row: row.update(label=row["top1"], correct=False)),
        "contradicts label and predictions",
    ),
    "a first class of five that is another": (
        last_changed(lambda row: row["top5"].reverse()),
        "'top5' contradicts its prediction",
    ),
    "no classes of five": (
        last_changed(lambda row: row.update(top5=[], top5_probabilities=[])),
        "a row has no top5",
    ),
    "an impossible class": (replaced("top1", 5000), "classes that do not exist"),
    "endless names": (replaced("model", "x" * 1_000_000), "texts are too long"),
    "texts of 1.4 GB in a few kilobytes": (
        repeated("model", "x" * 60_000_000),
        "more memory than those of any run",
    ),
    "a text that is none": (
        repeated("model", b"\xff"),
        "its rows cannot be read",
    ),
    "stages without end": (
        rows_of(lambda t: set_column(t, "stages", [s * 65 for s in t["stages"].to_pylist()])),
        "it has too many stages",
    ),
    "an endless figure of a plugin": (
        rows_of(lambda table: table.append_column("own", pa.array([float("inf")] * len(table)))),
        "expected every own to be a number",
    ),
    "a remedy of a long name": (
        last_replaced("remedy", "x" * 5000),
        "too few or too many rows",
    ),
}


def comparing(models: int, conditions: int) -> Change:
    changed = [{"brightness": (1 + at) / 10_000} for at in range(conditions)]
    return models_of(*(f"m{at}" for at in range(models)), perturbations=changed)


HOSTILE["cells without end"] = comparing(9, 2400), "got 9 models under 2,400 conditions"
HOSTILE["pairs without end"] = comparing(200, 10), "got 200 models under 10 conditions"


for column, value in (
    *(("probability", number) for number in (-0.5, 1.5, float("nan"), float("inf"), None)),
    *((name, float("nan")) for name in ("ssim", "cosine", "cosine_rescaled", "strength")),
    *((name, None) for name in ("position", "divergence", "euclidean_rescaled")),
    *(("psnr", number) for number in (-3.0, float("inf"), float("nan"))),
    *(("position", -1), ("position", 6), ("cosine", 1.1), ("parameter", float("inf"))),
):
    HOSTILE[f"{column} of {value}"] = (
        last_replaced(column, value),
        f"expected every {column} to be a number from ",
    )


for column in CORRECTNESS:
    for kind, become in (("another", lambda known: not known), ("no", lambda _known: None)):

        def change(row: dict[str, Any], column: str = column, become: Any = become) -> None:
            row[column] = become(row[column])

        HOSTILE[f"{kind} {column}"] = (
            last_changed(change),
            f"'{column}' contradicts label and predictions",
        )


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_is_refused(what: str, run: runs.Run, tmp_path: Path) -> None:
    change, message = HOSTILE[what]
    change(run)
    before = sorted(tmp_path.rglob("*"))
    with growing_at_most(60), pytest.raises(RunError, match=message) as refused:
        runs.find(run.folder.parent, run.id)
    assert str(tmp_path) not in str(refused.value), "no path of the server"
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written there"
    with growing_at_most(60):
        assert len(runs.listing(run.folder.parent)) == 1


def test_ids_and_texts_of_a_folder_lead_nowhere(run: runs.Run, made: tuple[runs.Run, Path]) -> None:
    for id_ in ("../x", ".uploads", made[0].id, "x" * 1000):
        change_manifest(run, id=id_)
        assert runs.load(run.folder).id == run.folder.name
    (run.folder / "notes.json").write_bytes(b'{"title": "' + b"0" * 1_000_000 + b'"}')
    assert runs.load(run.folder).title == "0" * runs.MAX_TITLE
    (run.folder / "notes.json").write_bytes(b'{"title": "' + b"0" * 2_000_000 + b'"}')
    assert runs.load(run.folder).title == "photos", "too long to be read"
    for change in (linked, piped):
        change(run.folder / "notes.json")
        assert runs.listed(run.folder).title == "photos"
        (run.folder / "notes.json").unlink()


def test_a_link_among_the_runs_shows_no_folder_elsewhere(
    made: tuple[runs.Run, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(made[0].folder, copy)
    there = tmp_path / "runs"
    there.mkdir()
    (there / "link").symlink_to(copy)
    (there / "loop").symlink_to(there / "loop")
    (entry,) = runs.listing(there)
    assert entry.manifest is None
    assert "link to another folder" in entry.reason
    with pytest.raises(RunError, match="link to another folder"):
        runs.find(there, "link")
    assert runs.load(there / "link").foreign, "who names the path may read it"


def test_a_lock_that_is_a_link_is_not_followed(run: runs.Run, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    (run.folder / ".lock").unlink(missing_ok=True)
    (run.folder / ".lock").symlink_to(tmp_path / "precious")
    for remove in (runs.delete, runs.to_bin):
        with pytest.raises(RunError, match="cannot be locked"):
            remove(run.folder)
    assert (tmp_path / "precious").read_text() == "data"


@pytest.mark.parametrize("column", ["position", "model", "probability", "remedy"])
def test_rows_that_their_file_denies_are_refused(column: str, run: runs.Run) -> None:
    """Readers skip the rows that a file says it does not hold."""
    (part,) = run.parts
    with pq.ParquetFile(part.path) as file:
        first, second = (
            row_specification_and_check._Bounds(file.metadata.row_group(0), [column])
            for _ in range(2)
        )
        rows = file.read().to_batches()[0]
    wrong = {"position": 99, "model": "z" * 9, "probability": 2.0, "remedy": "median"}[column]
    first.add(rows)
    first.check()
    changed = rows.set_column(
        rows.schema.get_field_index(column),
        rows.schema.field(column),
        pa.array([wrong] * len(rows), rows.schema.field(column).type),
    )

    def check() -> None:
        second.add(changed)
        second.check()

    with pytest.raises(RunError, match="contradict their rows"):
        check()


# --- names ----------------------------------------------------------------------------------------
