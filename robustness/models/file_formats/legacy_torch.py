"""Reads the pickled weights of EfficientNet-Lite without trusting the pickle.

A pickle may call anything it can name. The unpickler here resolves only the few names that these
files need, and refuses every other name before anything is called.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import WeightsError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
"""Header of ``torch.save`` before its zip format: torch/serialization.py, ``MAGIC_NUMBER``."""

_MEMO = ("PUT", "BINPUT", "LONG_BINPUT")


@contextlib.contextmanager
def _damage_is_a_weights_error() -> Iterator[None]:
    """A damaged file may raise nearly anything; within this it raises ``WeightsError`` instead."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(
            f"The weight file cannot be read ({type(error).__name__}); it is damaged. "
            "Install what carries it again."
        ) from error


class _Storage(NamedTuple):  # a pickle can change the fields of other classes
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    """A view of a storage: offset, shape and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *view: _Tensor(*view[:4]),
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _TorchUnpickler(pickle.Unpickler):
    """Admits a state dict of float and long tensors whose storages follow the pickle."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise WeightsError(
                f"The weight file names {module}.{name}, which a plain set of arrays does not "
                "need; it was not loaded. Install what carries it again."
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, count, *_view = pid
        if kind != "storage" or dtype not in ("<f4", "<i8"):
            raise WeightsError(_expected("a tensor storage", pid))
        return _Storage(str(key), dtype, int(count))


@_damage_is_a_weights_error()
def read_legacy_torch(data: bytes) -> dict[str, NDArray[Any]]:
    """{name: array} from a state dict saved by ``torch.save`` in its format before the zip one.

    Strides are honoured, so arrays come out in the logical order of their shape, C-contiguous.
    Raises ``WeightsError`` when the file is of another format, damaged, or names anything else.
    """
    stream = io.BytesIO(data)
    magic = _unpickle(stream)
    protocol = _unpickle(stream)
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL:
        raise WeightsError(_expected("a legacy torch state dict", magic))
    _unpickle(stream)  # sizes of the saving machine's C types
    tensors = _unpickle(stream)
    keys = _unpickle(stream)
    if not isinstance(tensors, dict):
        raise WeightsError(_expected("a dictionary of tensors", tensors))
    storages = {t.storage.key: t.storage for t in tensors.values() if isinstance(t, _Tensor)}
    buffers = {key: _read_storage(stream, storages.get(key), key) for key in keys}
    return {
        str(name): _materialise(tensor, buffers)
        for name, tensor in tensors.items()
        if isinstance(tensor, _Tensor)
    }


def _read_storage(stream: BinaryIO, storage: _Storage | None, key: str) -> NDArray[Any]:
    if storage is None:
        raise WeightsError(f"The weight file lists the storage {key!r}, which no tensor uses.")
    count = int.from_bytes(stream.read(8), "little", signed=True)
    size = storage.length * np.dtype(storage.dtype).itemsize
    raw = stream.read(size)
    if count != storage.length or len(raw) != size:
        raise WeightsError(f"The weight file ends inside the storage {key!r}; it is truncated.")
    return np.frombuffer(raw, dtype=storage.dtype)


def _materialise(tensor: _Tensor, buffers: dict[str, NDArray[Any]]) -> NDArray[Any]:
    buffer = buffers[tensor.storage.key]
    reach = tensor.offset + sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    if (
        min((tensor.offset, *tensor.strides, *tensor.shape)) < 0
        or reach >= buffer.size
        or math.prod(tensor.shape) > buffer.size  # strides of 0 would repeat it without end
    ):
        raise WeightsError("The weight file describes a tensor outside its storage.")
    item = buffer.itemsize
    view = np.lib.stride_tricks.as_strided(
        buffer[tensor.offset :], tensor.shape, [stride * item for stride in tensor.strides]
    )
    return np.array(view, order="C")


def _unpickle(stream: BinaryIO) -> Any:
    """The next pickle of ``stream``."""
    start = stream.tell()
    for opcode, index, position in pickletools.genops(stream):
        # The unpickler reserves memory up to the index, and no honest one outruns its position.
        if opcode.name in _MEMO and isinstance(index, int) and index > (position or 0):
            raise WeightsError(
                f"The weight file asks for memory for {index} objects; it is damaged. "
                "Install what carries it again."
            )
    stream.seek(start)
    return _TorchUnpickler(stream).load()


def _expected(what: str, got: object) -> str:
    return f"The weight file should hold {what}, but holds {type(got).__name__}."
