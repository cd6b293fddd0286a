"""Inspect model files from outside in processes with limits on memory and time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustness.base.disk import occupied
from robustness.base.errors import NotInspectedError
from robustness.base.limited_worker import (
    Worker,
    WorkerDiedError,
    WorkerLateError,
    WorkerTimeError,
)
from robustness.models.file_formats.formats import all_files

SECONDS = 60
"""Of work on a file, beside what its size explains. EfficientNet-Lite0 takes 2."""

BYTES = 2 * 10**9
"""Of memory, beside what its size explains: ten times what EfficientNet-Lite0 takes."""

_SECONDS_A_BYTE = 1 / 10**7
_BYTES_A_BYTE = 8
_PATIENCE = 3
"""Seconds to wait for each second of work: others use the processor, too."""


def inspection(
    module: str, path: Path, request: Mapping[str, Any], *, more_memory: int = 0
) -> dict[str, Any]:
    """The answer of the worker ``module`` to ``request`` about the file ``path``.

    ``request`` and answer are JSON. A process that ends without one gives a ``problem``, a clause.
    Raises ``NotInspectedError`` where others use the processor.
    """
    size = sum(map(occupied, all_files(path)))
    seconds = SECONDS + round(size * _SECONDS_A_BYTE)
    memory = BYTES + _BYTES_A_BYTE * size + more_memory
    worker = Worker(module)
    try:
        answer = worker.ask(
            json.dumps({"path": str(path), **request}).encode(),
            b"",
            memory=memory,
            seconds=seconds,
            deadline=time.monotonic() + _PATIENCE * seconds,
        )
    except WorkerTimeError:
        return {"problem": f"it takes more than {seconds} s to read and ask; simplify its graph"}
    except WorkerLateError as error:
        raise NotInspectedError(
            f"{path.name} was not examined within {_PATIENCE * seconds} s, as the machine is busy. "
            "Try again later."
        ) from error
    except WorkerDiedError:
        return {
            "problem": "the process that read it died: the file is damaged, or takes more than "
            f"{memory / 1e9:.1f} GB of memory"
        }
    finally:
        worker.end()
    found: dict[str, Any] = json.loads(answer)
    return found
