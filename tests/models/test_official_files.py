"""Every entry of the catalogue that is fetched: with files of the official layout it is loaded in
the process that users' models are loaded in, asked and attacked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from robustness import models
from robustness.models.loaded import LOADED
from robustness.models.record import MODERN, STUDY
from tests.conftest import save_official
from tests.models.test_catalogue import official_network
from tests.support.transformer_oracle import TRANSFORMERS, needs_hub, with_epsilon
from tests.support.unset_weights import recycled_weights
from tests.support.used_models import check_use

pytestmark = [
    pytest.mark.slow,
    # Keras' own writer of the HDF5 layout.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

HUB = {record.name for record in TRANSFORMERS}
FETCHED = [record.name for record in models.REGISTRY if record.group in (STUDY, MODERN)]


def write_file(record: models.ModelRecord, folder: Path) -> models.Weights:
    """Write a file as Keras publishes it; return what to expect of it."""
    with recycled_weights():
        network = official_network(record)
    path = folder / record.weights.name
    written = save_official(network, path)
    return replace(record.weights, digest=written.digest, size=written.size)


def write_preset(record: models.ModelRecord, folder: Path) -> models.Weights:
    """Write a folder as KerasHub publishes it, whose files have no published hashes."""
    transformer = record.build.__self__  # type: ignore[attr-defined]
    with recycled_weights():
        task = with_epsilon(transformer, record.normalisation)
    task.save_to_preset(str(folder / record.weights.name))
    return record.weights


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[needs_hub] if name in HUB else []) for name in FETCHED]
)
def test_an_entry_is_loaded_asked_and_attacked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_DIR", str(tmp_path))
    record = models.REGISTRY[name]
    write = write_preset if name in HUB else write_file
    weights = write(record, tmp_path)
    monkeypatch.setitem(models.REGISTRY._records, name, replace(record, weights=weights))
    try:
        check_use(name)
    finally:
        LOADED.release(name)
