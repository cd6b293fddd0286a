"""Results of a finished run, worked out once and stored, each in a file of its own.

They lie in the folder of the run or, of a foreign one, in the state folder. They are those of their
key: the rows, the images, the request with the versions and plugins that computed them, the names
of the models' classes, and the code that works them out.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import robustness
from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.files_and_locks import read_regular, version, write_whole
from robustness.base.pydantic_validation import checked_json
from robustness.runs import run_registration_and_origin
from robustness.runs.manifest import FINISHED, Manifest

FIGURES, FAILURES, HEADLINE = "figures", "failures", "headline"
MAPS, CALIBRATIONS = "maps", "calibrations"
"""Names of results."""

_MOST = 64 * 2**20  # bytes of a file
_MOST_TEXT = 512 * 2**20
_KEY_BYTES = 65  # a digest, and the end of its line
_ROOMS = ("evaluation", "metrics", "report/questions", "runs", "statistics")
"""The rooms whose code works out results, and changes more often than the version."""

Kind = TypeVar("Kind")
"""What a result is: a dataclass, or a list of them, that JSON holds whole."""


@cache
def code() -> str:
    """A digest of the code that works out results."""
    root = Path(robustness.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(path for room in _ROOMS for path in (root / room).rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def file(folder: Path, name: str) -> Path:
    """The file of the result ``name`` of the run in ``folder``."""
    place = (
        folder
        if run_registration_and_origin.is_own(folder)
        else run_registration_and_origin.stored(folder)
    )
    return place / f"{name}.json.gz"


def stored(
    folder: Path, manifest: Manifest, name: str, kind: type[Kind], compute: Callable[[], Kind]
) -> Kind:
    """The result ``name`` of the run in ``folder``; what ``compute`` returns is stored.

    Nothing is stored of an unfinished run, nor where the disk does not take it.
    """
    result = read(folder, manifest, name, kind)
    if result is None:
        result = compute()
        write(folder, manifest, name, result)
    return result


def write(
    folder: Path, manifest: Manifest, name: str, result: object, own_version: str = ""
) -> None:
    """Store ``result`` as the result ``name``, if that is possible.

    With a version of its own it does not depend on the code in general.
    """
    if manifest.status != FINISHED:
        return
    with contextlib.suppress(OSError, ValueError):  # a number that is none, as of odd rows
        text = json.dumps(result, allow_nan=False, default=_fields)
        lines = f"{_key(folder, manifest, own_version)}\n{text}".encode()
        write_whole(file(folder, name), gzip.compress(lines, compresslevel=5, mtime=0))


def _fields(value: object) -> dict[str, Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"A result cannot hold a {type(value).__name__}.")


def read(
    folder: Path, manifest: Manifest, name: str, kind: type[Kind], own_version: str = ""
) -> Kind | None:
    """What ``write`` stored for this very run; None for nothing, a damaged file or another kind."""
    try:
        data = read_regular(file(folder, name), _MOST)
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
            if unpacked.readline(_KEY_BYTES) != f"{_key(folder, manifest, own_version)}\n".encode():
                return None
            text = unpacked.read(_MOST_TEXT + 1)
        return checked_json(kind, text) if len(text) <= _MOST_TEXT else None
    except (OSError, EOFError, zlib.error, ParameterError):  # a file that is missing or damaged
        return None


def _key(folder: Path, manifest: Manifest, own_version: str) -> str:
    classes = [
        [labels.title, labels.key, [[name, models.label(name)] for name in names]]
        for labels, names in models.by_labels(manifest.spec.model_names)
    ]
    images = None
    with contextlib.suppress(OSError):
        images = version(folder / "images.parquet")[:2]
    rows = [manifest.key, manifest.content, dict(manifest.parts), manifest.images, manifest.status]
    of = [rows, images, own_version or code(), classes]
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()
