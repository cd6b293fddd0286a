"""Uploaded images, stored beside the runs under their digest while they are needed.

A session of this server or the manifest of a run, in the bin or not, may need them. The setting
``uploads`` limits their total size.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import threading
import time
import weakref
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.files_and_locks import read_regular, stored_bytes, write_whole
from robustness.datasets import distinct
from robustness.runs import BIN, MANIFEST_FILE, UPLOADS, jobs
from robustness.runs.manifest import MAX_BYTES as MAX_MANIFEST
from robustness.ui.controls import upload_sharing
from robustness.ui.server.streamlit_patches_and_internals import UploadedFile
from robustness.ui.session.runs_folder_and_links import runs_folder
from robustness.ui.session.session_end import AFTERWARDS
from robustness.ui.session.upload_limit import room

YOUNG = 3600.0
"""Seconds that an upload of another server stays without a run: its session may hold it.

While one does, its server touches the folder.
"""

SECONDS_BETWEEN = 600.0
"""Seconds between two checks of the uploads, which also touch those of this server's sessions."""


@dataclass(eq=False)
class UploadedArchive:
    """An upload of a session: the archive at ``path``, made of the files ``ids``."""

    path: Path
    ids: tuple[str, ...]


_HOLDERS: weakref.WeakSet[UploadedArchive] = weakref.WeakSet()
"""The uploads of this server's sessions; those of ended ones disappear."""

_OWN: set[Path] = set()
"""Folders that this server has made."""

_CHANGING = threading.Lock()
"""Guards ``_HOLDERS``, and an upload from the check whether it is needed until it is removed."""


def upload(files: Sequence[UploadedFile], key: str) -> Path | None:
    """The path of the archive of ``files``, packed and hashed once; None without files.

    ``files`` are one zip archive or several images. The session's earlier upload of ``key`` is
    removed unless needed elsewhere. Raises ``ParameterError`` if there is no room, or writing
    fails.
    """
    state = f"archive of {key}"
    archive: UploadedArchive | None = st.session_state.get(state)
    ids = tuple(file.file_id for file in files)
    if archive is not None and archive.ids == ids and archive.path.exists():
        return archive.path
    if archive is not None:
        del st.session_state[state]
        with _CHANGING:
            _HOLDERS.discard(archive)
        collect()
    if not files:
        return None
    more, most = sum(file.size for file in files), room()
    taken = stored_bytes(runs_folder() / UPLOADS)
    if taken + more > most:
        raise ParameterError(
            f"No room for this upload of {more / 1e6:,.0f} MB: expected uploads to take "
            f"at most {most / 1e6:,.0f} MB, and others take {taken / 1e6:,.0f}. Delete runs of "
            "uploaded images, or ask the operator to raise the setting 'uploads'."
        )
    if files[0].name.lower().endswith(".zip"):
        name, packed = files[0].name, files[0].getvalue()
    else:
        name = "uploaded pictures.zip"
        packed = _packed([(file.name, file.getvalue()) for file in files])
    with _CHANGING:
        path = _keep(name, packed)
        st.session_state[state] = UploadedArchive(path, ids)
        _HOLDERS.add(st.session_state[state])
    return path


def collect() -> None:
    """Remove unneeded uploads of this server, and old ones of others."""
    try:
        there = list((runs_folder() / UPLOADS).iterdir())
    except (OSError, RobustnessError):  # missing, or it cannot be listed
        return
    with _CHANGING:
        _remove_unneeded([path for path in there if path in _OWN or _age(path) > YOUNG])


AFTERWARDS.append(collect)


def tend() -> None:
    """Check the uploads now and regularly, without end."""
    while True:
        with _CHANGING:
            # Only paths: this loop never ends, and a list of uploads would keep them.
            folders = [archive.path.parent for archive in _HOLDERS]
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.touch()
        collect()
        upload_sharing.forget_expired()
        time.sleep(SECONDS_BETWEEN)


def _age(folder: Path) -> float:
    """Seconds since ``folder`` was last written to or touched."""
    try:
        return time.time() - max(p.stat().st_mtime for p in (folder, *folder.glob("*")))
    except OSError:  # removed meanwhile
        return 0.0


def _remove_unneeded(folders: Sequence[Path]) -> None:
    """Remove those of ``folders`` that no session of this server and no manifest needs."""
    needed = {archive.path.parent for archive in _HOLDERS}
    if not (unneeded := [folder for folder in folders if folder not in needed]):
        return
    root = runs_folder()
    here, deleted = f"*/{MANIFEST_FILE}", f"{BIN}/*/{MANIFEST_FILE}"
    # A run may come back between the first two looks.
    places = (here, deleted, here, f"*/{jobs.HARDENING}")
    manifests = [path for where in places for path in root.glob(where)]
    try:
        texts = [
            read_regular(path, MAX_MANIFEST)
            for path in manifests
            if path.is_file() and path.stat().st_size <= MAX_MANIFEST  # others are of no run
        ]
    except OSError:  # it may be needed
        return
    for folder in unneeded:
        if not any(folder.name.encode() in text for text in texts):
            shutil.rmtree(folder, ignore_errors=True)
            _OWN.discard(folder)


def _packed(files: Sequence[tuple[str, bytes]]) -> bytes:
    """A zip archive of ``files``: the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        names = distinct([Path(name).name for name, _ in files])
        for name, (_, data) in zip(names, files, strict=True):
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _keep(name: str, data: bytes) -> Path:
    """Write the archive ``data`` beside the runs, under its digest; return its path."""
    folder = runs_folder() / UPLOADS / hashlib.sha256(data).hexdigest()[:32]
    path = folder / f"{Path(name).stem[:60] or 'upload'}.zip"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()  # in case an earlier session left it
        _OWN.add(folder)
        if not path.exists():
            write_whole(path, data)
    except OSError as error:
        raise ParameterError(
            f"The upload cannot be kept in {runs_folder()}: {error.strerror}; the operator can "
            "name another folder in the setting 'runs'."
        ) from error
    return path
