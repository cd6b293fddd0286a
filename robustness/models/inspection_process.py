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
    Workers,
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


_EXAMINER = "robustness.models.graph_files.examiner"

KERAS_WORKERS = Workers(_EXAMINER, most=1, least=0)
"""Networks of Keras take turns in one process: importing TensorFlow takes seconds."""


def inspection(
    path: Path, request: Mapping[str, Any], *, more_memory: int = 0, keras: bool = False
) -> dict[str, Any]:
    """The answer of ``examiner`` to ``request`` about the model at ``path``.

    ``request`` and answer are JSON. ``keras`` is whether it is a network of Keras, without code of
    its own. A process that ends without an answer gives a ``problem``, a clause. Raises
    ``NotInspectedError`` where others use the processor.
    """
    size = sum(map(occupied, all_files(path)))
    seconds = SECONDS + round(size * _SECONDS_A_BYTE)
    memory = BYTES + _BYTES_A_BYTE * size + more_memory
    worker = KERAS_WORKERS if keras else Worker(_EXAMINER)
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
        if isinstance(worker, Worker):
            worker.end()
    found: dict[str, Any] = json.loads(answer)
    return found
