"""Have a worker with limits on memory and time read a model and write its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robustness.base.disk import require_regular
from robustness.base.errors import WeightsError
from robustness.models.file_formats.formats import (
    BY_OPENVINO,
    KERAS,
    SAVED_MODEL,
    check_weights,
    format_of,
    native_runtime,
)
from robustness.models.file_formats.model_format import ModelFormat, Numbers, UnusableError
from robustness.models.graph_files.preprocessing import Shape, Use
from robustness.models.inference.kept import Written
from robustness.models.inspection_process import inspection
from robustness.models.labels import imagenet
from robustness.models.model_record import ModelRecord
from robustness.models.weights.ready import mark_unusable, require


def examine(record: ModelRecord, side: int, target: Path) -> Written:
    """Have the study model of ``record`` for images of ``side`` written to ``target``.

    Raises ``WeightsError`` for a model that is not the image classifier of its description, that
    takes more than its share of memory or time, or that cannot be read; ``OSError`` where nothing
    can be written to ``target``.
    """
    file = record.weights.own
    path = file.path if file else require(record)

    def request() -> dict[str, Any]:
        return {
            "record": "" if file else record.name,
            "use": asdict(use_of(record, side)),
            "native": bool(file and native_runtime(path, file.runtime)),
            "fallback": not file or file.runtime != BY_OPENVINO,
            "to": str(target),
        }

    answer = _answer(path, request, format_of(path) if file else KERAS)
    reason = answer.get("error", "")
    if "problem" in answer:
        reason = f"{path.name} cannot be used: {answer['problem']}."
    if reason:
        reason = f"{record.name}: {reason}"
        with suppress(OSError):  # one without content is not known by it
            mark_unusable(record, reason)
        raise WeightsError(reason)
    if "unwritten" in answer:
        raise OSError(answer["unwritten"])
    return Written(tuple(answer["stages"]), tuple(answer["missing"]), answer["refusal"])


def describe_file(path: Path, shape: Shape | None) -> Mapping[str, Any]:
    """What the file ``path`` tells, as ``own.describe`` has it; ``shape`` is that of a free input.

    Raises ``WeightsError`` for a file that cannot be used.
    """

    def request() -> dict[str, Any]:
        return {"record": "", "shape": shape, "native": False, "fallback": True}

    answer = _answer(path, request, format_of(path))
    if "error" in answer:
        raise WeightsError(answer["error"])
    if "problem" in answer:
        raise WeightsError(f"{path.name} cannot be used: {answer['problem']}.")
    return answer


def _answer(
    path: Path, request: Callable[[], dict[str, Any]], kind: ModelFormat
) -> Mapping[str, Any]:
    """The worker's answer to the ``request`` about a model, or the ``problem``."""
    try:
        if kind is not SAVED_MODEL:
            require_regular(path)  # a pipe may never end
            check_weights(path)
        elif damage := kind.damage(path):
            raise UnusableError(damage)
        question = request()
        in_runtime = kind.runtime if question["native"] or not kind.is_graph else None
        more = in_runtime.import_bytes if in_runtime else 0
        return inspection(path, question, more_memory=more, keras=kind is KERAS)
    except UnusableError as error:
        return {"problem": str(error)}
    except OSError as error:
        return {"problem": f"it cannot be read: {error.strerror}"}


def use_of(record: ModelRecord, side: int) -> Use:
    """How the model is to be used; raises ``UnusableError`` or ``OSError`` for a damaged file."""
    file, labels = record.weights.own, record.labels()
    numbers = format_of(file.path).numbers(file.path) if file else Numbers()
    return Use(
        side=side,
        shape=record.shape,
        normalisation=record.normalisation,
        logits=bool(file and file.output == "logits"),
        classes=len(labels),
        background=bool(file) and labels == imagenet(),
        features=file.features if file else tuple(stage for stage, _ in record.stages),
        input=numbers.input,
        output=numbers.output,
        quantised=numbers.quantised,
    )
