"""Fixtures of all tests; every test runs on caches of its own, never on the user's.

This file is imported for each test, however small: what is slow to import, it imports where it is
used. What it replaces in rooms that are slow to import, it replaces where the collected tests have
imported them.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness.base import settings, turns
from tests.support import shards
from tests.support.shared_examiner import one_examiner

if TYPE_CHECKING:
    from robustness import models

__all__ = ["one_examiner"]

OFFLINE_NAMES = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")


def pytest_configure() -> None:
    """Garbage is looked for seldom: among the objects of all that the tests import that is up to a
    tenth of their time."""
    gc.set_threshold(50_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: shards.place(item.nodeid))


_GAVE_WAY: list[bool] = []
_FROZEN: list[bool] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lower the priority of this shard once its journeys are done."""
    if "PYTEST_XDIST_WORKER" in os.environ and not _GAVE_WAY and shards.place(item.nodeid):
        _GAVE_WAY.append(True)
        os.nice(shards.GIVE_WAY)
    if not _FROZEN and "tensorflow" in sys.modules:  # its modules are for good: without them, a
        _FROZEN.append(True)  # collection of garbage, as after each loading, is a third of a second
        gc.freeze()  # shorter


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Shards for the whole house; what is asked for by name runs in this process."""
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if not everything:
        return 0
    os.environ.update(dict.fromkeys(shards.ONE_CORE, "1"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else a hundred processes compile the product
    return shards.SHARDS


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return shards.scheduler(config, log)


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Empty folders in place of the product's cache and Keras'; no mirror, no proxy.

    The shards share them, so that a model is converted once.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "caches"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTNESS_CACHE", str(folder / "robustness"))
        patch.setenv("KERAS_HOME", str(folder / "keras"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))  # else the user's settings hold
        for setting in settings.REGISTRY:
            if setting is not settings.CACHE:
                patch.delenv(setting.variable, raising=False)
        patch.delenv(settings.CONFIG_VARIABLE, raising=False)
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield folder


@pytest.fixture(scope="session", autouse=True)
def quick_pages() -> Iterator[None]:
    if "streamlit" not in sys.modules:
        yield
        return
    from tests.support import pages

    with pytest.MonkeyPatch.context() as patch:
        pages.quicken(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_rounds() -> Iterator[None]:
    """The latencies that a run notes, and the time that it takes by a trial, are measured in as few
    rounds as may be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "SECONDS_A_TASK", 0.001)
        if "robustness.runs" in sys.modules:
            from robustness.runs import planning

            patch.setattr(planning, "_TRIAL_SECONDS", 0.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def young_garbage() -> Iterator[None]:
    """When models are loaded or released, collect garbage only among new objects: among all that
    the tests have made it takes half a second each time."""
    if "robustness.models" not in sys.modules:
        yield
        return
    from robustness.models import loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "gc", SimpleNamespace(collect=partial(gc.collect, 1)))
        yield


@pytest.fixture(scope="module", autouse=True)
def models_of_the_house() -> Iterator[None]:
    """Models that a file of tests adds or describes, and classes that its runs name, leave with it:
    the process has one registry."""
    yield
    if "robustness.models" not in sys.modules:
        return
    from robustness.models import own, record
    from robustness.models.record import ADDED

    ADDED.clear()
    record._IMPORTED.clear()
    own.refresh()


@pytest.fixture(autouse=True)
def at_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages run without a server are opened from this machine itself, by its owner."""
    if "streamlit" not in sys.modules:
        return
    from robustness.ui import session

    monkeypatch.setattr(session, "connection", lambda: session.Connection("127.0.0.1", {}, {}))


class Offline(Mapping[str, "models.Classifier"]):
    """The offline four, each at its own input size, loaded once it is asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, models.Classifier] = {}

    def __getitem__(self, name: str) -> models.Classifier:
        from robustness import models

        if name not in self._loaded:
            self._loaded[name] = models.load(name, side=models.REGISTRY[name].input_size)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(OFFLINE_NAMES)

    def __len__(self) -> int:
        return len(OFFLINE_NAMES)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    from tests.support.wheel import build_wheel

    return ZipFile(build_wheel(tmp_path_factory.mktemp("source")))


@pytest.fixture(scope="session")
def installed(wheel: ZipFile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that imports the package from the unpacked wheel."""
    site = tmp_path_factory.mktemp("site")
    wheel.extractall(site)
    variables = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    where = "import robustness; print(robustness.__path__[0])"
    found = subprocess.check_output([sys.executable, "-c", where], env=variables, text=True)
    assert Path(found.strip()).parent == site
    return variables


@pytest.fixture(scope="session")
def classifiers(caches: Path) -> Mapping[str, models.Classifier]:
    return Offline()


@pytest.fixture(scope="session")
def photographs() -> NDArray[np.float32]:
    """The five sample photographs as study images, (5, 224, 224, 3)."""
    from robustness.images import decoding
    from robustness.images.framing import study_image

    return np.stack([study_image(decoding.sample_bytes(name)) for name in decoding.REGISTRY.names])


def save_official(network: Any, path: Path) -> models.Weights:
    """Writes the weights in the layout of Keras' official files; returns what to expect of it."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    from robustness.models.sources import published_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, network)
    with path.open("rb") as stream:
        md5 = hashlib.file_digest(stream, "md5").hexdigest()
    return published_file(f"http://127.0.0.1/{path.name}", path.stat().st_size, f"md5:{md5}")


def register(patch: pytest.MonkeyPatch, record: models.ModelRecord) -> models.ModelRecord:
    """Put ``record`` into the registry, also in place of one with its name.

    No other process knows it, so that it is converted in this one.
    """
    from robustness import models
    from robustness.models import conversion as inspecting
    from robustness.models import conversion_process

    def inspection(path: Path, request: Mapping[str, Any], **_: Any) -> Any:
        question = {"path": str(path), **request}
        return json.loads(conversion_process.answer(json.dumps(question).encode(), b""))

    patch.setattr(inspecting, "inspection", inspection)
    patch.setitem(models.REGISTRY._records, record.name, record)
    return record


@pytest.fixture
def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for a file of one's own models, which the settings name.

    Nothing of it stays registered.
    """
    from robustness.models import own

    monkeypatch.setenv("ROBUSTNESS_MODELS", str(tmp_path / "models.toml"))
    yield tmp_path
    (tmp_path / "models.toml").unlink(missing_ok=True)  # it may be one that is refused
    monkeypatch.delenv("ROBUSTNESS_MODELS")
    own.refresh()
