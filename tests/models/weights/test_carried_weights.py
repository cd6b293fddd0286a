"""Weights that come with packages or in the tree: the published arrays, without code in them."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.support.repository import ROOT
from robustness import models
from robustness.base.errors import WeightsError
from robustness.models.catalogue import networks
from robustness.models.weights import weight_files as weights

RECORD = models.REGISTRY["SqueezeNet"]
PUBLISHED = "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"
"""SHA-256 of the pickle in the package ndf 0.1.4."""
ARRAYS = "b8cc7aec9fe22d228011792c1c2c74d0223d47ae8e8b2166a2fad69ff9ae9241"
"""SHA-256 over names, types, shapes and bytes of the arrays in that pickle, in its order."""


def test_the_arrays_are_those_of_the_published_file() -> None:
    digest = hashlib.sha256()
    data = weights.verified_bytes(RECORD.weights, models.require(RECORD))
    for layer, arrays in networks.read_squeezenet(data).items():
        for array in arrays:
            digest.update(f"{layer} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
    assert digest.hexdigest() == ARRAYS


def test_saved_runs_know_the_weights_by_the_hash_of_the_published_file() -> None:
    assert models.digest(RECORD) == f"sha256:{PUBLISHED}"


def test_an_object_in_the_file_is_not_unpickled(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"

    class Call:
        def __reduce__(self) -> Any:
            return Path.touch, (sentinel,)

    stream = io.BytesIO()
    arrays: dict[str, Any] = {"conv1.0": np.array([Call()], dtype=object)}
    np.savez(stream, **arrays)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        networks.read_squeezenet(stream.getvalue())
    assert not sentinel.exists()


def test_a_pickle_that_calls_something_is_refused_before_the_call(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"

    class Call:
        def __reduce__(self) -> Any:
            return Path.touch, (sentinel,)

    with pytest.raises(WeightsError, match="The weight file names"):
        networks.read_efficientnet_lite(pickle.dumps({"layer": Call()}))
    assert not sentinel.exists()


def test_a_changed_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    changed = tmp_path / "changed.pth"
    changed.write_bytes(models.require(models.REGISTRY["EfficientNetLite0"]).read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="its SHA256 differs"):
        weights.verified_bytes(models.REGISTRY["EfficientNetLite0"].weights, changed)


def test_no_pickle_lies_in_the_tree() -> None:
    assert not list((ROOT / "robustness").rglob("*.pkl"))
