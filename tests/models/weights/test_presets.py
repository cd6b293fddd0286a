"""Presets of KerasHub that are not the published ones, or damaged, are refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustness import models
from robustness.base.errors import WeightsError
from robustness.models.catalogue.transformers import Transformer
from robustness.models.graph.keras_networks import load_network
from tests.support.transformer_oracle import needs_hub, with_epsilon

Edit = Callable[[dict[str, Any], dict[str, Any]], object]

# Keras' reader of its own HDF5 layout.
pytestmark = [
    needs_hub,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping nested container"),
]

WHOLE = models.REGISTRY["DeiTTiny"]
SHORT = Transformer("DeiT", heads=3, width=192, normalisation=WHOLE.normalisation, blocks=2)
RECORD = replace(WHOLE, build=SHORT.build, weights=SHORT.preset("keras/deit/keras/short/1"))
"""DeiT-Tiny with two blocks of its twelve, which are alike."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset as KerasHub saves it."""
    folder = tmp_path_factory.mktemp("saved")
    with_epsilon(SHORT).save_to_preset(str(folder))
    return folder


def converter(task: dict[str, Any]) -> dict[str, Any]:
    found = task["config"]["preprocessor"]["config"]["image_converter"]
    assert isinstance(found, dict)
    return found


def old_preprocessing(task: dict[str, Any], **values: Any) -> None:
    converter(task)["config"] = {"scale": 1 / 255, "height": 224, "width": 224} | values


DEVIATIONS = [0.229, 0.224, 0.225]
ACCEPTED: dict[str, Edit] = {
    "a square patch as one number": lambda c, t: c["config"].update(patch_size=16),
    "softmax in the head": lambda c, t: t["config"].update(activation="softmax"),
    "no preprocessing": lambda c, t: t["config"].update(preprocessor=None),
    "mean and variance": lambda c, t: old_preprocessing(
        t, mean=[0.485, 0.456, 0.406], variance=[s**2 for s in DEVIATIONS]
    ),
    "a crop of a larger image": lambda c, t: old_preprocessing(
        t, norm_mean=[0.485, 0.456, 0.406], norm_std=DEVIATIONS, image_size=[256, 256],
        crop_size=[224, 224],
    ),
}  # fmt: skip
REFUSED: dict[str, tuple[Edit, str]] = {
    "another depth": (lambda c, t: c["config"].update(num_layers=1), "num_layers 2, got 1"),
    "other heads": (lambda c, t: t["config"]["backbone"]["config"].update(num_heads=6), "got 6"),
    "a backbone of code": (
        lambda c, t: c.update(class_name="Lambda"),
        "class DeiTBackbone, got Lambda",
    ),
    "a nested backbone of code": (
        lambda c, t: t["config"].update(backbone={"class_name": "Lambda", "config": {}}),
        "class DeiTBackbone, got Lambda",
    ),
    "no backbone": (lambda c, t: t["config"].pop("backbone"), "got nothing"),
    "another task": (lambda c, t: t.update(class_name="TextClassifier"), "DeiTImageClassifier"),
    "a converter of code": (lambda c, t: converter(t).update(class_name="Lambda"), "got Lambda"),
    "no configuration": (lambda c, t: c.update(config=None), "image_shape"),
    "no biases": (lambda c, t: c["config"].update(use_mha_bias=False), "use_mha_bias"),
    "an epsilon": (lambda c, t: c["config"].update(layer_norm_epsilon=0.1), "got 0.1"),
    "fewer classes": (lambda c, t: t["config"].update(num_classes=10), "num_classes 1000, got 10"),
    "pooled tokens": (lambda c, t: t["config"].update(pooling="gap"), "pooling token, got gap"),
    "another activation": (lambda c, t: t["config"].update(activation={"a": 1}), "activation"),
    "other offsets": (lambda c, t: converter(t)["config"].update(offset=-1.0), "preprocessing"),
    "no scale": (lambda c, t: converter(t)["config"].update(scale=None), "preprocessing"),
    "words for a scale": (lambda c, t: converter(t)["config"].update(scale="x"), "of numbers"),
    "larger images": (
        lambda c, t: converter(t)["config"].update(image_size=[384, 384]),
        "224 pixels, got .384, 384.",
    ),
}


class ReachedTheWeightsError(Exception):
    """The configurations of a preset were accepted."""


def load_edited(saved: Path, folder: Path, edit: Edit) -> None:
    config, task = (json.loads((saved / f).read_text()) for f in ("config.json", "task.json"))
    edit(config, task)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "task.json").write_text(json.dumps(task))

    class Network:
        @property
        def weights(self) -> Any:
            raise ReachedTheWeightsError

    SHORT.load(Network(), folder)


@pytest.mark.parametrize("edit", ACCEPTED.values(), ids=ACCEPTED)
def test_a_preset_may_be_written_otherwise(saved: Path, edit: Edit, tmp_path: Path) -> None:
    with pytest.raises(ReachedTheWeightsError):
        load_edited(saved, tmp_path, edit)


@pytest.mark.parametrize(("edit", "reason"), REFUSED.values(), ids=REFUSED)
def test_another_architecture_is_refused_before_its_weights_are_read(
    saved: Path, edit: Edit, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=reason) as caught:
        load_edited(saved, tmp_path, edit)
    assert str(tmp_path) in str(caught.value)
    assert str(caught.value).endswith("delete it and download it again.")


def swap_files(folder: Path) -> None:
    shutil.copy(folder / "task.weights.h5", folder / "model.weights.h5")


def a_block_less(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "model.weights.h5", "a") as file:
        del file["layers/dei_t_encoder/encoder_layers/dei_t_encoder_block_1"]


def a_token_less(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "model.weights.h5", "a") as file:
        file["layers/dei_t_embeddings/vars/0"][...] = np.nan  # as left by a load that skips it


def smaller_head(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "task.weights.h5", "a") as file:
        for name, shape in (("0", (192, 10)), ("1", (10,))):
            del file[f"layers/dense/vars/{name}"]
            file[f"layers/dense/vars/{name}"] = np.zeros(shape, np.float32)


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def no_object(folder: Path) -> None:
    (folder / "task.json").write_text("[1]")


def no_hdf5(folder: Path) -> None:
    (folder / "model.weights.h5").write_bytes(b"not a weight file")


@pytest.mark.parametrize(
    "spoil",
    [swap_files, a_block_less, a_token_less, smaller_head, no_json, no_object, no_hdf5],
)
def test_files_that_do_not_fit_are_refused(
    saved: Path, spoil: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path))
    folder = RECORD.weights.paths()[-1]
    shutil.copytree(saved, folder)
    spoil(folder)
    with pytest.raises(WeightsError) as caught:
        load_network(RECORD)
    message = str(caught.value)
    assert str(folder) in message
    assert message.endswith("download it again.")
    assert "\n" not in message
