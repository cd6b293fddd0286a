"""Cache of converted models on disk, so that a later start need not import TensorFlow.

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
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from robustness.base import settings
from robustness.base.code_digest import code_digest
from robustness.base.files_and_locks import TEMPORARY, file_lock, put_whole, write_whole
from robustness.base.pydantic_validation import read_json
from robustness.models.model_and_weights_record import ModelRecord
from robustness.models.run.openvino_and_engine_choice import F32, Precision, core
from robustness.models.run.openvino_pass import OpenVinoPass
from robustness.models.weights.weights_state_and_digest import file_digest, fresh_digest

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
        *(record.name, weights, side, record.shape, record.normalisation, record.stages),
        *(record.labels().key, _maker()),
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
            digest.update(f"{package} {version(package)}\n".encode())
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
