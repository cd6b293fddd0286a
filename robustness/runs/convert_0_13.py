"""Runs that version 0.13 wrote, as this version writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustness.base.disk import read_regular, require_regular

VERSION = 3
"""The number of the run format."""

_TEXTS = {"title": "title.txt", "note": "note.txt", "stopped": "stopped.txt"}
NOTES_FILES = ("title.txt", "tags.txt", "note.txt")
"""Files of an exported run that say what people said of it."""

_MAX_BYTES = 8192


def record(folder: Path, head: Mapping[str, Any]) -> dict[str, Any]:
    """``head``, which stands in the ``manifest.json`` of the run in ``folder``, in this version.

    While a run went on, files of rows counted without being named in it.
    """
    if head.get("status") == "finished":
        return dict(head)
    return {**head, "parts": _parts(folder, head.get("parts"))}


def _parts(folder: Path, named: object) -> dict[str, int]:
    """The sizes of the files of an unfinished run, by name, that hold its rows.

    A file with a long name holds the rows of others, which it replaces, once it is named.
    """
    chunks = {}
    for path in sorted(folder.glob("part-*.parquet")):
        with suppress(OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            require_regular(path)
            about = (pq.read_schema(path).metadata or {})[b"robustness"]
            chunks[path] = set(json.loads(about)["chunks"])
    joined = {path for path in chunks if len(path.stem) == len("part-") + 12}
    replacing = {path for path in joined if isinstance(named, dict) and path.name in named}
    replaced = {number for path in replacing for number in chunks[path]}
    counted = [
        path
        for path in chunks
        if path in replacing or (path not in joined and not replaced.issuperset(chunks[path]))
    ]
    return {path.name: path.stat().st_size for path in counted}


def notes(folder: Path) -> dict[str, Any]:
    """The values of ``notes.Notes`` of the run, or the folder of runs, ``folder``."""
    values: dict[str, Any] = {key: _text(folder / name) for key, name in _TEXTS.items()}
    values["tags"] = (_text(folder / "tags.txt"),)
    values["baseline"] = _text(folder / ".baseline")
    for key in ("imported", "restored"):
        with suppress(OSError):
            values[key] = (folder / key).stat().st_mtime
    values["imported_by"] = _text(folder / "imported")
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(read_regular(folder / "deleted.json", _MAX_BYTES))
        values |= {"deleted": float(note["when"]), "deleted_by": str(note["by"])}
    return values


def _text(file: Path) -> str:
    with suppress(OSError):
        return read_regular(file, _MAX_BYTES).decode(errors="replace")
    return ""
