"""Export and import of runs as zip archives; an import is complete or leaves nothing behind.

An archive holds one folder with the manifest, the rows, the properties of the images, and the
title, tags and note, but no images.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from robustness.base.disk import put_whole
from robustness.base.errors import ParameterError, RunError
from robustness.base.output_files import writing
from robustness.base.zips import BoundedZip, TooManyFilesError
from robustness.runs import images, notes, store
from robustness.runs import manifest as manifests
from robustness.runs.import_checks import importer, screen, work_out_figures
from robustness.runs.run import Run

MAX_FILES = 100_000
MAX_BYTES = 4 * 1024**3
MAX_RATIO = 20
"""Most unpacked bytes for each byte of the archive; rows are compressed already."""

MAX_MANIFEST, MAX_MANIFEST_PART = 1024**2, 64
"""Most bytes of the manifest, plus those for each file of rows."""

_FREE_BYTES = 1024 * 1024
_SOON = 60  # seconds
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FILE = re.compile(
    "|".join(
        [
            r"part-\d{1,12}\.parquet",
            *map(re.escape, (manifests.FILE, images.FILE, notes.FILE)),
        ]
    )
)


def write_archive(run: Run, to: Path | BinaryIO) -> None:
    """Write ``run`` as a zip archive, with the same bytes for the same run.

    Raises ``RunError`` for a run that is unfinished or unreadable.
    """
    if not run.finished:
        raise RunError(f"The run {run.id} is not finished: continue it first, then export it.")
    paths = [run.folder / name for name in (manifests.FILE, *run.manifest.parts)]
    with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as archive:
        for path in paths:
            info = zipfile.ZipInfo(f"{run.id}/{path.name}")
            with _opened(path, run) as source, archive.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)
        if said := notes.read(run.folder).exported:
            archive.writestr(zipfile.ZipInfo(f"{run.id}/{notes.FILE}"), said)


def _opened(path: Path, run: Run) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:  # not an error of the archive's place
        raise RunError(
            f"The file {path.name} of the run {run.id} cannot be read: {error.strerror}."
        ) from error


def export_run(run: Run, file: Path) -> None:
    """Write ``run`` to ``file`` atomically; raises ``ParameterError`` if that fails."""
    with writing(file):
        put_whole(file, lambda temporary: write_archive(run, temporary))


def import_run(archive: Path | BinaryIO, runs: Path, by: str = "") -> Run:
    """Import a run from another machine into the folder ``runs``, owned by ``by``.

    It gets a number behind its id where another run has that id. It is marked as imported: its
    images are not opened from wherever its manifest says, see ``load``. Raises ``RunError`` for
    an archive that is damaged, hostile or of something else, for a run that is here already, and
    where the folder cannot be written to; nothing is left behind then.
    """
    if isinstance(archive, Path) and not archive.is_file():
        raise RunError(f"There is no file {archive}: expected a zip archive of a run.")
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with importer() as worker, _scratch(runs) as scratch:
            _unpack(archive, scratch)
            manifest = manifests.read(scratch)
            if not _NAME.fullmatch(manifest.id):
                raise RunError(f"The archive is refused: {manifest.id[:80]!r} is not a run's id.")
            manifest = screen(scratch, manifest, worker)
            folder = _free_folder(runs, manifest)
            manifest = manifest.updated(id=folder.name)
            manifest.write(scratch)
            work_out_figures(scratch, manifest, worker)
            said = notes.read(scratch)
            texts = {"title": said.title, "tags": ",".join(said.tags), "note": said.note}
            (scratch / notes.FILE).unlink(missing_ok=True)
            notes.update(scratch, **texts, imported=time.time(), imported_by=by)
            scratch.rename(folder)
    except OSError as error:
        raise RunError(
            f"The run cannot be imported: {error.strerror or error}.",
            hint=f"The folder of runs is {runs}.",
        ) from error
    return store.load(folder)


@contextmanager
def _scratch(runs: Path) -> Iterator[Path]:
    """A hidden folder among the runs; gone afterwards, unless it has got another name.

    Those that killed imports left are removed.
    """
    for left in runs.glob(".import-*"):
        with suppress(OSError, RunError):
            if time.time() - left.stat().st_mtime > _SOON:  # another import may not hold it yet
                store.locked(left).release()
                shutil.rmtree(left)
    folder = runs / f".import-{uuid.uuid4().hex}"
    folder.mkdir()
    lock = store.locked(folder)
    try:
        yield folder
    except RunError as error:  # it names the folder, which is nobody's concern
        text = re.sub(rf"of (the run )?{folder.name}", "of the archive", str(error))
        raise RunError(text.replace(folder.name, "The archive")) from error
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _free_folder(runs: Path, manifest: manifests.Manifest) -> Path:
    number, folder = 1, runs / manifest.id
    while folder.exists():
        try:
            here = manifests.read(folder)
        except RunError:
            here = None
        if here is not None and here.updated(id=manifest.id, parts=manifest.parts) == manifest:
            raise RunError(f"The run {folder.name} already exists here.")
        number += 1
        folder = runs / f"{manifest.id}-{number}"
    return folder


def _unpack(source: Path | BinaryIO, folder: Path) -> None:
    """Writes the files of the archive into ``folder``; raises ``RunError`` for what it is not."""
    try:
        with BoundedZip(source, MAX_FILES) as archive:
            size = archive.fp.seek(0, os.SEEK_END) if archive.fp else 0
            for name, info in _files(archive, size).items():
                with archive.open(info) as packed, (folder / name).open("xb") as target:
                    shutil.copyfileobj(packed, target)  # never more than ``info.file_size``
    except (RunError, FileNotFoundError, PermissionError):
        raise
    except TooManyFilesError as error:
        raise RunError(
            f"The archive is refused: it holds more than {MAX_FILES:,} files, as no run does."
        ) from error
    except Exception as error:  # zipfile raises nearly anything on hostile bytes
        if isinstance(error, OSError) and error.errno:  # a full disk is not the archive's fault
            raise
        raise RunError(
            "The file cannot be opened as the zip archive of a run: it is damaged or of another "
            "kind; export the run again."
        ) from error


def _files(archive: zipfile.ZipFile, size: int) -> Mapping[str, zipfile.ZipInfo]:
    """The files of the one run in ``archive`` by their names, after a look at all it says.

    ``size`` is that of the archive in bytes: entries may lie over each other.
    """
    infos = [info for info in archive.infolist() if not info.is_dir()]
    folders, files = set(), {}
    for info in infos:
        path = PurePosixPath(info.orig_filename)
        plain = len(path.parts) <= 2 and str(path) == info.orig_filename == info.filename
        if not plain or not _FILE.fullmatch(path.name) or path.name in files:
            raise RunError(
                f"The archive is refused: it holds {info.orig_filename[:80]!r}, which is no file "
                "of an exported run."
            )
        folders.add(path.parent)
        files[path.name] = info
    named = [path == PurePosixPath() or _NAME.fullmatch(path.name) for path in folders]
    if manifests.FILE not in files or len(named) != 1 or not all(named):
        raise RunError(
            f"This is not an exported run: expected one folder with a {manifests.FILE} in it."
        )
    unpacked = sum(info.file_size for info in infos)
    if unpacked > min(MAX_BYTES, max(_FREE_BYTES, MAX_RATIO * size)):
        raise RunError(
            f"The archive is refused: its {size:,} bytes would unpack to {unpacked:,}, as no "
            "exported run does."
        )
    limits = {
        manifests.FILE: MAX_MANIFEST + MAX_MANIFEST_PART * len(infos),
        notes.FILE: notes.MAX_BYTES,
    }
    for name, most in limits.items():
        if name in files and files[name].file_size > most:
            raise RunError(
                f"The archive is refused: its {name} has {files[name].file_size:,} bytes, more "
                f"than the {most:,} that it can need."
            )
    return files


def folder_of(run: str, runs: Path) -> Path:
    """The folder of ``run``, which is the path of one or an id in the folder ``runs``.

    Raises ``ParameterError`` where there is neither.
    """
    by_id = runs / run
    if run == Path(run).name and by_id.is_dir():
        return by_id
    if Path(run).is_dir():
        return Path(run).resolve()
    raise ParameterError(
        f"There is no run {run}: expected the folder of a run, or the id of one in {runs}; "
        "'runs' lists them."
    )
