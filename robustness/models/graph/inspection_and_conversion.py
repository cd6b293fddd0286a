"""Have a process with limits on memory and time inspect a model and write its graph."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robustness.base.errors import NotInspectedError, WeightsError
from robustness.base.files_and_locks import files_below, require_regular, stored_bytes, version
from robustness.base.worker_process_pool import (
    Worker,
    WorkerDiedError,
    WorkerKilledError,
    WorkerLateError,
    Workers,
    WorkerTimeError,
)
from robustness.models.class_labels import imagenet
from robustness.models.file_formats.format_and_runtime_record import (
    MAX_BYTES,
    ModelFormat,
    Numbers,
    UnusableError,
)
from robustness.models.file_formats.formats import (
    BY_OPENVINO,
    KERAS,
    SAVED_MODEL,
    all_files,
    check_weights,
    format_of,
)
from robustness.models.graph.conversion_record_and_cache import Conversion
from robustness.models.graph.preprocessing_and_probabilities import Shape, Use
from robustness.models.model_and_weights_record import ModelRecord
from robustness.models.weights.weights_state_and_digest import mark_unusable, require

SECONDS = 60
"""Seconds of work on any file, in addition to those by size. EfficientNet-Lite0 takes 2."""

BYTES = 2 * 10**9
"""Bytes for any file, in addition to those by size: ten times what EfficientNet-Lite0 takes."""

_SECONDS_A_BYTE = 1 / 10**7
_BYTES_A_BYTE = 8
_PATIENCE = 3
"""Seconds to wait for each second of work: others use the processor, too."""


_EXAMINER = "robustness.models.graph.compilation_and_inspection_process"

_FATAL: dict[object, str] = {}
"""The problems of files that have ended a process, by their versions and what was asked."""

KERAS_WORKERS = Workers(_EXAMINER, most=1, least=0)
"""Networks of Keras take turns in one process: importing TensorFlow takes seconds."""


def inspection(
    path: Path, request: Mapping[str, Any], *, more_memory: int = 0, keras: bool = False
) -> dict[str, Any]:
    """The answer of the inspection's process to ``request`` about the model at ``path``.

    ``request`` and answer are JSON. ``keras`` is whether it is a network of Keras, without code of
    its own. Paths are absolute, as the process may have begun in another folder. A process that
    ends without an answer gives a ``problem``, a clause; the same request about the same file then
    gets it at once. Raises ``NotInspectedError`` where others use the processor.
    """
    files = [file for part in all_files(path) for file in files_below(part)]
    versions = [(file, version(file)) for file in files]
    question = repr((versions, {key: value for key, value in request.items() if key != "to"}))
    if problem := _FATAL.get(question):
        return {"problem": problem}
    size = sum(map(stored_bytes, all_files(path)))
    if size > MAX_BYTES:
        return {"problem": f"expected at most {MAX_BYTES:,} bytes with its weights, got {size:,}"}
    seconds = SECONDS + round(size * _SECONDS_A_BYTE)
    memory = BYTES + _BYTES_A_BYTE * size + more_memory
    worker = KERAS_WORKERS if keras else Worker(_EXAMINER)
    try:
        answer = worker.ask(
            json.dumps({"path": str(path.absolute()), **request}).encode(),
            b"",
            memory=memory,
            seconds=seconds,
            deadline=time.monotonic() + _PATIENCE * seconds,
        )
    except WorkerTimeError:
        problem = f"it takes more than {seconds} s to read and run; simplify its graph"
    except WorkerLateError as error:
        raise NotInspectedError(
            f"{path.name} was not inspected within {_PATIENCE * seconds} s: the machine is busy. "
            "Try again later."
        ) from error
    except WorkerDiedError as error:
        problem = (
            "the process that read it died: the file is damaged, or takes more than "
            f"{memory / 1e9:.1f} GB of memory"
        )
        if isinstance(error, WorkerKilledError):  # from outside: it may do better next time
            return {"problem": problem}
    else:
        document: dict[str, Any] = json.loads(answer)
        return document
    finally:
        if isinstance(worker, Worker):
            worker.end()
    _FATAL[question] = problem
    return {"problem": problem}


def inspect_and_convert(record: ModelRecord, side: int, target: Path) -> Conversion:
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
            "native": record.weights.native_runtime is not None,
            "fallback": not file or file.runtime != BY_OPENVINO,
            "to": str(target.absolute()),
        }

    answer = _answer(path, record.weights.files, request, record.weights.format)
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
    return Conversion(tuple(answer["stages"]), tuple(answer["missing"]), answer["refusal"])


def describe_file(path: Path, shape: Shape | None) -> Mapping[str, Any]:
    """The facts in the file ``path``, as ``own.file_and_library_metadata`` gives them.

    ``shape`` is that of a free input. Raises ``WeightsError`` for a file that cannot be used.
    """

    def request() -> dict[str, Any]:
        format_of(path).numbers(path)  # of a damaged file, it says what is wrong
        return {"record": "", "shape": shape, "native": False, "fallback": True}

    answer = _answer(path, (), request, format_of(path))
    if "error" in answer:
        raise WeightsError(answer["error"])
    if "problem" in answer:
        raise WeightsError(f"{path.name} cannot be used: {answer['problem']}.")
    return answer


def _answer(
    path: Path, names: tuple[str, ...], request: Callable[[], dict[str, Any]], kind: ModelFormat
) -> Mapping[str, Any]:
    """The worker's answer to the ``request`` about a model, or the ``problem``.

    ``names`` are the files of a preset, whose folder ``path`` is.
    """
    try:
        if kind is SAVED_MODEL:
            if damage := kind.damage(path):
                raise UnusableError(damage)
        else:
            files = [path / name for name in names] if names else [path]
            for file in files:
                require_regular(file)  # a pipe may never end
            if not names:
                check_weights(path)
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
    numbers = record.weights.format.numbers(file.path) if file else Numbers()
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
