"""Pickled weight files: read as they are meant, refused when they ask for anything else."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from robustness.base.errors import WeightsError
from robustness.models.file_formats.legacy_torch import read_legacy_torch
from tests.support.property_tests import property_test

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

# --- the format of torch.save before its zip one, written without torch ---------------------------


class FloatStorage:
    def __init__(self, key: str, values: Any, claim: int | None = None) -> None:
        self.key = key
        self.values = np.asarray(values, "<f4")
        self.claim = len(self.values) if claim is None else claim


class LongStorage(FloatStorage):
    def __init__(self, key: str, values: Any) -> None:
        super().__init__(key, values)
        self.values = np.asarray(values, "<i8")


def _rebuild_tensor_v2() -> None:
    """Named in the pickle, as torch's function of this name is."""


class Tensor:
    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any) -> None:
        self.storage = storage
        self.arguments: tuple[Any, ...] = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> Any:
        return _rebuild_tensor_v2, self.arguments


class _TorchPickler(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Any:
        if isinstance(thing, FloatStorage):
            return ("storage", type(thing), thing.key, "cpu", thing.claim, None)
        return None


def torch_file(tensors: dict[str, Any], keys: Any = None, header: Any = (MAGIC, PROTOCOL)) -> bytes:
    """The bytes of ``torch.save(tensors, file, _use_new_zipfile_serialization=False)``."""
    storages = {t.storage.key: t.storage for t in tensors.values() if isinstance(t, Tensor)}
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    stream = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        for module, content in ((torch, FloatStorage), (torch, LongStorage)):
            patch.setattr(content, "__module__", "torch")
            setattr(module, content.__name__, content)
        patch.setattr(_rebuild_tensor_v2, "__module__", "torch._utils")
        utils.__dict__["_rebuild_tensor_v2"] = _rebuild_tensor_v2
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        for part in (*header, {"protocol_version": PROTOCOL}, OrderedDict(tensors)):
            _TorchPickler(stream, 2).dump(part)
    pickle.dump(sorted(storages) if keys is None else keys, stream, 2)
    for _, storage in sorted(storages.items()):
        count = storage.claim if 0 <= storage.claim < 2**63 else 0
        stream.write(struct.pack("<q", count) + storage.values.tobytes())
    return stream.getvalue()


def test_tensors_come_out_in_the_order_of_their_shape() -> None:
    shared, steps = FloatStorage("b", np.arange(24)), LongStorage("a", [7])
    tensors = {
        "plain": Tensor(shared, 0, (2, 3, 4), (12, 4, 1)),
        "transposed": Tensor(shared, 0, (4, 6), (1, 4)),
        "middle": Tensor(shared, 5, (3,), (2,)),
        "repeated": Tensor(shared, 23, (2, 2), (0, 0)),
        "empty": Tensor(shared, 0, (0, 3), (3, 1)),
        "steps": Tensor(steps, 0, (), ()),
    }
    flat = np.arange(24, dtype=np.float32)
    expected = {
        "plain": flat.reshape(2, 3, 4),
        "transposed": flat.reshape(6, 4).T,
        "middle": flat[[5, 7, 9]],
        "repeated": np.full((2, 2), 23, np.float32),
        "empty": np.empty((0, 3), np.float32),
        "steps": np.array(7),
    }
    read = read_legacy_torch(torch_file({**tensors, "not a tensor": 3}))
    assert list(read) == list(expected)
    for name, array in read.items():
        assert array.flags.c_contiguous
        assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape)
        np.testing.assert_array_equal(array, expected[name])


FOUR = (FloatStorage("a", np.zeros(4)),)
OUTSIDE: dict[str, tuple[Any, ...]] = {
    "offset past the end": (*FOUR, 4, (1,), (1,)),
    "negative offset": (*FOUR, -1, (2,), (1,)),
    "huge offset": (*FOUR, 2**70, (1,), (1,)),
    "too long": (*FOUR, 0, (5,), (1,)),
    "long step": (*FOUR, 0, (2, 2), (4, 1)),
    "negative step": (*FOUR, 3, (4,), (-1,)),
    "negative shape": (*FOUR, 0, (-4,), (1,)),
    "repeated 5 times": (*FOUR, 0, (5,), (0,)),
    "repeated 2**50 times": (*FOUR, 0, (2**50,), (0,)),
    "fewer steps than sides": (*FOUR, 0, (2, 2), (1,)),
    "a step that is no number": (*FOUR, 0, (2,), ("1",)),
    "a shape that is no tuple": (*FOUR, 0, None, None),
    "no storage": (None, 0, (1,), (1,)),
}


@pytest.mark.parametrize("arguments", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_a_tensor_outside_its_storage_is_refused(arguments: tuple[Any, ...]) -> None:
    tensor = Tensor(*arguments)
    tensor.storage = FOUR[0]
    with pytest.raises(WeightsError):
        read_legacy_torch(torch_file({"w": tensor}))


@pytest.mark.parametrize("claim", [5, -1, 2**40, 2**60, 2**61, 2**70])
def test_a_storage_of_another_size_than_claimed_is_refused(claim: int) -> None:
    tensor = Tensor(FloatStorage("a", np.zeros(4), claim), 0, (1,), (1,))
    with pytest.raises(WeightsError):
        read_legacy_torch(torch_file({"w": tensor}))


def test_a_storage_counted_otherwise_than_claimed_is_refused() -> None:
    data = torch_file({"w": Tensor(*FOUR, 0, (4,), (1,))})
    count_at = len(data) - 4 * 4 - 8
    assert data[count_at : count_at + 8] == struct.pack("<q", 4)
    with pytest.raises(WeightsError, match="truncated"):
        read_legacy_torch(data[:count_at] + struct.pack("<q", 3) + data[count_at + 8 :])


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        ([], (MAGIC, PROTOCOL)),
        (["b"], (MAGIC, PROTOCOL)),
        ([["a"]], (MAGIC, PROTOCOL)),
        (7, (MAGIC, PROTOCOL)),
        (None, (MAGIC + 1, PROTOCOL)),
        (None, (MAGIC, PROTOCOL + 1)),
    ],
)
def test_another_header_or_list_of_storages_is_refused(keys: Any, header: Any) -> None:
    with pytest.raises(WeightsError):
        read_legacy_torch(torch_file({"w": Tensor(*FOUR, 0, (1,), (1,))}, keys, header))


# --- hostile and damaged files --------------------------------------------------------------------


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


HOSTILE: dict[str, Callable[[Path], Call]] = {
    "os.system": lambda path: Call(os.system, f"touch {path}"),
    "eval": lambda path: Call(builtins.eval, f"open({str(path)!r}, 'w').close()"),
    "exec": lambda path: Call(builtins.exec, f"open({str(path)!r}, 'w').close()"),
    "a function of NumPy": lambda path: Call(np.savetxt, str(path), [0.0]),
    "a method by way of getattr": lambda path: Call(Path.touch, path),
}


@pytest.mark.parametrize("attack", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_pickle_that_calls_something_is_refused_before_the_call(
    attack: Callable[[Path], Call], tmp_path: Path
) -> None:
    sentinel = tmp_path / "sentinel"
    call = attack(sentinel)
    pickle.loads(pickle.dumps({"layer": [call]}))
    assert sentinel.exists(), "the attack works where nothing stops it"
    sentinel.unlink()
    for header in ((call, PROTOCOL), (MAGIC, call), (MAGIC, PROTOCOL, call)):
        with pytest.raises(WeightsError, match="The weight file names"):
            read_legacy_torch(torch_file({"w": 1}, header=header))
    for tensors, keys in (({"w": call}, []), ({"w": 1}, call)):
        with pytest.raises(WeightsError, match="The weight file names"):
            read_legacy_torch(torch_file(tensors, keys))
    assert not sentinel.exists()


WHOLE = torch_file(
    {
        "w": Tensor(FloatStorage("1", np.arange(12)), 0, (3, 4), (1, 3)),
        "n": Tensor(LongStorage("2", [5]), 0, (), ()),
    }
)


def test_every_truncation_and_other_formats_are_refused() -> None:
    assert read_legacy_torch(WHOLE)
    for data in (b"garbage", b"PK\x03\x04" + WHOLE, b"\x89HDF\r\n", bytes(1000)):
        with pytest.raises(WeightsError):
            read_legacy_torch(data)
    for length in range(len(WHOLE)):
        with pytest.raises(WeightsError):
            read_legacy_torch(WHOLE[:length])


BOMBS = {
    "a memo of 2**31 objects": b"\x80\x03Nr\xff\xff\xff\x7f.",
    "a byte array of 2**60": b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"x.",
    "a string of 2**60": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x.",
    "an array of 2**40": pickle.dumps({"a": [Call(np.ndarray, (2**40,))]}, 3),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_small_file_cannot_claim_much_memory(bomb: bytes) -> None:
    with pytest.raises(WeightsError):
        read_legacy_torch(bomb)


Edit = tuple[float, int, bytes]
"""Where, as a share of the length; how many bytes are cut out there; what is put in instead."""


def lists_of_edits(st: Any) -> list[Any]:
    edit = st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=4))
    return [st.lists(edit, min_size=1, max_size=4)]


@property_test(lists_of_edits, [(0.5, 1, b"r"), (0.9, 1, b"\xff")], examples=250)
def test_a_damaged_file_is_refused_or_read_within_its_size(edits: list[Edit]) -> None:
    data = WHOLE
    for share, cut, put in edits:
        start = int(share * len(data))
        data = data[:start] + put + data[start + cut :]
    try:
        result = read_legacy_torch(data)
    except WeightsError:
        return
    assert all(isinstance(array, np.ndarray) for array in result.values())
    assert all(array.nbytes <= 2 * len(data) for array in result.values())
