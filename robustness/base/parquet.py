"""Reads untrusted Parquet tables in a worker process.

A file of a few bytes may expand to any size, and a damaged one may crash its reader.
"""

from __future__ import annotations

import atexit
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.base.files import require_regular, version
from robustness.base.workers import WorkerDiedError, WorkerLateError, Workers, WorkerTimeError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_FREE = 100_000
BYTES_FREE = 2**25
"""Rows and unpacked bytes that any file may have."""

MAX_RATIO = 100
"""Beyond these, a file may have a row and so many unpacked bytes for each of its bytes."""

MAX_BYTES = 4 * 2**30
"""Most bytes of a file."""

_MEMORY = 2**28
_SECONDS = 60  # beside what the size of the file explains
_WORKERS = Workers("robustness.base.parquet_process", 2)
atexit.register(_WORKERS.end)


def columns(path: Path) -> list[tuple[str, bool]]:
    """Return the name of each column of the file ``path``, and whether it is nested.

    Raises as ``read`` does.
    """
    return [(name, nested) for name, nested in _ask_worker(path, {})["columns"]]


def read(path: Path, names: Sequence[str] | None = None, ratio: int = MAX_RATIO) -> pa.Table:
    """Return the columns ``names`` of the file ``path``, by default all, as a table.

    Its memory is mapped from a file. Repeated values are written out: dictionaries become what they
    stand for. Raises ``ParameterError`` for a file that has far more rows, or more than ``ratio``
    times as many bytes unpacked; ``ValueError`` for one that is damaged; and ``OSError``, also for
    one of more than ``MAX_BYTES``.
    """
    import pyarrow as pa

    size = path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.arrow"
        request = {
            "wanted": names and list(names),
            "to": str(table),
            "rows": max(ROWS_FREE, size),
            "bytes": max(BYTES_FREE, ratio * size),
        }
        _ask_worker(path, request)
        return pa.ipc.open_file(pa.memory_map(str(table))).read_all()


def _ask_worker(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The answer of a process; raises as ``read`` does."""
    require_regular(path, MAX_BYTES)
    size = path.stat().st_size
    seconds = _SECONDS + size // 10**6
    try:
        answer = _WORKERS.ask(
            json.dumps({"path": str(path), **request}).encode(),
            b"",
            memory=_MEMORY + 2 * size + 3 * request.get("bytes", 0),
            seconds=seconds,
            deadline=time.monotonic() + 3 * seconds,
            file=(path, version(path)),
        )
    except (WorkerDiedError, WorkerTimeError, WorkerLateError) as error:
        raise ValueError("it is damaged, or takes too much memory or time") from error
    reply: dict[str, Any] = json.loads(answer)
    if "unwritten" in reply:
        raise OSError(*reply["unwritten"])
    if "damaged" in reply:
        raise ValueError("it is no whole Parquet file")
    if "problem" in reply:
        raise ParameterError(
            f"{path.name} is refused: its {size:,} bytes {reply['problem']}; write the table again "
            "with each row once."
        )
    return reply
