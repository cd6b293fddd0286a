"""Presets of KerasHub load, predict and are attacked; one sentence refuses damaged ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from robustness import models
from robustness.base.errors import WeightsError
from robustness.models.catalogue import STAGES, Transformer
from tests.conftest import register
from tests.support.transformer_oracle import needs_hub, with_epsilon
from tests.support.used_models import check_use

# Keras' reader of its own HDF5 layout.
pytestmark = [
    needs_hub,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping nested container"),
]

WHOLE = models.REGISTRY["DeiTTiny"]
SHORT = Transformer("DeiT", heads=3, width=192, blocks=2)
RECORD = replace(
    WHOLE,
    name="ShortDeiT",
    stages=(STAGES[0], STAGES[-1]),
    build=SHORT.build,
    weights=SHORT.preset("keras/deit/keras/short/1"),
)
"""DeiT-Tiny with two blocks of its twelve, which are alike."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset as KerasHub saves it."""
    folder = tmp_path_factory.mktemp("saved")
    with_epsilon(SHORT, WHOLE.normalisation).save_to_preset(str(folder))
    return folder


def test_a_preset_is_loaded_asked_and_attacked(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path))
    register(monkeypatch, RECORD)
    shutil.copytree(saved, RECORD.weights.paths()[-1])
    check_use(RECORD.name)


def swap_files(folder: Path) -> None:
    shutil.copy(folder / "task.weights.h5", folder / "model.weights.h5")


def a_block_less(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "model.weights.h5", "a") as file:
        del file["layers/dei_t_encoder/encoder_layers/dei_t_encoder_block_1"]


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def no_hdf5(folder: Path) -> None:
    (folder / "model.weights.h5").write_bytes(b"not a weight file")


@pytest.mark.parametrize(
    "spoil",
    [swap_files, a_block_less, no_json, no_hdf5],
)
def test_files_that_do_not_fit_are_refused(
    saved: Path, spoil: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path))
    register(monkeypatch, RECORD)
    folder = RECORD.weights.paths()[-1]
    shutil.copytree(saved, folder)
    spoil(folder)
    with pytest.raises(WeightsError) as caught:
        models.load(RECORD.name)
    message = str(caught.value)
    assert str(folder) in message
    assert message.endswith("download it again.")
    assert "\n" not in message
