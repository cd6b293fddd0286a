"""Converted models, kept on disk: what a later start reads instead of importing TensorFlow."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from robustness.base.disk import TEMPORARY, alone, put_whole
from robustness.models.fetching.places import product_cache
from robustness.models.inference.choice import TENSORFLOW, Choice, chosen
from robustness.models.inference.conversion import RefusalError, convert
from robustness.models.inference.forward_pass import ForwardPass, Precision
from robustness.models.inference.openvino_core import core
from robustness.models.inference.openvino_pass import OpenVinoPass
from robustness.models.inference.tensorflow_pass import TensorFlowPass
from robustness.models.model_record import ModelRecord
from robustness.models.study_graph import StudyGraph

_MAGIC = b"robustness openvino model\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_KEY_DIGITS = 24
_ALIGNMENT = 64
_BLOCK = 1 << 20
_LARGEST_REFUSAL = 1 << 14
_LEFT_SECONDS = 86_400.0
_KEPT_A_MODEL = 4
"""Of one model and side, conversions by other versions or of other weights that stay on disk."""


@dataclass(frozen=True)
class Kept:
    """A converted model as it was kept, or why there is none.

    ``network`` is its description and ``weights`` the bytes that refers to, mapped from the file;
    both are empty where OpenVINO refused the model, and ``refusal`` says why.
    """

    stages: tuple[str, ...]
    refusal: str
    network: bytes
    weights: NDArray[np.uint8]

    def forward_pass(self, precision: Precision) -> OpenVinoPass:
        """Its compiled pass."""
        import openvino

        model = core().read_model(self.network, openvino.Tensor(self.weights, shared_memory=True))
        return OpenVinoPass(model, self.stages, precision=precision, held=self.weights)


def forward_pass(
    record: ModelRecord,
    weights: str,
    side: int,
    choice: Choice,
    graph: Callable[[], StudyGraph],
) -> ForwardPass:
    """The pass of ``record`` with the weights of digest ``weights``, for images of ``side``.

    For OpenVINO it is converted from ``graph()`` once and then kept; of several processes that
    need it at once, one converts. TensorFlow runs what OpenVINO cannot take. Raises what
    ``graph`` does.
    """
    if choice.engine == TENSORFLOW:
        return TensorFlowPass(graph())
    precision = choice.precision
    file = place(record, weights, side)
    kept = read(file)
    if kept is None:
        with contextlib.ExitStack() as turn:
            with contextlib.suppress(OSError):  # nothing can be written, so nobody waits
                file.parent.mkdir(parents=True, exist_ok=True)
                turn.enter_context(alone(file))
            kept = read(file)  # another process may have kept it meanwhile
            if kept is None:
                return _converted(file, graph(), precision)
    return TensorFlowPass(graph()) if kept.refusal else kept.forward_pass(precision)


def _converted(file: Path, graph: StudyGraph, precision: Precision) -> ForwardPass:
    try:
        model, result = convert(graph)
    except RefusalError as refusal:
        with contextlib.suppress(OSError):
            _write(file, graph.stages, str(refusal), None)
        return TensorFlowPass(graph)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a conversion a start
        _write(file, graph.stages, "", model)
        _forget_older(file)
    kept = read(file)
    if kept is not None:  # mapped from the file, its weights take no memory of their own
        return kept.forward_pass(precision)
    return _in(precision, model, result)


def pass_of(graph: StudyGraph) -> ForwardPass:
    """The pass of ``graph`` by the engine that is chosen, kept nowhere."""
    choice = chosen()
    if choice.engine == TENSORFLOW:
        return TensorFlowPass(graph)
    try:
        model, result = convert(graph)
    except RefusalError:
        return TensorFlowPass(graph)
    return _in(choice.precision, model, result)


def _in(precision: Precision, model: Any, result: OpenVinoPass) -> OpenVinoPass:
    """``result``, the pass of ``model``, or another in ``precision``."""
    if result.precision == precision:
        return result
    return OpenVinoPass(model, result.stages, precision=precision)


def refusal(record: ModelRecord, weights: str, side: int) -> str:
    """Why OpenVINO does not run this model; empty where it does, or where nobody has tried."""
    file = place(record, weights, side)
    with contextlib.suppress(OSError):
        if file.stat().st_size > _LARGEST_REFUSAL:  # a model: not read through for this
            return ""
    kept = read(file)
    return "" if kept is None else kept.refusal


# --- files ----------------------------------------------------------------------------------------


def place(record: ModelRecord, weights: str, side: int) -> Path:
    """Where the conversion is kept; another one for whatever may change an answer."""
    asked = (
        *(record.name, weights, side, record.input_size, record.normalisation, record.stages),
        *(record.labels().key, _maker()),
    )
    key = hashlib.sha256(repr(asked).encode()).hexdigest()[:_KEY_DIGITS]
    return product_cache() / "openvino" / f"{record.name}-{side}-{key}.model"


@cache
def _maker() -> str:
    """A digest of all that builds and converts a network: the packages, and our own code."""
    found = hashlib.sha256()
    for package in ("tensorflow", "keras", "keras-hub", "openvino", "numpy"):
        with contextlib.suppress(PackageNotFoundError):  # one of them is optional
            found.update(f"{package} {version(package)}\n".encode())
    models = Path(__file__).parent.parent
    for source in sorted(models.rglob("*.py")):
        found.update(source.read_bytes())
    return found.hexdigest()


def read(file: Path) -> Kept | None:
    """What is kept in ``file``, whole and right; None where there is no such thing."""
    try:
        content = np.memmap(file, np.uint8, mode="c")  # OpenVINO takes nothing that is read-only
        start = len(_MAGIC) + _DIGEST_BYTES
        told = content[len(_MAGIC) : start].tobytes()
        if content[: len(_MAGIC)].tobytes() != _MAGIC or _digest(content[start:]) != told:
            return None
        length = int.from_bytes(content[start : start + 8].tobytes(), "little")
        about = json.loads(content[start + 8 : start + 8 + length].tobytes())
        network_start = start + 8 + length
        network_end = network_start + about["network"]
        return Kept(
            tuple(about["stages"]),
            about["refusal"],
            content[network_start:network_end].tobytes(),
            content[_aligned(network_end) :],
        )
    except (OSError, ValueError, KeyError):  # none, an empty one, or none of ours
        return None


def _digest(content: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(content.data).digest()


def _write(file: Path, stages: tuple[str, ...], refusal: str, model: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".tmp", ".", file.parent) as folder:
        network, weights = Path(folder) / "network.xml", Path(folder) / "network.bin"
        if model is None:
            network.touch()
            weights.touch()
        else:
            _serialise(model, network, weights)
        about = {"stages": stages, "refusal": refusal, "network": network.stat().st_size}
        described = json.dumps(about).encode()
        put_whole(file, lambda whole: _assemble(whole, described, network, weights))


def _serialise(model: Any, network: Path, weights: Path) -> None:
    import openvino

    try:
        openvino.serialize(model, network, weights)
    except RuntimeError as error:  # what it raises on a full disk
        raise OSError(str(error)) from error


def _assemble(whole: Path, about: bytes, network: Path, weights: Path) -> None:
    """A header with the SHA-256 of what follows: a description, the network, and its weights."""
    with whole.open("wb+") as file:
        file.write(_MAGIC + bytes(_DIGEST_BYTES))
        file.write(len(about).to_bytes(8, "little") + about)
        _append(file, network)
        file.write(bytes(_aligned(file.tell()) - file.tell()))
        _append(file, weights)
        file.seek(len(_MAGIC) + _DIGEST_BYTES)
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
        file.seek(len(_MAGIC))
        file.write(digest.digest())


def _append(file: BinaryIO, source: Path) -> None:
    with source.open("rb") as content:
        while block := content.read(_BLOCK):
            file.write(block)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _forget_older(file: Path) -> None:
    """Deletes all but the newest conversions of the model and side of ``file``, and leftovers."""
    same = file.name.rpartition("-")[0]
    key = "?" * _KEY_DIGITS  # whole: another model's name may begin like this one's
    found = [path for path in file.parent.glob(f"{same}-{key}.model") if path != file]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[_KEPT_A_MODEL - 1 :]:
        path.unlink()
    for leftover in file.parent.glob(TEMPORARY):  # of a process that was killed while it wrote
        if time.time() - leftover.stat().st_mtime > _LEFT_SECONDS:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
