"""Checks of an imported run before it is opened.

Its manifest is checked here. Its Parquet files are read, checked and rewritten by ``importer`` in a
process with limits on memory and time: a file of a few bytes may expand to any size.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from robustness import models
from robustness.base.disk import occupied
from robustness.base.errors import RobustnessError, RunError
from robustness.base.limited_worker import (
    Worker,
    WorkerDiedError,
    WorkerLateError,
    WorkerTimeError,
)
from robustness.evaluation.condition import readable
from robustness.models import imported_labels
from robustness.pictures.fitting import check_fit
from robustness.runs.manifest import FINISHED, MAX_TEXT, Manifest
from robustness.runs.row_checks import ExpectedRows
from robustness.runs.run import Run

MEMORY = 6 * 10**8
FIGURES_MEMORY = 2 * 10**9
"""Bytes for the files of a run, and for its figures, beside twice their size."""

SECONDS, BYTES_A_SECOND = 60, 10**6
"""CPU time for any import, and bytes per further second."""

AT_ONCE, PATIENCE = 2, 120.0
"""Most imports at once in this process, and the longest wait in seconds for a turn."""

MAX_CONDITIONS, MAX_MODELS = 10_000, 200
MAX_CELLS, MAX_TESTS = 20_000, 120_000
"""Models times conditions, and pairs of models times conditions: the figures grow with both."""

_SLOWER = 3  # seconds for each second of CPU time: others use the processor, too
_MOST_CLASSES = 2**31
_TURNS = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def importer() -> Iterator[Worker]:
    """A process for the files of one run, which starts at once; raises ``RunError`` if busy."""
    if not _TURNS.acquire(timeout=PATIENCE):
        raise RunError("Other imports are not finished yet: try again in a few minutes.")
    try:
        worker = Worker("robustness.runs.import_process")
        try:
            yield worker
        finally:
            worker.end()
    finally:
        _TURNS.release()


def screen(folder: Path, manifest: Manifest, worker: Worker) -> Manifest:
    """Have the Parquet files in ``folder`` checked and rewritten; return the manifest of these.

    Raises ``RunError`` unless they can be those of ``manifest``, ``OSError`` if they cannot be
    written.
    """
    _check_manifest(manifest)
    files = {path.name: path.stat().st_size for path in folder.glob("*.parquet")}
    _expect(manifest, files == dict(manifest.parts), "its files of rows differ from its manifest")
    size = occupied(folder)
    question = {
        "folder": str(folder),
        "expected": asdict(_expected(folder, manifest)),
    }
    limits = MEMORY + 2 * size, SECONDS + size // BYTES_A_SECOND
    return manifest.updated(parts=_answered(question, manifest, worker, "files", *limits)["parts"])


def work_out_figures(folder: Path, manifest: Manifest, worker: Worker) -> None:
    """Have the figures of ``manifest``, now the run in ``folder``, written there for all visitors.

    Raises as ``screen``, also where they take more than a run in good faith needs.
    """
    size = occupied(folder)
    limits = FIGURES_MEMORY + 2 * size, SECONDS + size // BYTES_A_SECOND
    _answered({"folder": str(folder)}, manifest, worker, "figures", *limits)


def _answered(
    question: Mapping[str, Any],
    manifest: Manifest,
    worker: Worker,
    what: str,
    memory: int,
    seconds: int,
) -> dict[str, Any]:
    """The answer of the ``importer`` about ``what``; raises as ``screen``."""
    try:
        answer = worker.ask(
            json.dumps(question).encode(),
            b"",
            memory=memory,
            seconds=seconds,
            deadline=time.monotonic() + _SLOWER * seconds,
        )
    except (WorkerTimeError, WorkerLateError) as error:
        raise _refused(manifest, f"its {what} take more than {seconds} s to read") from error
    except WorkerDiedError as error:
        problem = f"its {what} are damaged, or take more than {memory / 1e9:.1f} GB of memory"
        raise _refused(manifest, problem) from error
    document: dict[str, Any] = json.loads(answer)
    if "problem" in document:
        raise _refused(manifest, document["problem"])
    if "unwritten" in document:
        raise OSError(*document["unwritten"])
    return document


def _expected(folder: Path, manifest: Manifest) -> ExpectedRows:
    """The rows that ``manifest`` promises."""
    imported_labels.note(manifest.classes)
    spec = manifest.spec
    labels = [models.classes(name) for name in spec.model_names]
    return ExpectedRows(
        models=list(spec.model_names),
        classes=[_MOST_CLASSES if names is None else len(names) for names in labels],
        conditions=[condition.id for condition in spec.conditions],
        perturbations=[condition.name for condition in spec.conditions],
        remedies=[chain.id for chain in spec.remedies],
        pictures=manifest.dataset.pictures,
        images=manifest.images,
        unreadable=manifest.unreadable,
        content=manifest.content,
        is_from_table=Run(folder, manifest, ()).is_from_table,
    )


def _check_manifest(manifest: Manifest) -> None:
    """Raise ``RunError`` unless ``manifest`` is that of a finished run that can be evaluated."""
    spec = manifest.spec
    try:
        check_fit(spec.fit)
    except RobustnessError as error:
        raise _refused(manifest, str(error).removesuffix(".")) from error
    _expect(manifest, isinstance(spec.side, int), f"expected a side in pixels, got {spec.side!r}")
    _expect(manifest, manifest.status == FINISHED, "it is not finished")
    several = 1 <= len(spec.models) <= MAX_MODELS and 1 <= len(spec.conditions) <= MAX_CONDITIONS
    _expect(manifest, several, "it requests nothing, or far more than it can have")
    cells = len(spec.models) * len(spec.conditions)
    few = cells <= MAX_CELLS and cells * (len(spec.models) - 1) // 2 <= MAX_TESTS
    _expect(
        manifest,
        few,
        f"expected at most {MAX_CELLS:,} models times conditions and {MAX_TESTS:,} pairs of models "
        f"times conditions, got {len(spec.models):,} models under {len(spec.conditions):,} "
        "conditions",
    )
    registered = all(readable(condition.id) for condition in spec.conditions)
    _expect(manifest, registered, "one of its conditions is invalid")
    _expect(manifest, _is_time(manifest.created), "its creation has no date and time (ISO 8601)")
    named = all(len(name) <= MAX_TEXT for name in spec.model_names)
    _expect(manifest, named, "the name of a model is too long")


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _expect(manifest: Manifest, fine: bool, otherwise: str) -> None:
    if not fine:
        raise _refused(manifest, otherwise)


def _refused(manifest: Manifest, problem: str) -> RunError:
    return RunError(f"The run {manifest.id} is refused: {problem}.")
