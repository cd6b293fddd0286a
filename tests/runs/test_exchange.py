"""Runs between machines: whole or not at all, and never a way into the server."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import warnings
import zipfile
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
from robustness.base.errors import ParameterError, RunError
from robustness.base.limited_worker import WorkerDiedError, WorkerLateError, WorkerTimeError
from robustness.runs import headline_figures, images, import_checks, store, writer
from robustness.runs.rows import Rows
from tests.support.saved_runs import performed, spec, use_stand_ins


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[runs.Run, Path]]:
    """A run of six images, and the folder that these lie in."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        patch.setattr(writer, "_LEAST_SECONDS", 600.0)  # one file of rows, on slow machines, too
        photos = labelled_folder(folder / "photos", 2)
        yield performed(photos, folder / "runs", spec()), photos


@pytest.fixture
def run(made: tuple[runs.Run, Path], tmp_path: Path) -> runs.Run:
    """A copy of it that a test may change."""
    shutil.copytree(made[0].folder, tmp_path / "here" / made[0].id)
    return runs.load(tmp_path / "here" / made[0].id)


def archive_of(run: runs.Run) -> bytes:
    stream = io.BytesIO()
    runs.write_archive(run, stream)
    return stream.getvalue()


def repacked(data: bytes, change: Callable[[dict[str, bytes]], None]) -> io.BytesIO:
    """The archive with its files changed."""
    files: dict[str, bytes] = {}
    if data:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream


def with_manifest(run: runs.Run, **changes: Any) -> io.BytesIO:
    def change(files: dict[str, bytes]) -> None:
        name = f"{run.id}/manifest.json"
        files[name] = json.dumps(json.loads(files[name]) | changes).encode()

    return repacked(archive_of(run), change)


def test_a_run_goes_to_another_machine_and_back_unchanged(run: runs.Run, tmp_path: Path) -> None:
    texts = {"title": "Before *training*", "tags": "night, v2", "note": "Seen at night."}
    runs.notes.update(run.folder, **texts)
    runs.export_run(runs.load(run.folder), tmp_path / "out" / "run.zip")
    there = runs.import_run(tmp_path / "out" / "run.zip", tmp_path / "there")
    assert there.table().equals(run.table())
    assert there.manifest == run.manifest
    assert (there.title, there.imported) == ("Before *training*", True)
    said = runs.notes.read(there.folder)
    assert (said.tags, said.note) == (("night", "v2"), "Seen at night.")
    assert there.properties == run.properties
    assert there.properties is not None
    assert there.failures == run.failures
    assert not run.imported
    assert archive_of(there) == archive_of(run) == (tmp_path / "out" / "run.zip").read_bytes()
    assert [entry.title for entry in runs.listing(tmp_path / "there")] == ["Before *training*"]
    assert sorted(os.listdir(tmp_path / "there")) == [run.id], "nothing else is left"


def test_figures_are_worked_out_once_within_limits_and_never_in_the_server(
    run: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rows, "figures", lambda rows: pytest.fail("worked out here"))
    ask = import_checks.Worker.ask

    def dying(worker: Any, head: bytes, data: bytes, **limits: Any) -> bytes:
        if limits["memory"] >= import_checks.FIGURES_MEMORY:
            raise WorkerDiedError
        return ask(worker, head, data, **limits)

    with monkeypatch.context() as patch:
        patch.setattr(import_checks.Worker, "ask", dying)
        with pytest.raises(RunError, match=r"figures .* more than 2\.0 GB"):
            runs.import_run(io.BytesIO(archive_of(run)), tmp_path / "there")
    assert os.listdir(tmp_path / "there") == []
    there = runs.import_run(io.BytesIO(archive_of(run)), tmp_path / "there")
    figures = headline_figures.stored(there.folder, there.manifest)
    assert figures is not None
    assert len(figures["models"]) == len(run.manifest.spec.models)


def test_the_same_run_is_not_brought_twice_and_another_of_its_name_gets_its_own(
    run: runs.Run, tmp_path: Path
) -> None:
    data = archive_of(run)
    with pytest.raises(RunError, match=f"{run.id} already exists"):
        runs.import_run(io.BytesIO(data), run.folder.parent)
    second = runs.import_run(
        with_manifest(run, created="2030-01-01T00:00:00+00:00"), run.folder.parent
    )
    assert second.id == second.folder.name == f"{run.id}-2"
    assert runs.load(run.folder).manifest == run.manifest


def test_an_unfinished_run_does_not_travel(
    run: runs.Run, made: tuple[runs.Run, Path], tmp_path: Path
) -> None:
    with runs.start(runs.plan(str(made[1]), spec(seed=9)), tmp_path / "runs") as begun:
        pass
    with pytest.raises(RunError, match="not finished"):
        archive_of(runs.load(begun.folder, unfinished=True))
    with pytest.raises(RunError, match="not finished"):
        runs.import_run(with_manifest(run, status="unfinished"), tmp_path / "there")


# --- images -------------------------------------------------------------------------------------


def imported_with_source(run: runs.Run, source: str, out: Path) -> runs.Run:
    asked = {**run.manifest.as_dict()["dataset"], "source": source}
    return runs.import_run(with_manifest(run, dataset=asked), out)


def test_pictures_of_an_imported_run_are_opened_only_where_anybody_may_see_them(
    run: runs.Run,
    made: tuple[runs.Run, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos, name = made[1], str(run.frame()["image"].iloc[0])
    there = imported_with_source(run, str(photos), tmp_path / "there")
    for allowed in (None, tmp_path / "elsewhere"):
        if allowed:
            monkeypatch.setenv("ROBUSTNESS_DATASETS", str(allowed))
        with pytest.raises(RunError, match="came from another machine"):
            runs.find(tmp_path / "there", there.id).picture(name)
    assert runs.load(there.folder, anywhere=True).picture(name).name == name
    monkeypatch.setenv("ROBUSTNESS_DATASETS", str(photos.parent))
    assert runs.load(there.folder).picture(name).name == name


def test_uploads_beside_the_runs_may_be_seen_again(
    run: runs.Run, made: tuple[runs.Run, Path], tmp_path: Path
) -> None:
    uploaded = tmp_path / "there" / runs.UPLOADS / "0123"
    shutil.copytree(made[1], uploaded)
    there = imported_with_source(run, str(uploaded), tmp_path / "there")
    name = str(run.frame()["image"].iloc[0])
    assert there.picture(name).digest == run.frame()["image_digest"].iloc[0]


@pytest.mark.parametrize(
    "source",
    [
        "/etc",
        "{allowed}/../secret",
        "{allowed}/link",
        "{runs}/.uploads/../../secret",
        "{allowed}/fog/..::{allowed}/../secret",
        "{allowed}/table.csv",
        "{allowed}/.git",
        "file://{allowed}",
        "https://example.com/photos",
        "relative",
        "",
        "\0",
        "samples",
    ],
)
def test_no_source_leads_out_of_what_is_allowed(
    run: runs.Run,
    made: tuple[runs.Run, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
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
    named = source.format(allowed=allowed, runs=tmp_path / "there")
    there = imported_with_source(run, named, tmp_path / "there")
    with pytest.raises(RunError, match="came from another machine"):
        there.dataset  # noqa: B018
    assert len(there.frame()) == len(run.frame()), "everything else is there"


def test_an_imported_run_stands_in_for_no_evaluation(
    run: runs.Run, made: tuple[runs.Run, Path], tmp_path: Path
) -> None:
    there = runs.import_run(io.BytesIO(archive_of(run)), tmp_path / "there")
    plan = runs.plan(str(made[1]), spec(), batch=2)
    with runs.start(plan, tmp_path / "there", resume=True) as writer:
        assert writer.folder != there.folder
        assert not writer.finished


# --- hostile archives -----------------------------------------------------------------------------


def more(name: str, content: bytes = b"x") -> Callable[[runs.Run], io.BytesIO]:
    def made(run: runs.Run) -> io.BytesIO:
        return repacked(archive_of(run), lambda files: files.update({name.format(run.id): content}))

    return made


def write_sizes(run: runs.Run) -> None:
    """Have the manifest say how large the files of ``run`` are."""
    sizes = {name: (run.folder / name).stat().st_size for name in run.manifest.parts}
    run.manifest.updated(parts=sizes).write(run.folder)


def rows_of(change: Callable[[pa.Table], pa.Table]) -> Callable[[runs.Run], io.BytesIO]:
    """The archive with other rows, whose sizes the manifest has right."""

    def made(run: runs.Run) -> io.BytesIO:
        for part in run.parts:
            table = pq.read_table(part.path)
            changed = change(table)
            options = {"compression": "zstd", "store_schema": False}  # dictionaries look like texts
            with pq.ParquetWriter(part.path, changed.schema, **options) as writer:
                writer.write_table(changed)
                writer.add_key_value_metadata(changed.schema.metadata)
        write_sizes(run)
        return io.BytesIO(archive_of(runs.load(run.folder)))

    return made


def replaced(column: str, value: object) -> Callable[[runs.Run], io.BytesIO]:
    return rows_of(lambda table: set_column(table, column, [value] * table.num_rows))


def last_replaced(column: str, value: object) -> Callable[[runs.Run], io.BytesIO]:
    """The archive with another value in the last row of its rows alone."""

    def change(table: pa.Table) -> pa.Table:
        return set_column(table, column, [*table[column].to_pylist()[:-1], value])

    return rows_of(change)


def endless(table: pa.Table) -> pa.Table:
    """Half a million equal rows in a few bytes."""
    thousand = pa.concat_tables([table.slice(0, 1)] * 1000).combine_chunks()
    return pa.concat_tables([thousand] * 510)


def noted(change: Callable[[dict[str, Any]], object]) -> Callable[[runs.Run], io.BytesIO]:
    """The archive with another note of the file of rows about itself."""

    def noting(table: pa.Table) -> pa.Table:
        about = json.loads(table.schema.metadata[b"robustness"])
        change(about)
        return table.replace_schema_metadata({b"robustness": json.dumps(about)})

    return rows_of(noting)


def claiming_footer(run: runs.Run) -> io.BytesIO:
    """A list of a hundred million columns, for all of which a reader would make room."""
    (part,) = run.parts
    length = 4096
    footer = (b"\x15\x04\x19\xfc\x80\xc2\xd7\x2f" + bytes(length))[:length]
    part.path.write_bytes(b"PAR1" + footer + length.to_bytes(4, "little") + b"PAR1")
    write_sizes(run)
    return repacked(b"", lambda files: files.update(_files(run)))


def _files(run: runs.Run) -> dict[str, bytes]:
    paths = [run.folder / name for name in ("manifest.json", *run.manifest.parts)]
    return {f"{run.id}/{path.name}": path.read_bytes() for path in paths}


def crowded(run: runs.Run) -> io.BytesIO:
    """A list of contents of a million names in a few bytes of each."""
    data = archive_of(run)
    start, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    entry = data[start : data.index(b"PK\1\2", start + 1)]
    entries = entry * 300_000
    sizes = struct.pack("<HHLL", 9, 9, len(entries), start)
    return io.BytesIO(data[:start] + entries + data[end : end + 8] + sizes + data[end + 20 :])


def unread(run: runs.Run, number: int, reason: str = "") -> io.BytesIO:
    """The archive with so many more images, none of which could be read."""
    total = run.images + number
    asked = replace(run.manifest.dataset, pictures=total)
    manifest = run.manifest.updated(unreadable=number, dataset=asked)
    manifest.write(run.folder)
    others = {
        "position": range(run.images, total),
        "name": ["x"] * number,
        "status": [images.UNREADABLE] * number,
        "reason": [reason] * number,
    }
    more = pa.table(
        {name: pa.array(values, images.SCHEMA.field(name).type) for name, values in others.items()}
    )
    return images_of(lambda table: pa.concat_tables([table, more], promote_options="default"))(
        runs.load(run.folder)
    )


def of_a_stage(name: str, value: object) -> Callable[[runs.Run], io.BytesIO]:
    def change(table: pa.Table) -> pa.Table:
        rows = [[{**stage, name: value} for stage in row] for row in table["stages"].to_pylist()]
        return set_column(table, "stages", rows)

    return rows_of(change)


def images_of(change: Callable[[pa.Table], pa.Table]) -> Callable[[runs.Run], io.BytesIO]:
    def made(run: runs.Run) -> io.BytesIO:
        pq.write_table(change(run.image_table), run.folder / images.FILE)
        write_sizes(run)
        return io.BytesIO(archive_of(runs.load(run.folder)))

    return made


def with_column(name: str, value: object) -> Callable[[runs.Run], io.BytesIO]:
    return images_of(
        lambda table: (
            table.drop_columns(name) if name in table.column_names else table
        ).append_column(name, pa.array([value] * len(table)))
    )


def images_with(name: str, value: object) -> Callable[[runs.Run], io.BytesIO]:
    return images_of(lambda table: set_column(table, name, [value] * len(table)))


def repeated(column: str, value: str | bytes) -> Callable[[runs.Run], io.BytesIO]:
    """The archive with one text in ``column``, which its file holds once."""

    def change(table: pa.Table) -> pa.Table:
        words = pa.array([value], pa.binary()).view(pa.string())
        coded = pa.DictionaryArray.from_arrays(pa.array([0] * len(table), pa.int32()), words)
        return table.set_column(table.schema.get_field_index(column), column, coded)

    return rows_of(change)


def set_column(table: pa.Table, column: str, values: list[Any]) -> pa.Table:
    place, field = table.schema.get_field_index(column), table.schema.field(column)
    return table.set_column(place, field, pa.array(values, field.type))


PROPERTIES = r"images\.parquet is refused: expected one row per image"

HOSTILE: dict[str, tuple[Callable[[runs.Run], io.BytesIO], str]] = {
    "no archive": (lambda run: io.BytesIO(b"PK nothing of the kind"), "damaged"),
    "cut short": (lambda run: io.BytesIO(archive_of(run)[:-300]), "damaged"),
    "a way up": (more("../../evil.py"), "no file of an exported run"),
    "a way up to a known name": (more("{}/../notes.json"), "no file of an exported run"),
    "a root": (more("/etc/notes.json"), "no file of an exported run"),
    "a backslash": (more("{}\\notes.json"), "no file of an exported run"),
    "a folder deeper": (more("{}/x/title.txt"), "no file of an exported run"),
    "a foreign file": (more("{}/run.sh"), "no file of an exported run"),
    "a marker": (more("{}/imported"), "no file of an exported run"),
    "two runs": (more("other/part-000009.parquet"), "one folder with a manifest"),
    "a bomb": (more("{}/notes.json", b"0" * 50_000_000), "would unpack to"),
    "more rows than it says": (more("{}/part-999999.parquet"), "rows differ"),
    "another program's": (lambda run: with_manifest(run, format="x"), "something else"),
    "another version's": (lambda run: with_manifest(run, version=99), "has run format 99"),
    "an id that leads out": (lambda run: with_manifest(run, id="../x"), "not a run's id"),
    "a hidden id": (lambda run: with_manifest(run, id=".uploads"), "not a run's id"),
    "an id that is a number": (lambda run: with_manifest(run, id=7), "damaged"),
    "a date that is none": (lambda run: with_manifest(run, created=None), "damaged"),
    "a date that is a word": (
        lambda run: with_manifest(run, created="yesterday"),
        "no date and time",
    ),
    "a time that is no number": (
        lambda run: with_manifest(run, startup_seconds=float("nan")),
        "damaged",
    ),
    "an endless time": (lambda run: with_manifest(run, seconds=float("inf")), "damaged"),
    "an endless seed": (
        lambda run: with_manifest(run, spec=run.manifest.spec.as_dict() | {"seed": float("inf")}),
        "damaged",
    ),
    "brackets without end": (more("{}/manifest.json", b"[" * 100_000), "damaged"),
    "a strength that is no number": (
        lambda run: with_manifest(
            run, spec=run.manifest.spec.as_dict() | {"perturbations": [{"fog": float("nan")}]}
        ),
        "damaged",
    ),
    "a condition of nothing": (
        lambda run: with_manifest(
            run, spec=run.manifest.spec.as_dict() | {"perturbations": [{"fog": 0.5}, {}]}
        ),
        "one of its conditions",
    ),
    "a huge image": (
        lambda run: with_manifest(run, spec=run.manifest.spec.as_dict() | {"side": 10**6}),
        "expected side to be",
    ),
    "a side of each model": (
        lambda run: with_manifest(run, spec=run.manifest.spec.as_dict() | {"side": "model"}),
        "expected a side in pixels",
    ),
    "an unknown fit": (
        lambda run: with_manifest(run, spec=run.manifest.spec.as_dict() | {"fit": "x"}),
        "There is no fit",
    ),
    "other models": (
        lambda run: with_manifest(
            run, spec=run.manifest.spec.as_dict() | {"models": {"a": "1", "b": "2"}}
        ),
        "other models",
    ),
    "other images": (lambda run: with_manifest(run, content="0" * 64), "other images"),
    "endless rows": (rows_of(endless), "no measurements do"),
    "a huge manifest": (
        lambda run: with_manifest(run, more=os.urandom(1_500_000).hex()),
        r"its manifest\.json has 3,00.,... bytes, more than the 1,048,768 that it can need",
    ),
    "long notes": (more("{}/notes.json", b"0" * 20_000), "notes.json has 20,000 bytes, more than"),
    "images that are none": (more("{}/images.parquet"), "rows differ"),
    "properties of more images": (
        images_of(lambda table: pa.concat_tables([table, table])),
        PROPERTIES,
    ),
    "properties without end": (
        images_of(lambda table: table.take(pa.array([0]).take([0] * 1_000_000))),
        PROPERTIES,
    ),
    "properties of one image twice": (
        images_of(lambda table: table.take(pa.array([0, 0]))),
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
    "an endless property": (with_column("iso", float("inf")), PROPERTIES),
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
    "a list of contents without end": (crowded, "it holds more than 100,000 files, as no run does"),
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
    "a reason of an image with rows": (images_with("reason", "x"), PROPERTIES),
    "other counts": (lambda run: with_manifest(run, images=5), "other numbers of images"),
    "missing images": (images_of(lambda table: table.slice(1)), "images are missing in it"),
    "fewer images in a file": (
        noted(lambda about: about.update(images=5)),
        "other numbers of images",
    ),
    "parts that there are not": (
        noted(lambda about: about.update(chunks=[10**9])),
        "parts that the run",
    ),
    "versions that are no texts": (lambda run: with_manifest(run, versions={"a": []}), "damaged"),
    "a time below zero": (lambda run: with_manifest(run, seconds=-5.0), "expected seconds to be"),
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
    "a class of five without number": (last_replaced("top5", [1, 2, 3, 4, None]), "do not exist"),
    "a share above one": (
        last_replaced("top5_probabilities", [2.0, 0.0, 0.0, 0.0, 0.0]),
        "expected every top5_probabilities to be a number from 0 to 1",
    ),
    "an answer that is not the same": (
        last_replaced("consistent", None),
        "contradicts its predictions",
    ),
    "an impossible class": (replaced("top1", 5000), "classes that do not exist"),
    "endless names": (replaced("model", "x" * 1_000_000), "texts are too long"),
    "endless names of images": (images_with("name", "x" * 1_000_000), PROPERTIES),
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


def comparing(models: int, conditions: int) -> Callable[[runs.Run], io.BytesIO]:
    def made(run: runs.Run) -> io.BytesIO:
        asked = run.manifest.as_dict()["spec"]
        named = {f"m{at}": "digest" for at in range(models)}
        changed = [{"brightness": (1 + at) / 10_000} for at in range(conditions)]
        return with_manifest(run, spec={**asked, "models": named, "perturbations": changed})

    return made


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


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_leaves_nothing_behind(what: str, run: runs.Run, tmp_path: Path) -> None:
    make, message = HOSTILE[what]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile's, of a doubled name
        stream = make(run)
    before = sorted(tmp_path.rglob("*"))
    with growing_at_most(60), pytest.raises(RunError, match=message) as refused:
        runs.import_run(stream, tmp_path / "there")
    assert ".import-" not in str(refused.value), "no path of the server"
    assert sorted(set(tmp_path.rglob("*")) - set(before)) == [tmp_path / "there"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (WorkerTimeError, "is refused: its files take more than 60 s to read"),
        (WorkerLateError, "is refused: its files take more than 60 s to read"),
        (WorkerDiedError, r"its files are damaged, or take more than 0\.6 GB of memory"),
        (KeyboardInterrupt, None),
    ],
)
def test_an_import_that_ends_midway_leaves_nothing(
    error: type[BaseException],
    message: str | None,
    run: runs.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(*_args: Any, **_limits: Any) -> bytes:
        raise error

    monkeypatch.setattr(import_checks.Worker, "ask", ask)
    expected = error if error is KeyboardInterrupt else RunError
    with pytest.raises(expected, match=message):
        runs.import_run(io.BytesIO(archive_of(run)), tmp_path / "there")
    assert not os.listdir(tmp_path / "there")


def test_the_next_import_removes_what_a_killed_one_left(run: runs.Run, tmp_path: Path) -> None:
    for name in ("begun", "going on", "killed"):
        (tmp_path / "there" / f".import-{name}").mkdir(parents=True)
    lock = store.locked(tmp_path / "there" / ".import-going on")
    for name in ("going on", "killed"):
        os.utime(tmp_path / "there" / f".import-{name}", (0, 0))
    runs.import_run(io.BytesIO(archive_of(run)), tmp_path / "there")
    lock.release()
    left = sorted(os.listdir(tmp_path / "there"))
    assert left == [".import-begun", ".import-going on", run.id]


def test_few_imports_go_on_at_once(
    run: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_checks, "PATIENCE", 0.01)
    waiting = pytest.raises(RunError, match="Other imports are not finished yet")
    with import_checks.importer(), import_checks.importer(), waiting:
        runs.import_run(io.BytesIO(archive_of(run)), tmp_path / "there")
    runs.import_run(io.BytesIO(archive_of(run)), tmp_path / "there")


# --- names ----------------------------------------------------------------------------------------


def test_a_title_changes_nothing_of_the_run(run: runs.Run) -> None:
    assert run.title == "photos"
    runs.notes.update(run.folder, title="  Before\ntraining ")
    again = runs.load(run.folder)
    assert (again.title, again.id) == ("Before training", run.id)
    assert again.manifest == run.manifest
    runs.notes.update(run.folder, title=" ")
    assert runs.load(run.folder).title == "photos"
    with pytest.raises(ParameterError, match="at most 120 characters, got 121"):
        runs.notes.update(run.folder, title="x" * 121)


def test_a_run_is_named_by_its_folder_or_its_id(
    run: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs.folder_of(run.id, run.folder.parent) == run.folder
    assert runs.folder_of(str(run.folder), tmp_path / "nowhere") == run.folder
    monkeypatch.chdir(tmp_path)
    assert runs.folder_of(f"here/{run.id}", tmp_path / "nowhere") == run.folder
    with pytest.raises(ParameterError, match="There is no run nonsense"):
        runs.folder_of("nonsense", run.folder.parent)


def test_a_file_that_has_gone_is_not_said_of_where_the_archive_goes(
    run: runs.Run, tmp_path: Path
) -> None:
    run.parts[0].path.unlink()
    name = run.parts[0].path.name
    with pytest.raises(RunError, match=rf"^The file {name} of the run {run.id} cannot be read: "):
        runs.export_run(run, tmp_path / "out.zip")
    with pytest.raises(
        RunError, match=rf"^The file {name} of the run {run.id} can no longer be read"
    ):
        run.frame()
    assert not (tmp_path / "out.zip").exists()
