"""Uploaded pictures: kept beside the runs, under their digest, while anything needs them."""

from __future__ import annotations

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
from streamlit.runtime.uploaded_file_manager import UploadedFile

from robustness.base.disk import write_whole
from robustness.base.errors import ParameterError
from robustness.datasets import distinct
from robustness.runs import BIN, MANIFEST_FILE, UPLOADS
from robustness.ui.kit.run_link import runs_folder

YOUNG = 24 * 3600.0
"""Seconds in which an upload that nothing needs stays: a session of another server may hold it."""

_HELD, _CLEANED = "dataset upload", "uploads cleaned"


@dataclass(eq=False)
class Held:
    """An upload that a session holds: the archive at ``path``, made of the files ``ids``."""

    path: Path
    ids: tuple[str, ...]


_HOLDERS: weakref.WeakSet[Held] = weakref.WeakSet()
"""What the sessions of this server hold; one that has ended lets go of its own."""

_CHANGING = threading.Lock()
"""Nothing is removed between the look whether it is needed and another session's taking hold."""


def upload(files: Sequence[UploadedFile]) -> Path | None:
    """Where the archive of ``files`` lies, packed and hashed once; None without any.

    ``files`` are one zip archive or several pictures. What this session had uploaded before is
    removed unless it is needed elsewhere. Raises ``ParameterError`` where the disk takes nothing.
    """
    held: Held | None = st.session_state.get(_HELD)
    ids = tuple(file.file_id for file in files)
    if held is not None and held.ids == ids and held.path.exists():
        return held.path
    made = _archive(files) if files else None
    st.session_state.pop(_HELD, None)
    with _CHANGING:
        path = None if made is None else _keep(*made)
        if path is not None:
            st.session_state[_HELD] = Held(path, ids)
            _HOLDERS.add(st.session_state[_HELD])
        if held is not None:
            _HOLDERS.discard(held)
            _remove_unneeded([held.path.parent])
    return path


def clean() -> None:
    """Removes the uploads that nothing needs and that are older than a day; once a session."""
    if _CLEANED in st.session_state:
        return
    st.session_state[_CLEANED] = True
    folder = runs_folder() / UPLOADS
    try:
        old = [path for path in folder.iterdir() if time.time() - _written(path) > YOUNG]
    except OSError:  # there is none, or it cannot be listed
        return
    with _CHANGING:
        _remove_unneeded(old)


def _written(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.glob("*")))


def _remove_unneeded(folders: Sequence[Path]) -> None:
    """Removes those of ``folders`` that no session of this server holds and no run names.

    A run names its pictures in its manifest, whatever version of this program wrote that.
    """
    held = {held.path.parent for held in _HOLDERS}
    if not (unneeded := [folder for folder in folders if folder not in held]):
        return
    kept = runs_folder()
    manifests = [*kept.glob(f"*/{MANIFEST_FILE}"), *kept.glob(f"{BIN}/*/{MANIFEST_FILE}")]
    try:
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in manifests]
    except OSError:  # whether it is needed cannot be known
        return
    for folder in unneeded:
        if not any(folder.name in text for text in texts):
            shutil.rmtree(folder, ignore_errors=True)


def _archive(files: Sequence[UploadedFile]) -> tuple[str, bytes]:
    """The name and the bytes of the zip archive that ``files`` are, or that is made of them."""
    if files[0].name.lower().endswith(".zip"):
        return files[0].name, files[0].getvalue()
    return "uploaded pictures.zip", _packed([(file.name, file.getvalue()) for file in files])


def _packed(files: Sequence[tuple[str, bytes]]) -> bytes:
    """A zip archive of ``files``: the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        names = distinct([Path(name).name for name, _ in files])
        for name, (_, data) in zip(names, files, strict=True):
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _keep(name: str, data: bytes) -> Path:
    """Where the archive ``data`` lies from now on: beside the runs, under its digest."""
    folder = runs_folder() / UPLOADS / hashlib.sha256(data).hexdigest()[:32]
    path = folder / f"{Path(name).stem[:60] or 'upload'}.zip"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()  # young again, should an earlier session have left it
        if not path.exists():
            write_whole(path, data)
    except OSError as error:
        raise ParameterError(
            f"The upload cannot be kept in {runs_folder()}: {error.strerror}; the operator can "
            "name another folder in the setting 'runs'."
        ) from error
    return path
