"""The runs that this installation began: every other run is foreign.

A file in the state folder, which no copy of runs carries along, lists them by their folders, with
digests of what was written there. So a run from elsewhere cannot pass for one of them, whatever it
says of itself: it lies in another folder, or its manifest has another digest. A run that its owner
moved or changed is foreign, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from robustness.base import settings
from robustness.base.errors import ParameterError, RunError
from robustness.base.files_and_locks import Version, file_lock, read_regular, version, write_whole
from robustness.base.pydantic_validation import StrictRecord, checked_json

FILE = "installation.json"

MANIFEST = "manifest.json"
MAX_MANIFEST = 32 * 1024**2
"""Bytes of the manifest of a run."""

_MOST = 256 * 2**20


class OwnRun(StrictRecord):
    """A run that this installation began.

    ``manifests`` are the SHA-256 of its manifest, and of the one that is about to replace it.
    ``files`` is that of its other files once it is finished, ``versions`` that of their sizes and
    times when they were last found to be these.
    """

    manifests: tuple[str, ...]
    files: str = ""
    versions: str = ""

    def wrote(self, manifest: bytes) -> bool:
        """Whether ``manifest`` is the one that this installation wrote."""
        return _digest(manifest) in self.manifests


class _Installation(StrictRecord):
    runs: dict[str, OwnRun]


def register(folder: Path, manifest: bytes, files: Iterable[str] = ()) -> None:
    """List the run in ``folder``, where ``manifest`` is written next, with its finished ``files``.

    Raises ``RunError`` where the state folder cannot be written to, ``OSError`` where a file cannot
    be read.
    """
    names, key, last = sorted(files), _key(folder), _digest(_manifest(folder))
    versions, contents = (_versions(folder, names), _contents(folder, names)) if names else ("", "")
    with _changed() as runs:
        before = (last,) if key in runs and last in runs[key].manifests else ()
        manifests = *before, _digest(manifest)
        runs[key] = OwnRun(manifests=manifests, files=contents, versions=versions)


def own_run(folder: Path) -> OwnRun | None:
    """The run that this installation began in ``folder``, which may hold another one by now."""
    runs = _runs()
    return runs.get(os.path.abspath(folder)) or runs.get(_key(folder))


def is_own(folder: Path) -> bool:
    """Whether this installation wrote the manifest in ``folder``."""
    # List and manifest are written one after the other, perhaps between the first two reads.
    return _is_own(folder) or _is_own(folder)


def _is_own(folder: Path) -> bool:
    own = own_run(folder)
    return own is not None and own.wrote(_manifest(folder))


def require_own(folder: Path) -> None:
    """Raise ``RunError`` for a foreign run: nobody works on it here."""
    if not is_own(folder):
        raise RunError(
            f"The run {folder.name} is foreign, from another installation, and cannot continue "
            "here: evaluate the images again."
        )


def is_intact(folder: Path, files: Iterable[str]) -> bool:
    """Whether the ``files`` of the finished own run in ``folder`` are as they were written.

    They are read only where their sizes or times have changed.
    """
    own, names = own_run(folder), sorted(files)
    try:
        versions = _versions(folder, names)
        if own is None or not own.files or own.versions == versions:
            return True
        if own.files != _contents(folder, names):
            return False
    except OSError:
        return False
    with suppress(RunError), _changed() as runs:
        if runs.get(_key(folder)) == own:
            runs[_key(folder)] = own.model_copy(update={"versions": versions})
    return True


def forget(folder: Path, to: Path | None = None) -> None:
    """Take the run that was in ``folder`` from the list, unless it is ``to`` be in another one.

    What is stored of a foreign run goes.
    """
    shutil.rmtree(stored(folder), ignore_errors=True)
    if own_run(folder):
        with suppress(RunError), _changed() as runs:
            own = runs.pop(_key(folder), None)
            if own and to:
                runs[_key(to)] = own


def stored(folder: Path) -> Path:
    """The folder in the state folder for what is known of the foreign run in ``folder``."""
    return settings.state_folder() / "foreign" / _digest(_key(folder).encode())[:32]


def _key(folder: Path) -> str:
    return os.path.realpath(folder)


def _manifest(folder: Path) -> bytes:
    with suppress(OSError):
        return read_regular(folder / MANIFEST, MAX_MANIFEST, follow=False)
    return b""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _contents(folder: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        with (folder / name).open("rb") as file:
            digest.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _versions(folder: Path, names: Iterable[str]) -> str:
    texts = [[name, *version(folder / name)] for name in names]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _file() -> Path:
    return settings.state_folder() / FILE


def _runs() -> Mapping[str, OwnRun]:
    """The runs of this installation by their folders; none where the file is missing or damaged."""
    path = _file()
    with suppress(OSError, ParameterError):
        return _read(path, version(path))
    return {}


@lru_cache(maxsize=1)
def _read(path: Path, _version: Version) -> Mapping[str, OwnRun]:
    return checked_json(_Installation, read_regular(path, _MOST)).runs


@contextmanager
def _changed() -> Iterator[dict[str, OwnRun]]:
    """The runs of this installation, which the caller changes; nobody else does meanwhile."""
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path):
            runs = dict(_read(path, version(path))) if path.exists() else {}
            before = dict(runs)
            yield runs
            if runs != before:
                listed = {folder: own.model_dump() for folder, own in runs.items()}
                write_whole(path, json.dumps({"runs": listed}).encode())
    except ParameterError as error:
        raise RunError(
            f"{FILE} in the state folder is damaged: restore it, or delete it; all runs are then "
            "foreign.",
            hint=f"It is {path}.",
        ) from error
    except OSError as error:
        raise RunError(
            f"{FILE} in the state folder cannot be written: {error.strerror}; make the folder "
            "writable, or name another in the setting 'cache'.",
            hint=f"The folder is {path.parent}.",
        ) from error
