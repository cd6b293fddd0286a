"""The cache of converted models on disk, and the process that converts them.

With the cache a later start need not import TensorFlow. A model is stored in OpenVINO's two files;
a record with their SHA-256 is written last, in another folder. Anything that does not match its
record or its model is converted again. A model that others wrote is read, tried out and converted
in a process with limits on memory and time.
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
from robustness.base.errors import NotInspectedError, WeightsError
from robustness.base.files import (
    TEMPORARY,
    code_digest,
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
_LEFTOVER_SECONDS = 86_400.0
"""The age from which a file that nobody records is one that a stopped process has left."""

_CONVERSIONS_A_MODEL = 4
"""Conversions of one model and side, by versions and weights, that stay on disk."""


@dataclass(frozen=True)
class Conversion:
    """The record of a converted model.

    ``stages`` are its feature stages, and ``missing`` the operations that have no gradients here.
    ``refusal`` says what OpenVINO lacks for the model: then no graph was written. ``network`` and
    ``weights`` are the SHA-256 of the two files, once they are in the cache.
    """

    stages: tuple[str, ...]
    missing: tuple[str, ...] = ()
    refusal: str = ""
    network: str = ""
    weights: str = ""


Save = Callable[[Path], Conversion]
"""Writes a study model in OpenVINO's format to a path, and returns its record."""


def graph_pass(
    record: ModelRecord, weights: str, side: int, precision: Precision, save: Save
) -> OpenVinoPass | str:
    """The pass by OpenVINO of ``record`` for images of ``side``, or why there is none.

    ``weights`` is their digest. ``save`` writes the graph where none is cached, in one of the
    processes that need it. Raises what ``save`` does.
    """
    file = place(record, weights, side)
    cached = _read(file, precision)
    if cached is None:
        with contextlib.ExitStack() as lock:
            with contextlib.suppress(OSError):  # not writable: then nobody waits
                file.parent.mkdir(parents=True, exist_ok=True)
                lock.enter_context(file_lock(file))
            cached = _read(file, precision)  # another process may have written it meanwhile
            if cached is None:
                with contextlib.suppress(OSError):
                    _write(file, save)
                    _forget_older(file)
                    cached = _read(file, precision)
    if cached is not None:
        return cached
    with tempfile.TemporaryDirectory() as folder:  # the cache is not writable
        return written_pass(Path(folder) / "network.xml", save, precision)


def written_pass(target: Path, save: Save, precision: Precision = F32) -> OpenVinoPass | str:
    """The pass by OpenVINO of what ``save`` writes to ``target``, or why there is none."""
    conversion = save(target)
    if conversion.refusal:
        return conversion.refusal
    model = core().read_model(target)
    return OpenVinoPass(model, conversion.stages, precision=precision)


def conversion(record: ModelRecord, weights: str, *sides: int) -> Conversion | None:
    """The record of this model's conversion for the first of ``sides`` that has one, else None.

    ``weights`` is their digest.
    """
    for side in sides:
        cached = read_json(Conversion, place(record, weights, side), _LARGEST_RECORD)
        if cached is not None:
            return cached
    return None


# --- files ----------------------------------------------------------------------------------------


def place(record: ModelRecord, weights: str, side: int) -> Path:
    """The path of the record of a conversion, whether or not it is there.

    Whatever may change a prediction changes it. ``weights`` is their digest.
    """
    everything = (
        record.name,
        weights,
        side,
        record.shape,
        record.normalisation,
        record.stages,
        record.labels().key,
        _maker(),
    )
    key = hashlib.sha256(repr(everything).encode()).hexdigest()[:_KEY_DIGITS]
    return settings.cache_folder() / "digests" / f"{record.name}-{side}-{key}.json"


def network_of(file: Path) -> Path:
    """The network of the record ``file``, in OpenVINO's format; its weights are beside it."""
    return file.parent.parent / "openvino" / f"{file.stem}.xml"


def _graph_files(file: Path) -> tuple[Path, Path]:
    """The network of the record ``file``, and its weights."""
    network = network_of(file)
    return network, network.with_suffix(".bin")


@cache
def _maker() -> str:
    """Digest of everything that builds and converts a network: packages and our own code."""
    digest = hashlib.sha256()
    for package in ("tensorflow", "keras", "keras-hub", "openvino", "numpy"):
        with contextlib.suppress(PackageNotFoundError):  # one of them is optional
            digest.update(f"{package} {package_version(package)}\n".encode())
    digest.update(code_digest().encode())
    return digest.hexdigest()


def _read(file: Path, precision: Precision) -> OpenVinoPass | str | None:
    """The cached pass, or why OpenVINO refused the model; None if nothing usable is cached."""
    conversion = read_json(Conversion, file, _LARGEST_RECORD)
    if conversion is None:
        return None
    if conversion.refusal:
        return conversion.refusal
    network, weights = _graph_files(file)
    try:
        if file_digest(network, "sha256:") != conversion.network:
            return None
        if file_digest(weights, "sha256:") != conversion.weights:
            return None
        model = core().read_model(network)
        return OpenVinoPass(model, conversion.stages, precision=precision)
    except Exception:  # OpenVINO raises many types of exceptions
        return None


def _write(file: Path, save: Save) -> None:
    """Write the graph by ``save``, then its record ``file``: without one a graph does not count."""
    network, weights = _graph_files(file)
    network.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".tmp", ".", network.parent) as folder:
        new_network = Path(folder) / network.name
        new_weights = Path(folder) / weights.name
        conversion = save(new_network)
        if not conversion.refusal:
            conversion = replace(
                conversion,
                network=fresh_digest(new_network, "sha256:"),
                weights=fresh_digest(new_weights, "sha256:"),
            )
            put_whole(network, partial(os.replace, new_network))
            put_whole(weights, partial(os.replace, new_weights))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(asdict(conversion)).encode())


def _forget_older(file: Path) -> None:
    """Delete all but the newest conversions of the model and side of ``file``, and leftovers."""
    model_and_side = file.name.rpartition("-")[0]
    any_key = "?" * _KEY_DIGITS  # full length: another model's name may begin the same
    others = [path for path in file.parent.glob(f"{model_and_side}-{any_key}.json") if path != file]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for older in others[_CONVERSIONS_A_MODEL - 1 :]:
        for path in (older, *_graph_files(older)):
            path.unlink(missing_ok=True)
    graphs = network_of(file).parent
    leftovers = [*graphs.glob(TEMPORARY), *file.parent.glob(TEMPORARY)]
    for path in graphs.glob(f"{model_and_side}-{any_key}.*"):
        if not file.with_name(f"{path.stem}.json").exists():
            leftovers.append(path)
    for path in leftovers:
        # A younger one may be another process's work.
        if time.time() - path.stat().st_mtime <= _LEFTOVER_SECONDS:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# --- in a process with limits ---------------------------------------------------------------------

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
"""The problem of each file that has ended a process, by its version and what was asked."""

KERAS_WORKERS = Workers(_EXAMINER, most=1, least=0)
"""Networks of Keras take turns in one process: importing TensorFlow takes seconds."""


def inspection(
    path: Path, request: Mapping[str, Any], *, more_memory: int = 0, keras: bool = False
) -> dict[str, Any]:
    """The answer of a process with limits to ``request`` about the model at ``path``.

    ``request`` and answer are JSON. ``more_memory`` is added to the limit, in bytes. ``keras`` is
    whether it is a network of Keras, without code of its own. Paths are absolute, as the process
    may have begun in another folder. A process that ends without an answer gives a ``problem``, a
    clause; the same request about the same file then gets it at once. Raises ``NotInspectedError``
    where others use the processor.
    """
    model_parts = all_files(path)
    versions = [(file, version(file)) for part in model_parts for file in files_below(part)]
    # Where the graph is written to is no matter, and a temporary folder has another name each time.
    asked = {key: value for key, value in request.items() if key != "to"}
    question = repr((versions, asked))
    known_problem = _FATAL.get(question)
    if known_problem:
        return {"problem": known_problem}
    size = sum(map(stored_bytes, model_parts))
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
        if isinstance(worker, Worker):  # Keras' process serves the next model, too
            worker.end()
    _FATAL[question] = problem
    return {"problem": problem}


def inspect_and_convert(record: ModelRecord, side: int, target: Path) -> Conversion:
    """Have the study model of ``record`` for images of ``side`` written to ``target``.

    Raises ``WeightsError`` for a model that is not the image classifier of its description, that
    takes more than its share of memory or time, or that cannot be read; ``OSError`` where nothing
    can be written to ``target``.
    """
    weights = record.weights
    file = weights.own
    path = file.path if file else require(record)

    def request() -> dict[str, Any]:
        return {
            "record": "" if file else record.name,
            "use": asdict(use_of(record, side)),
            "native": weights.native_runtime is not None,
            "fallback": not file or file.runtime != BY_OPENVINO,
            "to": str(target.absolute()),
        }

    answer = _answer(path, weights.files, request, weights.format)
    reason = _failure(answer, path)
    if reason:
        reason = f"{record.name}: {reason}"
        with suppress(OSError):  # one without content is not known by it
            mark_unusable(record, reason)
        raise WeightsError(reason)
    if "unwritten" in answer:
        raise OSError(answer["unwritten"])
    return Conversion(
        stages=tuple(answer["stages"]),
        missing=tuple(answer["missing"]),
        refusal=answer["refusal"],
    )


def describe_file(path: Path, shape: Shape | None) -> Mapping[str, Any]:
    """The facts in the file ``path``, as ``metadata.describe`` gives them.

    ``shape`` is the height and width to take for an input that is free. Raises
    ``WeightsError`` for a file that cannot be used.
    """

    def request() -> dict[str, Any]:
        format_of(path).numbers(path)  # of a damaged file, it says what is wrong
        return {"record": "", "shape": shape, "native": False, "fallback": True}

    answer = _answer(path, (), request, format_of(path))
    reason = _failure(answer, path)
    if reason:
        raise WeightsError(reason)
    return answer


def _failure(answer: Mapping[str, Any], path: Path) -> str:
    """The sentence on what is wrong with the model at ``path``; empty if nothing is."""
    if "problem" in answer:
        return f"{path.name} cannot be used: {answer['problem']}."
    sentence: str = answer.get("error", "")
    return sentence


def _answer(
    path: Path,
    names: tuple[str, ...],
    request: Callable[[], dict[str, Any]],
    file_format: ModelFormat,
) -> Mapping[str, Any]:
    """The answer of the process to the ``request`` about a model, or the ``problem``.

    ``names`` are the files of a preset, whose folder ``path`` is. ``request`` is called once the
    files are known to be whole, as it reads them.
    """
    try:
        if file_format is SAVED_MODEL:
            damage = file_format.damage(path)
            if damage:
                raise UnusableError(damage)
        else:
            files = [path / name for name in names] if names else [path]
            for file in files:
                require_regular(file)  # a pipe may never end
            if not names:
                check_weights(path)
        question = request()
        more_memory = 0
        if file_format.runtime and (question["native"] or not file_format.is_graph):
            more_memory = file_format.runtime.import_bytes
        return inspection(path, question, more_memory=more_memory, keras=file_format is KERAS)
    except UnusableError as error:
        return {"problem": str(error)}
    except OSError as error:
        return {"problem": f"it cannot be read: {error.strerror}"}


def use_of(record: ModelRecord, side: int) -> Use:
    """How the model of ``record`` is asked about study images of ``side`` pixels.

    Raises ``UnusableError`` or ``OSError`` for a damaged file.
    """
    file = record.weights.own
    labels = record.labels()
    if file:
        numbers = record.weights.format.numbers(file.path)
        features = file.features
    else:
        numbers = Numbers()
        features = tuple(stage for stage, _ in record.stages)
    return Use(
        side=side,
        shape=record.shape,
        normalisation=record.normalisation,
        logits=bool(file and file.output == "logits"),
        classes=len(labels),
        background=bool(file) and labels == imagenet(),
        features=features,
        input=numbers.input,
        output=numbers.output,
        quantised=numbers.quantised,
    )
