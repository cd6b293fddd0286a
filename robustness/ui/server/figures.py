"""What the operator is told of this server, in figures without anybody's data.

To tell more, write a function that gives ``Figure`` objects and add it to ``COLLECTORS``: the
operator's page and Prometheus have it then.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from streamlit import runtime

from robustness.base.disk import occupied
from robustness.evaluation.provenance import versions
from robustness.models.loaded import LOADED
from robustness.models.memory import budget
from robustness.runs import deleted, listing
from robustness.ui.kit import jobs
from robustness.ui.kit.films import FILMS
from robustness.ui.kit.kept import KEPT
from robustness.ui.kit.run_link import runs_folder
from robustness.ui.server.faults import FAULTS
from robustness.ui.server.latency import BOUNDS, UPDATES

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"

FRESH_SECONDS = 15.0
"""So long the disk is not looked at again."""

_BEGAN = time.time()


@dataclass(frozen=True)
class Sample:
    """One value of a figure; ``suffix`` is what a part of a histogram is called."""

    value: float
    labels: Mapping[str, str] | None = None
    suffix: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure in Prometheus' sense: name, kind, what it means in a line, and its values."""

    name: str
    kind: str
    meaning: str
    samples: tuple[Sample, ...]


def _gauge(name: str, meaning: str, value: float) -> Figure:
    return Figure(name, GAUGE, meaning, (Sample(value),))


def _server() -> Iterator[Figure]:
    said = {re.sub(r"\W", "_", name): text for name, text in versions().items()}
    yield Figure("info", GAUGE, "Versions, and the engine.", (Sample(1, said),))
    yield _gauge("up_seconds", "Time since the server started.", time.time() - _BEGAN)
    yield _gauge("memory_bytes", "Memory of the server's process.", resident())
    yield _gauge("sessions", "Browsers that have a page open.", sessions())


def _models() -> Iterator[Figure]:
    yield _gauge("models_loaded", "Models in memory.", len(LOADED.names()))
    yield _gauge("models_bytes", "Memory of these models, estimated.", LOADED.bytes())
    yield _gauge("models_budget_bytes", "Memory that models may take.", budget())
    held = KEPT.bytes + FILMS.bytes
    yield _gauge("results_bytes", "Results and films that are kept for all sessions.", held)


def _disk() -> Iterator[Figure]:
    folder = runs_folder()
    kept, binned, taken = _held(folder)
    yield _gauge("runs", "Runs that are kept.", kept)
    yield _gauge("runs_deleted", "Runs in the bin.", binned)
    yield _gauge("runs_bytes", "Disk that the folder of runs takes.", taken)
    with suppress(OSError):
        free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
        yield _gauge("disk_free_bytes", "Disk that is free where runs are kept.", free)


def _jobs() -> Iterator[Figure]:
    found = jobs.wanted(runs_folder())
    working = sum(run.seen is not None for run in found)
    yield _gauge("jobs_working", "Runs that are worked on.", working)
    yield _gauge("jobs_waiting", "Runs that wait for their turn.", len(found) - working)


def _updates() -> Iterator[Figure]:
    samples = []
    for kind, spread in UPDATES.spreads().items():
        uppers = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        for upper, count in zip(uppers, accumulate(spread.counts), strict=True):
            samples.append(Sample(count, {"kind": kind, "le": upper}, "_bucket"))
        samples.append(Sample(spread.seconds, {"kind": kind}, "_sum"))
        samples.append(Sample(spread.count, {"kind": kind}, "_count"))
    meaning = "Time of updates of the Live page, by what was asked for."
    yield Figure("update_seconds", HISTOGRAM, meaning, tuple(samples))


def _errors() -> Iterator[Figure]:
    samples = [Sample(count, {"type": kind}) for kind, count in FAULTS.counts().items()]
    yield Figure("errors_total", COUNTER, "Errors that nobody expected.", tuple(samples))


COLLECTORS: list[Callable[[], Iterable[Figure]]] = [
    _server,
    _models,
    _disk,
    _jobs,
    _updates,
    _errors,
]
"""All that is told, in this order."""


def all_figures() -> list[Figure]:
    """What all of ``COLLECTORS`` tell."""
    return [figure for collect in COLLECTORS for figure in collect()]


def text(found: Iterable[Figure]) -> str:
    """The figures ``found``, as Prometheus reads them (text format 0.0.4)."""
    lines = []
    for figure in found:
        name = f"robustness_{figure.name}"
        lines += [f"# HELP {name} {figure.meaning}", f"# TYPE {name} {figure.kind}"]
        lines += [
            f"{name}{sample.suffix}{_labels(sample.labels)} {sample.value!r}"
            for sample in figure.samples
        ]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str] | None) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def resident() -> int:
    """Bytes of this process in physical memory; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def sessions() -> int:
    """How many browsers have a page open."""
    manager = getattr(runtime.get_instance(), "_session_mgr", None) if runtime.exists() else None
    return manager.num_active_sessions() if manager else 0


_SEEN: dict[Path, tuple[float, tuple[int, int, int]]] = {}


def _held(folder: Path) -> tuple[int, int, int]:
    """How many runs are kept in ``folder``, how many are in its bin, and the bytes of it all."""
    when, found = _SEEN.get(folder, (-FRESH_SECONDS, (0, 0, 0)))
    if time.monotonic() - when >= FRESH_SECONDS:
        found = (
            sum(entry.manifest is not None for entry in listing(folder)),
            len(deleted(folder)),
            occupied(folder),
        )
        _SEEN[folder] = time.monotonic(), found
    return found
