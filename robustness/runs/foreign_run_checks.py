"""Checks of a foreign run, one that this installation did not begin, before it is opened.

Its manifest is checked here. Its Parquet files are read and checked in a process with limits on
memory and time, since a file of a few bytes may expand to any size; the process then works out the
figures. Nothing is written to the folder of the run: the state folder keeps the results, and for
which sizes and times of the files they hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from robustness import models
from robustness.base import settings
from robustness.base.code_digest import code_digest
from robustness.base.errors import RunError
from robustness.base.files_and_locks import version, write_whole
from robustness.base.pydantic_validation import StrictRecord, read_json
from robustness.base.worker_process_pool import (
    Worker,
    WorkerDiedError,
    WorkerKilledError,
    WorkerLateError,
    WorkerTimeError,
)
from robustness.evaluation.perturbation_and_attack_conditions import readable
from robustness.runs import image_table, run_registration_and_origin
from robustness.runs.engines import is_from_table
from robustness.runs.manifest import FILE, FINISHED, MAX_TEXT, Manifest
from robustness.runs.row_specification_and_check import ExpectedRows

MEMORY = 6 * 10**8
FIGURES_MEMORY = 2 * 10**9
"""Bytes for the files of a run, and for its figures, beside twice their size."""

SECONDS, BYTES_A_SECOND = 60, 10**6
"""CPU time for any run, and bytes per further second."""

MAX_BYTES = 4 * 1024**3

AT_ONCE, PATIENCE = 2, 120.0
"""Most checks at once in this process, and the longest wait in seconds for a turn."""

MAX_MODELS, MAX_CELLS, MAX_TESTS = 200, 20_000, 120_000
"""Models, models times conditions, and pairs of models times these: the figures grow with all."""

_CHECKED = "checked.json"
_SETTINGS = (
    settings.CONFIG_VARIABLE,
    *(setting.variable for setting in (settings.CACHE, settings.MODELS, settings.PLUGINS)),
)
"""The variables that figures depend on."""
_SLOWER = 3  # seconds for each second of CPU time: others use the processor, too
_MOST_CLASSES = 2**31
_TURNS = threading.BoundedSemaphore(AT_ONCE)


class _Checked(StrictRecord):
    """The result of a check: ``files`` is the digest of what was checked, ``problem`` "" for none.

    ``folder`` is that of the run.
    """

    folder: str
    files: str
    problem: str


def check(folder: Path, manifest: Manifest) -> None:
    """Raise ``RunError`` unless the foreign run of ``manifest`` in ``folder`` can be opened.

    Its rows are checked if they have not been, or have changed since.
    """
    _check_manifest(folder, manifest)
    size = _check_files(folder, manifest)
    expected = asdict(_expected(manifest))
    versions = [version(folder / name) for name in (FILE, *sorted(manifest.parts))]
    texts = json.dumps([versions, expected, code_digest(__name__)])
    files = hashlib.sha256(texts.encode()).hexdigest()
    place = run_registration_and_origin.stored(folder)
    checked = read_json(_Checked, place / _CHECKED)
    if checked is None or checked.files != files:
        if not _TURNS.acquire(timeout=PATIENCE):
            raise RunError("Other runs are being checked: try again in a few minutes.")
        try:
            checked = read_json(_Checked, place / _CHECKED)  # another thread may have had its turn
            if checked is None or checked.files != files:
                problem = _problem(folder, manifest, expected, size)
                checked = _Checked(folder=str(folder), files=files, problem=problem)
                with suppress(OSError):
                    write_whole(place / _CHECKED, checked.model_dump_json().encode())
        finally:
            _TURNS.release()
    _expect(folder, not checked.problem, checked.problem)


def _problem(folder: Path, manifest: Manifest, expected: Mapping[str, Any], size: int) -> str:
    """What is wrong with the rows, "" for nothing; their figures are stored then."""
    place = run_registration_and_origin.stored(folder)
    _empty(place)
    with suppress(OSError):  # so that it is removed later even if this check does not end
        unchecked = _Checked(folder=str(folder), files="", problem="")
        write_whole(place / _CHECKED, unchecked.model_dump_json().encode())
    there = str(folder.absolute())  # the process may have another working directory
    question = {"folder": there, "parts": list(manifest.parts), "expected": expected}
    chosen = {name: os.environ.get(name, "") for name in _SETTINGS}
    limits = 2 * size, SECONDS + size // BYTES_A_SECOND
    worker = Worker("robustness.runs.foreign_process")
    try:
        return _answered(question, worker, "files", MEMORY + limits[0], limits[1]) or _answered(
            {"folder": there, "settings": chosen},
            *(worker, "figures", FIGURES_MEMORY + limits[0], limits[1]),
        )
    except WorkerLateError as error:
        raise RunError(
            f"The rows of the run {folder.name} could not be checked in time, as the machine is "
            "busy: try again."
        ) from error
    finally:
        worker.end()


def _empty(place: Path) -> None:
    """Make an empty folder ``place``; what beside it is of runs that are gone, goes too."""
    with suppress(OSError):
        for other in place.parent.iterdir():
            last = read_json(_Checked, other / _CHECKED)
            if other == place or (last is not None and not Path(last.folder).exists()):
                shutil.rmtree(other, ignore_errors=True)
    with suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)


def _answered(
    question: Mapping[str, Any], worker: Worker, what: str, memory: int, seconds: int
) -> str:
    """The problem with ``what`` that ``worker`` finds; raises ``WorkerLateError``, ``RunError``."""
    try:
        answer = worker.ask(
            json.dumps(question).encode(),
            b"",
            memory=memory,
            seconds=seconds,
            deadline=time.monotonic() + _SLOWER * seconds,
        )
    except WorkerKilledError as error:  # from outside: that says nothing of the files
        raise RunError(
            "The check of the run was ended by the system, as when memory runs out: try again."
        ) from error
    except WorkerTimeError:
        return f"its {what} take more than {seconds} s to read"
    except WorkerDiedError:
        return f"its {what} are damaged, or take more than {memory / 1e9:.1f} GB of memory"
    return str(json.loads(answer)["problem"])


def _expected(manifest: Manifest) -> ExpectedRows:
    """The rows that ``manifest`` promises."""
    spec = manifest.spec
    labels = [models.classes(name) for name in spec.model_names]
    keys = [
        name if names is None else names.key
        for name, names in zip(spec.model_names, labels, strict=True)
    ]
    return ExpectedRows(
        models=list(spec.model_names),
        classes=[_MOST_CLASSES if names is None else len(names) for names in labels],
        label_sets=[list(dict.fromkeys(keys)).index(key) for key in keys],
        conditions=[condition.id for condition in spec.conditions],
        perturbations=[condition.name for condition in spec.conditions],
        remedies=[chain.id for chain in spec.remedies],
        pictures=manifest.dataset.pictures,
        images=manifest.images,
        unreadable=manifest.unreadable,
        content=manifest.content,
        is_from_table=is_from_table(manifest.engine),
    )


def _check_files(folder: Path, manifest: Manifest) -> int:
    """Bytes of the files that ``manifest`` names; raises ``RunError`` unless it can be these."""
    parts = manifest.parts
    is_one = [name for name in parts if name.startswith("images")] == [image_table.FILE]
    _expect(folder, is_one, f"expected {image_table.FILE} and files of rows in its manifest")
    sizes = {}
    for name in parts:
        with suppress(OSError):
            status = (folder / name).lstat()
            _expect(folder, stat.S_ISREG(status.st_mode), f"{name} is a link, folder or device")
            sizes[name] = status.st_size
    _expect(folder, sizes == dict(parts), "its files of rows differ from its manifest")
    size = sum(sizes.values())
    _expect(folder, size <= MAX_BYTES, f"its {size:,} bytes are more than {MAX_BYTES:,}")
    return size


def _check_manifest(folder: Path, manifest: Manifest) -> None:
    """Raise ``RunError`` unless ``manifest`` is that of a finished run that can be evaluated."""
    spec = manifest.spec
    _expect(folder, manifest.status == FINISHED, "it is foreign and not finished")
    several = 1 <= len(spec.models) <= MAX_MODELS and bool(spec.conditions)
    _expect(folder, several, "it requests nothing, or far more than it can have")
    cells = len(spec.models) * len(spec.conditions)
    few = cells <= MAX_CELLS and cells * (len(spec.models) - 1) // 2 <= MAX_TESTS
    _expect(
        folder,
        few,
        f"expected at most {MAX_CELLS:,} models times conditions and {MAX_TESTS:,} pairs of models "
        f"times conditions, got {len(spec.models):,} models under {len(spec.conditions):,} "
        "conditions",
    )
    registered = all(readable(condition.id) for condition in spec.conditions)
    _expect(folder, registered, "one of its conditions is invalid")
    try:
        datetime.fromisoformat(manifest.created)
    except ValueError:
        _expect(folder, False, "its creation has no date and time (ISO 8601)")
    named = all(len(name) <= MAX_TEXT for name in spec.model_names)
    _expect(folder, named, "the name of a model is too long")


def _expect(folder: Path, fine: bool, otherwise: str) -> None:
    if not fine:
        raise RunError(f"The run {folder.name} is refused: {otherwise}.")
