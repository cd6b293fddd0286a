"""Results of a finished run, computed once and stored, each in a file of its own.

They lie in the folder of the run, signed by the installation that computed them: those of another
one are computed again from the rows. A stored result is used only where its key is still the same.
The key is made of the rows, the images, the request with the versions and plugins that computed the
rows, the names of the models' classes, and a ``version`` of the result: the ``code_digest``, or one
of its own for results that other code does not put out of date.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import threading
import zlib
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from robustness import models
from robustness.base import secret
from robustness.base.errors import ParameterError
from robustness.base.files import read_regular, write_whole
from robustness.base.files import version as file_version
from robustness.base.validation import checked_json
from robustness.runs.manifest import FINISHED, Manifest

FIGURES = "figures"
FAILURES = "failures"
HEADLINE = "headline"
CALIBRATIONS = "calibrations"
"""Names of results."""

_MAX_FILE_BYTES = 64 * 2**20
_MAX_TEXT_BYTES = 512 * 2**20
_PURPOSE = "stored result"
_SIGNATURE_BYTES = 65  # with the end of its line

_CHANGING = threading.Lock()
_COMPUTING: WeakValueDictionary[Path, threading.Lock] = WeakValueDictionary()
"""By the file of a result: the lock of the thread that computes it, while any thread needs it."""

Kind = TypeVar("Kind")
"""The type of a result: a dataclass, or a list of them, that JSON holds whole."""


def file(folder: Path, name: str) -> Path:
    """The file of the result ``name`` of the run in ``folder``."""
    return folder / f"{name}.json.gz"


def stored(
    folder: Path,
    manifest: Manifest,
    name: str,
    kind: type[Kind],
    version: str,
    compute: Callable[[], Kind],
) -> Kind:
    """The stored result ``name`` of the run in ``folder``, else what ``compute`` returns.

    That is then stored, unless the run is unfinished or the disk does not take it. Where several
    threads ask, the first one computes, and the others wait and read what it stored.
    """
    path = file(folder, name)
    with _CHANGING:
        computing = _COMPUTING.setdefault(path, threading.Lock())
    with computing:
        result = read(folder, manifest, name, kind, version)
        if result is None:
            result = compute()
            write(folder, manifest, name, result, version)
        return result


def write(folder: Path, manifest: Manifest, name: str, result: object, version: str) -> None:
    """Store ``result`` as the result ``name``, if that is possible."""
    if manifest.status != FINISHED:
        return
    # A ValueError tells of NaN or infinity, which odd rows may give and JSON does not have.
    with contextlib.suppress(OSError, ValueError):
        text = json.dumps(result, allow_nan=False, default=_fields)
        key = _key(folder, manifest, version)
        signature = secret.signature(_PURPOSE, f"{name}\n{key}\n{text}")
        lines = f"{signature}\n{text}".encode()
        write_whole(file(folder, name), gzip.compress(lines, compresslevel=5, mtime=0))


def _fields(value: object) -> dict[str, Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"A result cannot hold a {type(value).__name__}.")


def read(
    folder: Path, manifest: Manifest, name: str, kind: type[Kind], version: str
) -> Kind | None:
    """The result ``name`` that ``write`` stored for this very run, as a ``kind``.

    Returns None if there is none, its file is damaged, or its key or signature is another.
    """
    try:
        data = read_regular(file(folder, name), _MAX_FILE_BYTES)
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
            signature = unpacked.readline(_SIGNATURE_BYTES).decode().rstrip("\n")
            text = unpacked.read(_MAX_TEXT_BYTES + 1)
        if len(text) > _MAX_TEXT_BYTES:
            return None
        key = _key(folder, manifest, version)
        if not secret.is_signed(_PURPOSE, f"{name}\n{key}\n{text.decode()}", signature):
            return None
        return checked_json(kind, text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, ParameterError):
        return None  # a file that is missing or damaged


def _key(folder: Path, manifest: Manifest, version: str) -> str:
    rows = [manifest.key, manifest.content, dict(manifest.parts), manifest.images, manifest.status]
    images_version = None
    with contextlib.suppress(OSError):
        images_version = file_version(folder / "images.parquet")[:2]
    classes = []
    for labels, model_names in models.by_labels(manifest.spec.model_names):
        titles = [[name, models.label(name)] for name in model_names]
        classes.append([labels.title, labels.key, titles])
    identity = json.dumps([rows, images_version, version, classes])
    return hashlib.sha256(identity.encode()).hexdigest()
