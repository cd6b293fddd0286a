"""Preprocessing by the field's names: written, read from where it stands, tried, or a function."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustness import api, models
from robustness.base.errors import ParameterError
from robustness.base.toml import read_toml
from robustness.images.framing import Framing
from robustness.images.pixels import from_uint8
from robustness.models import own
from robustness.models.metadata import (
    hugging_face_entry,
    stated_entry,
    timm_entry,
    torchvision_entry,
)
from tests.models.test_describe import COLOURS, added, folder
from tests.support.user_models import describe

__all__ = ["folder"]  # a fixture

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def test_a_description_says_it_by_the_fields_names(models_folder: Path) -> None:
    keys: dict[str, Any] = {
        "crop_pct": 0.95,
        "interpolation": "bilinear",
        "resize": "torch",
        "antialias": False,
    }
    describe(models_folder, input_size=96, **keys)
    own.refresh()
    expected = Framing("crop", 96, 0.95, "bilinear", "torch", antialias=False)
    assert models.REGISTRY["digits"].framing == expected


def test_a_normalisation_is_rgb_from_0_to_1_unless_it_says_more(models_folder: Path) -> None:
    describe(models_folder, normalisation={"mean": MEAN, "std": STD})
    own.refresh()
    expected = own.NORMALISATIONS["torch"]
    assert models.REGISTRY["digits"].normalisation == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"interpolation": "area", "resize": "pil"}, "no interpolation called 'area' with resize"),
        ({"crop_pct": 1.5}, "crop_pct from 0.5 to 1, got 1.5"),
        ({"fit": "letterbox", "padding": [0, 0]}, "padding of three whole numbers"),
    ],
)
def test_preprocessing_that_no_library_has_is_refused(
    models_folder: Path, changes: dict[str, Any], said: str
) -> None:
    describe(models_folder, **changes)
    with pytest.raises(ParameterError, match=said):
        own.refresh()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"crop_pct": 0.95, "interpolation": "bicubic"},
            Framing("crop", 224, 0.95, "bicubic", "pil"),
        ),
        (
            {"crop_pct": 1.0, "interpolation": "bilinear", "crop_mode": "squash"},
            Framing("squash", 224, None, "bilinear", "pil"),
        ),
        (
            {"crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "border"},
            Framing("letterbox", 224, 0.9, "bicubic", "pil", padding=(124, 116, 104)),
        ),
        ({"crop_pct": 0.9, "interpolation": "random"}, None),
    ],
)
def test_timms_configuration_is_read(config: dict[str, Any], expected: Framing | None) -> None:
    stated = timm_entry({"input_size": [3, 224, 224], "mean": MEAN, **config})
    assert stated.pop("input_size") == 224
    assert (Framing.of({**stated, "side": 224}) if stated else None) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"size": {"height": 224, "width": 224}},
            Framing("squash", 224, None, "bilinear", "pil"),
        ),
        (
            {
                "size": {"shortest_edge": 256},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
            },
            Framing("crop", 224, None, "bilinear", "pil"),
        ),
        (
            {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": 224},
            Framing("squash", 224, 0.875, "bilinear", "pil"),
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.9},
            Framing("crop", 224, 0.9, "bilinear", "pil"),
        ),
        (
            {"size": {"shortest_edge": 384}, "crop_pct": 0.9},
            Framing("squash", 384, None, "bilinear", "pil"),
        ),
        ({"size": "large"}, None),
    ],
)
def test_a_preprocessor_of_hugging_face_is_read(
    config: dict[str, Any], expected: Framing | None
) -> None:
    stated = hugging_face_entry(config)
    side = 384 if "384" in str(config) else 224
    assert (Framing.of({**stated, "side": side}) if stated else None) == expected


def test_transforms_of_torchvision_are_read() -> None:
    stated = torchvision_entry(
        SimpleNamespace(
            crop_size=[224],
            resize_size=[232],
            interpolation=SimpleNamespace(value="bilinear"),
            mean=MEAN,
            std=STD,
        )
    )
    assert stated.pop("normalisation") == {"mean": MEAN, "std": STD}
    framing = Framing.of({"side": stated.pop("input_size"), **stated})
    assert (framing.fit, framing.interpolation, framing.resize) == ("crop", "bilinear", "pil")
    assert int(224 / framing.share) == 232


def test_a_file_tells_it_in_its_metadata_or_beside_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.models.test_describe import colour_model

    config = {"input_size": [3, 8, 8], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9}
    config |= {"interpolation": "bilinear"}
    file = folder / "told.onnx"
    file.write_bytes(colour_model(("pretrained_cfg", json.dumps(config))))
    expected = {"fit": "crop", "crop_pct": 0.9, "interpolation": "bilinear", "resize": "pil"}
    expected["normalisation"] = "-1..1"
    assert stated_entry(file) == (expected, dict.fromkeys(expected, "the file"))
    found = added(capsys, "told.onnx", "--labels", "colours.txt")
    assert {key: found["entry"][key] for key in expected} == expected
    assert models.REGISTRY["told"].framing == Framing("crop", 8, 0.9, "bilinear", "pil")
    assert read_toml(folder / "models.toml")["told"]["crop_pct"] == 0.9
    file.write_bytes(colour_model(*((key, json.dumps(value)) for key, value in config.items())))
    assert stated_entry(file)[0] == {"normalisation": "-1..1"}, "a text of JSON is no interpolation"
    file.write_bytes(colour_model())
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": config}))
    assert stated_entry(file) == (expected, dict.fromkeys(expected, "config.json"))


def test_labelled_images_tell_which_interpolation_is_better(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What OpenCV samples, two pixels of eight, is of the class; all the rest is not."""
    for name, colour in COLOURS.items():
        pixels = np.full((64, 64, 3), 255 - np.array(colour), np.uint8)
        sampled = np.isin(np.arange(64) % 8, (3, 4))
        pixels[np.ix_(sampled, sampled)] = colour
        for number in range(12):
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    told = ["colours.onnx", "--labels", "colours.txt", "--normalisation", "-1..1"]
    found = added(capsys, *told, "--images", "images", "--name", "one")
    assert f"All {12 * len(COLOURS)} images are correct" in found["resizings"]
    assert "bilinear, resized as opencv" in found["resizings"]
    described = ["--fit", "squash", "--resize", "opencv", "--interpolation", "bilinear"]
    found = added(capsys, *told, *described, "--images", "images", "--name", "two")
    assert found["resizings"] == ""
    assert models.REGISTRY["two"].framing == Framing("squash", 8, None, "bilinear", "opencv")


@pytest.fixture
def processed(folder: Path) -> Iterator[Callable[..., models.ModelRecord]]:
    (folder / "models.toml").write_text("")

    def build(model: Any, preprocess: Any, **described: Any) -> models.ModelRecord:
        described = {"labels": ["dark", "bright"], "input_size": 8, **described}
        return api.add_model("processed", model, preprocess=preprocess, **described)

    yield build
    if "processed" in models.REGISTRY:
        api.remove_model("processed")


def test_a_function_prepares_the_perturbed_image(
    processed: Callable[..., models.ModelRecord],
) -> None:
    seen: list[Any] = []

    def preprocess(image: Any) -> Any:
        seen.append(image)
        return image.mean(axis=2)[None] / 255

    def brightness(batch: Any) -> Any:
        assert batch.shape[1:] == (1, 8, 8)
        return [[1 - share, share] for share in batch.mean(axis=(1, 2, 3))]

    record = processed(brightness, preprocess, fit="letterbox")
    assert record.framing == Framing("letterbox", 8)
    image = from_uint8(np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8))
    answer = models.load("processed", side=8)(image).probabilities
    assert seen[-1].dtype == np.uint8
    np.testing.assert_array_equal(seen[-1], np.rint(255 * image[0]))
    assert answer[0, 1] == pytest.approx(image.mean(), abs=1e-5)
    with pytest.raises(ParameterError, match="lives in this process only"):
        models.record.require_described(["processed"], "a job")


def test_where_a_function_cannot_prepare_images_a_sentence_says_so(
    processed: Callable[..., models.ModelRecord], tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=r"expected a function, a torch\.nn.Module or a Keras"):
        processed(tmp_path / "model.onnx", lambda image: image)
    with pytest.raises(ParameterError, match="expected no normalisation with preprocess"):
        processed(len, lambda image: image, normalisation="torch")
    with pytest.raises(ParameterError, match=r"transforms\(\) of torchvision's weights, got int"):
        processed(len, 3)
