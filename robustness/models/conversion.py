"""Have a process with limits on memory and time inspect a model and write its graph.

Cache of converted models on disk, so that a later start need not import TensorFlow.

A model is stored in OpenVINO's two files; a record with their SHA-256 is written last, in another
folder. Anything that does not match its record or its model is converted again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from robustness.base import settings
from robustness.base.code_digest import code_digest
from robustness.base.errors import NotInspectedError, WeightsError
from robustness.base.files import (
    TEMPORARY,
    file_lock,
    files_below,
    put_whole,
    require_regular,
    stored_bytes,
    version,
    write_whole,
)
from robustness.base.validation import read_json
from robustness.base.workers import (
    Worker,
    WorkerDiedError,
    WorkerKilledError,
    WorkerLateError,
    Workers,
    WorkerTimeError,
)
from robustness.models.engine import F32, Precision, core
from robustness.models.formats import (
    BY_OPENVINO,
    KERAS,
    MAX_BYTES,
    SAVED_MODEL,
    ModelFormat,
    Numbers,
    UnusableError,
    all_files,
    check_weights,
    format_of,
)
from robustness.models.graph import Shape, Use
from robustness.models.passes import OpenVinoPass
from robustness.models.record import ModelRecord, imagenet
from robustness.models.weights import file_digest, fresh_digest, mark_unusable, require

_KEY_DIGITS = 24
_LARGEST_RECORD = 1 << 16
_LEFT_SECONDS = 86_400.0
_MAKERS = "robustness.models"
"""The package that builds and converts networks, with all that it imports."""

_CONVERSIONS_A_MODEL = 4
"""Conversions of one model and side, by versions and weights, that stay on disk."""


@dataclass(frozen=True)
class Conversion:
    """A model that was written: its feature stages, and the operations without gradients here.

    With a ``refusal``, which says what OpenVINO lacks, nothing was. ``network`` and ``weights`` are
    the SHA-256 of the files, once they are in the cache.
    """

    stages: tuple[str, ...]
    missing: tuple[str, ...] = ()
    refusal: str = ""
    network: str = ""
    weights: str = ""


Save = Callable[[Path], Conversion]
"""Writes a study model in OpenVINO's format to a path."""


def graph_pass(
    record: ModelRecord, weights: str, side: int, precision: Precision, save: Save
) -> OpenVinoPass | str:
    """The pass by OpenVINO of ``record`` for images of ``side``, or why there is none.

    ``weights`` is their digest. ``save`` writes the graph where none is cached, in one of the
    processes that need it. Raises what ``save`` does.
    """
    file = place(record, weights, side)
    read = partial(_read, file, precision)
    compiled = read()
    if compiled is None:
        with contextlib.ExitStack() as turn:
            with contextlib.suppress(OSError):  # not writable: then nobody waits
                file.parent.mkdir(parents=True, exist_ok=True)
                turn.enter_context(file_lock(file))
            compiled = read()  # another process may have written it meanwhile
            if compiled is None:
                with contextlib.suppress(OSError):
                    _write(file, save)
                    _forget_older(file)
                    compiled = read()
    if compiled is not None:
        return compiled
    with tempfile.TemporaryDirectory() as folder:  # the cache is not writable
        return written_pass(Path(folder) / "network.xml", save, precision)


def written_pass(target: Path, save: Save, precision: Precision = F32) -> OpenVinoPass | str:
    """The pass by OpenVINO of what ``save`` writes to ``target``, or why there is none."""
    written = save(target)
    if written.refusal:
        return written.refusal
    return OpenVinoPass(core().read_model(target), written.stages, precision=precision)


def conversion(record: ModelRecord, weights: str, *sides: int) -> Conversion | None:
    """The record of this model's conversion for the first of ``sides`` that has one."""
    files = (place(record, weights, side) for side in sides)
    records = (read_json(Conversion, file, _LARGEST_RECORD) for file in files)
    return next(filter(None, records), None)


# --- files ----------------------------------------------------------------------------------------


def place(record: ModelRecord, weights: str, side: int) -> Path:
    """Path of the conversion's record; whatever may change a prediction changes it."""
    request = (
        record.name,
        weights,
        side,
        record.shape,
        record.normalisation,
        record.stages,
        record.labels().key,
        _maker(),
    )
    key = hashlib.sha256(repr(request).encode()).hexdigest()[:_KEY_DIGITS]
    return settings.cache_folder() / "digests" / f"{record.name}-{side}-{key}.json"


def network_of(file: Path) -> Path:
    """The network of the record ``file``, in OpenVINO's format; its weights are beside it."""
    return file.parent.parent / "openvino" / f"{file.stem}.xml"


def _parts(file: Path) -> tuple[Path, Path]:
    return network_of(file), network_of(file).with_suffix(".bin")


@cache
def _maker() -> str:
    """Digest of everything that builds and converts a network: packages and our own code."""
    digest = hashlib.sha256()
    for package in ("tensorflow", "keras", "keras-hub", "openvino", "numpy"):
        with contextlib.suppress(PackageNotFoundError):  # one of them is optional
            digest.update(f"{package} {package_version(package)}\n".encode())
    digest.update(code_digest(_MAKERS).encode())
    return digest.hexdigest()


def _read(file: Path, precision: Precision) -> OpenVinoPass | str | None:
    """The cached pass, or why OpenVINO refused the model; None if nothing usable is cached."""
    conversion = read_json(Conversion, file, _LARGEST_RECORD)
    if conversion is None:
        return None
    if conversion.refusal:
        return conversion.refusal
    expected = conversion.network, conversion.weights
    try:
        if tuple(file_digest(part, "sha256:") for part in _parts(file)) != expected:
            return None
        model = core().read_model(network_of(file))
        return OpenVinoPass(model, conversion.stages, precision=precision)
    except Exception:  # OpenVINO raises many types of exceptions
        return None


def _write(file: Path, save: Save) -> None:
    targets = _parts(file)
    targets[0].parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".tmp", ".", targets[0].parent) as folder:
        parts = [Path(folder) / target.name for target in targets]
        conversion = save(parts[0])
        if not conversion.refusal:
            network, weights = (fresh_digest(part, "sha256:") for part in parts)
            conversion = replace(conversion, network=network, weights=weights)
            for part, target in zip(parts, targets, strict=True):
                put_whole(target, partial(os.replace, part))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(asdict(conversion)).encode())


def _forget_older(file: Path) -> None:
    """Deletes all but the newest conversions of the model and side of ``file``, and leftovers."""
    same = file.name.rpartition("-")[0]
    key = "?" * _KEY_DIGITS  # full length: another model's name may begin the same
    others = [path for path in file.parent.glob(f"{same}-{key}.json") if path != file]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[_CONVERSIONS_A_MODEL - 1 :]:
        for part in (path, *_parts(path)):
            part.unlink(missing_ok=True)
    folder = network_of(file).parent
    ours = folder.glob(f"{same}-{key}.*")
    lost = [part for part in ours if not file.with_name(f"{part.stem}.json").exists()]
    for leftover in (*folder.glob(TEMPORARY), *file.parent.glob(TEMPORARY), *lost):
        if time.time() - leftover.stat().st_mtime > _LEFT_SECONDS:  # nobody writes it any more
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


SECONDS = 60
"""Seconds of work on any file, in addition to those by size. EfficientNet-Lite0 takes 2."""

BYTES = 2 * 10**9
"""Bytes for any file, in addition to those by size: ten times what EfficientNet-Lite0 takes."""

_SECONDS_A_BYTE = 1 / 10**7
_BYTES_A_BYTE = 8
_PATIENCE = 3
"""Seconds to wait for each second of work: others use the processor, too."""


_EXAMINER = "robustness.models.conversion_process"

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
    """The facts in the file ``path``, as ``own.metadata`` gives them.

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
    file = record.weights.own
    labels = record.labels()
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
