"""Reads a model file from outside in a process with limits on its memory and time."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from robustness.base.disk import occupied, require_regular
from robustness.base.errors import WeightsError
from robustness.base.limited_worker import (
    Worker,
    WorkerDiedError,
    WorkerLateError,
    WorkerTimeError,
)
from robustness.models.file_formats.kinds import TFLITE, all_files, misplaced
from robustness.models.file_formats.tflite_file import TfliteError, tflite_facts
from robustness.models.graph_files.study_model import Use
from robustness.models.labels import imagenet
from robustness.models.model_record import ModelRecord, UserFile
from robustness.models.weights import mark_unusable

SECONDS = 60
"""Of work on a file, beside what its size explains. EfficientNet-Lite0 takes 2."""

BYTES = 2 * 10**9
"""Of memory, beside what its size explains: ten times what EfficientNet-Lite0 takes."""

_SECONDS_A_BYTE = 1 / 10**7
_BYTES_A_BYTE = 8
_PATIENCE = 3
"""Seconds to wait for each second of work: others use the processor, too."""


def examine(record: ModelRecord, file: UserFile, side: int, target: Path) -> tuple[str, ...]:
    """Has the study model of ``record`` for images of ``side`` written to ``target``.

    Gives its feature stages. Raises ``WeightsError`` for a file that is not the image classifier of
    its description, that takes more than its share of memory or time, or that cannot be read;
    ``OSError`` where nothing can be written to ``target``.
    """
    try:
        require_regular(file.path)  # a pipe may never end
        problem = misplaced(file.path)
        if not problem:
            found = _answer(file.path, use_of(record, file, side), target)
            problem = str(found.get("problem", ""))
    except TfliteError as error:
        problem = f"it is not a TensorFlow Lite model ({error})"
    except OSError as error:
        problem = f"it cannot be read: {error.strerror}"
    if problem:
        reason = f"{record.name}: {file.path.name} cannot be used: {problem}."
        with suppress(OSError):  # one without content is not known by it
            mark_unusable(record, reason)
        raise WeightsError(reason)
    if "unwritten" in found:
        raise OSError(found["unwritten"])
    return tuple(found["stages"])


def use_of(record: ModelRecord, file: UserFile, side: int) -> Use:
    """How the file is to be used; raises ``TfliteError`` and ``OSError`` for one that is none."""
    is_tflite = file.path.suffix.lower() == TFLITE
    facts = tflite_facts(file.path) if is_tflite else None
    labels = record.labels()
    return Use(
        side=side,
        size=record.input_size,
        normalisation=record.normalisation,
        logits=file.output == "logits",
        classes=len(labels),
        background=labels == imagenet(),
        features=file.features,
        input=facts.input if facts else None,
        output=facts.output if facts else None,
    )


def _answer(path: Path, use: Use, target: Path) -> dict[str, list[str] | str]:
    """What the process says of the file: its stages, or the problem."""
    size = sum(map(occupied, all_files(path)))
    seconds = SECONDS + round(size * _SECONDS_A_BYTE)
    memory = BYTES + _BYTES_A_BYTE * size
    asked = {"path": str(path), "use": asdict(use), "to": str(target)}
    worker = Worker("robustness.models.graph_files.examiner")
    try:
        answer = worker.ask(
            json.dumps(asked).encode(),
            b"",
            memory=memory,
            seconds=seconds,
            deadline=time.monotonic() + _PATIENCE * seconds,
        )
    except (WorkerTimeError, WorkerLateError):
        return {"problem": f"it takes more than {seconds} s to read and ask; simplify its graph"}
    except WorkerDiedError:
        return {
            "problem": "the process that read it died: the file is damaged, or takes more than "
            f"{memory / 1e9:.1f} GB of memory"
        }
    finally:
        worker.end()
    found: dict[str, list[str] | str] = json.loads(answer)
    return found
