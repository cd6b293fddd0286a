"""Reads a model file from outside in a process with limits on its memory and time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robustness.base.disk import require_regular
from robustness.base.errors import WeightsError
from robustness.models.file_formats.kinds import (
    BY_OPENVINO,
    ONNX,
    TENSORFLOW,
    TFLITE,
    is_quantised,
    misplaced,
    runtime,
)
from robustness.models.file_formats.tflite_file import TfliteError, tflite_facts
from robustness.models.graph_files.preprocessing import Shape, Use
from robustness.models.inference.kept import Written
from robustness.models.inspection_process import inspection
from robustness.models.labels import imagenet
from robustness.models.model_record import ModelRecord, UserFile
from robustness.models.weights.ready import mark_unusable

_EXAMINER = "robustness.models.graph_files.examiner"

_TENSORFLOW_BYTES = 4 * 10**9
"""What TensorFlow's import reserves; onnxruntime's takes 0.07 GB."""


def examine(record: ModelRecord, file: UserFile, side: int, target: Path) -> Written:
    """Have the study model of ``record`` for images of ``side`` written to ``target``.

    Raises ``WeightsError`` for a file that is not the image classifier of
    its description, that takes more than its share of memory or time, or that cannot be read;
    ``OSError`` where nothing can be written to ``target``.
    """

    def asked() -> dict[str, Any]:
        return {
            "use": asdict(use_of(record, file, side)),
            "runtime": runtime(file.path, file.runtime),
            "onnxruntime": file.path.suffix.lower() == ONNX and file.runtime != BY_OPENVINO,
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
        facts = tflite_facts(path) if path.suffix.lower() == TFLITE else None
        output = asdict(facts.output) if facts and facts.output else None
        return {
            "shape": shape,
            "output": output,
            "quantised": is_quantised(path),
            "onnxruntime": path.suffix.lower() == ONNX,
        }

    found = _examined(path, asked)
    if "problem" in found:
        raise WeightsError(f"{path.name} cannot be used: {found['problem']}.")
    return found


def _examined(path: Path, asked: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the process with limits answers to what is ``asked``, or the ``problem``."""
    try:
        require_regular(path)  # a pipe may never end
        problem = misplaced(path)
        if problem:
            return {"problem": problem}
        request = asked()
        more = _TENSORFLOW_BYTES if request.get("runtime") == TENSORFLOW else 0
        return inspection(_EXAMINER, path, request, more_memory=more)
    except TfliteError as error:
        return {"problem": f"it is not a TensorFlow Lite model ({error})"}
    except OSError as error:
        return {"problem": f"it cannot be read: {error.strerror}"}


def use_of(record: ModelRecord, file: UserFile, side: int) -> Use:
    """How the file is to be used; raises ``TfliteError`` and ``OSError`` for one that is none."""
    is_tflite = file.path.suffix.lower() == TFLITE
    facts = tflite_facts(file.path) if is_tflite else None
    labels = record.labels()
    return Use(
        side=side,
        shape=record.shape,
        normalisation=record.normalisation,
        logits=file.output == "logits",
        classes=len(labels),
        background=labels == imagenet(),
        features=file.features,
        input=facts.input if facts else None,
        output=facts.output if facts else None,
        quantised=is_quantised(file.path),
    )
