"""Reads a model file from outside in a process with limits on its memory and time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robustness.base.disk import require_regular
from robustness.base.errors import WeightsError
from robustness.models.file_formats.formats import (
    BY_OPENVINO,
    check_weights,
    format_of,
    native_runtime,
)
from robustness.models.file_formats.model_format import UnusableError
from robustness.models.graph_files.preprocessing import Shape, Use
from robustness.models.inference.kept import Written
from robustness.models.inspection_process import inspection
from robustness.models.labels import imagenet
from robustness.models.model_record import ModelRecord, UserFile
from robustness.models.weights.ready import mark_unusable

_EXAMINER = "robustness.models.graph_files.examiner"


def examine(record: ModelRecord, file: UserFile, side: int, target: Path) -> Written:
    """Have the study model of ``record`` for images of ``side`` written to ``target``.

    Raises ``WeightsError`` for a file that is not the image classifier of
    its description, that takes more than its share of memory or time, or that cannot be read;
    ``OSError`` where nothing can be written to ``target``.
    """

    def asked() -> dict[str, Any]:
        return {
            "use": asdict(use_of(record, file, side)),
            "native": native_runtime(file.path, file.runtime) is not None,
            "fallback": file.runtime != BY_OPENVINO,
            "to": str(target),
        }

    found = _examined(file.path, asked)
    if "problem" in found:
        reason = f"{record.name}: {file.path.name} cannot be used: {found['problem']}."
        with suppress(OSError):  # one without content is not known by it
            mark_unusable(record, reason)
        raise WeightsError(reason)
    if "unwritten" in found:
        raise OSError(found["unwritten"])
    return Written(tuple(found["stages"]), tuple(found["missing"]), found["refusal"])


def told(path: Path, shape: Shape | None) -> dict[str, Any]:
    """Facts of the file ``path``: its ``shape``, ``classes``, and whether it outputs ``logits``.

    Each is None if unknown; where its input is free, its shape is the one given.
    Raises ``WeightsError`` for a file that cannot be used.
    """

    def asked() -> dict[str, Any]:
        return {"shape": shape, "native": False, "fallback": True}

    found = _examined(path, asked)
    if "problem" in found:
        raise WeightsError(f"{path.name} cannot be used: {found['problem']}.")
    return found


def _examined(path: Path, asked: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the process with limits answers to what is ``asked``, or the ``problem``."""
    try:
        require_regular(path)  # a pipe may never end
        check_weights(path)
        request = asked()
        runtime = format_of(path).runtime if request["native"] else None
        more = runtime.import_bytes if runtime else 0
        return inspection(_EXAMINER, path, request, more_memory=more)
    except UnusableError as error:
        return {"problem": str(error)}
    except OSError as error:
        return {"problem": f"it cannot be read: {error.strerror}"}


def use_of(record: ModelRecord, file: UserFile, side: int) -> Use:
    """How the file is to be used; raises ``UnusableError`` and ``OSError``."""
    numbers, labels = format_of(file.path).numbers(file.path), record.labels()
    return Use(
        side=side,
        shape=record.shape,
        normalisation=record.normalisation,
        logits=file.output == "logits",
        classes=len(labels),
        background=labels == imagenet(),
        features=file.features,
        input=numbers.input,
        output=numbers.output,
        quantised=numbers.quantised,
    )
