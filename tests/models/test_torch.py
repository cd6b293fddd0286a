"""Networks of Keras and torch as models: exported to a graph where that is possible."""

from __future__ import annotations

import json
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustness import api, models
from robustness.base.errors import GradientError, ModelWarning, ParameterError, WeightsError
from robustness.images.decoding import decode, sample_bytes
from robustness.images.framing import fit, study_image
from robustness.images.pixels import to_uint8
from robustness.models import torch as model_torch
from robustness.models.frameworks import keras
from robustness.models.metadata import value_of
from robustness.models.record import UserFile
from tests.support.large_files import terabyte, within
from tests.support.onnx_files import small_model
from tests.support.user_models import DIGITS, small_network

pytestmark = pytest.mark.usefixtures("nothing_stays")

IMAGE = study_image(sample_bytes("coffee"))[None]


def file(record: models.ModelRecord) -> UserFile:
    assert record.weights.own
    return record.weights.own


def is_function(record: models.ModelRecord) -> bool:
    return file(record).call is not None


SHARE = re.compile(r"\d+%")


def warned(recorder: pytest.WarningsRecorder) -> list[str]:
    """The sentences about models."""
    return [str(each.message) for each in recorder if each.category is ModelWarning]


def test_a_keras_model_is_used_as_its_file_would_be() -> None:
    network = small_network(activation=None)
    record = api.add_model("digits", network, labels=DIGITS, normalisation="0..1")
    assert (record.input_size, file(record).output, file(record).kind) == (
        8,
        "logits",
        "Keras model",
    )
    assert api.load_model("digits").stages == ("8 x 8", "4 x 4", "embedding")
    again = api.add_model("digits", network, labels=DIGITS, normalisation="0..1")
    assert models.digest(again) == models.digest(record)
    api.load_model("digits")
    turned = api.add_model("digits", network, labels=DIGITS[::-1], normalisation="0..1")
    assert turned.labels().names == DIGITS[::-1]
    network.layers[-1].set_weights([2 * each for each in network.layers[-1].get_weights()])
    changed = api.add_model("digits", network, labels=DIGITS, normalisation="0..1")
    assert models.digest(changed) != models.digest(record)


def test_a_keras_model_with_layers_of_its_own_is_asked_as_a_function() -> None:
    class Twice(keras().layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    layers = keras().layers
    inputs = layers.Input((8, 8, 3))
    outputs = layers.Dense(10, activation="softmax")(layers.Flatten()(Twice()(inputs)))
    with pytest.warns(ModelWarning, match="digits"):
        api.add_model("digits", keras().Model(inputs, outputs), labels=DIGITS, normalisation="0..1")
    found = api.load_model("digits")
    assert found(IMAGE).probabilities.sum() == pytest.approx(1)
    with pytest.raises(GradientError, match="not part of Keras"):
        _ = found.gradients


def test_a_file_is_described_as_in_the_toml(tmp_path: Path) -> None:
    (tmp_path / "digits.onnx").write_bytes(small_model())
    given: dict[str, Any] = {
        "labels": DIGITS,
        "input_size": 8,
        "normalisation": "torch",
        "output": "logits",
    }
    record = api.add_model("digits", tmp_path / "digits.onnx", **given)
    assert file(record).path == tmp_path / "digits.onnx"
    assert api.load_model("digits")(IMAGE).probabilities.shape == (1, 10)
    del given["normalisation"]
    with pytest.raises(ParameterError, match="expected normalisation="):
        api.add_model("digits", tmp_path / "digits.onnx", **given)


# --- torch, where it is installed -----------------------------------------------------------------


@pytest.fixture(scope="module")
def torch() -> Any:
    found = pytest.importorskip("torch", reason="torch is not installed")
    found.manual_seed(0)
    return found


def small_module(torch: Any, classes: int = 10) -> Any:
    nn = torch.nn
    parts = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*parts, nn.Linear(8, classes))


def test_a_torch_module_has_features_and_gradients(torch: Any) -> None:
    module = small_module(torch)
    given: dict[str, Any] = {"labels": DIGITS, "input_size": 16, "normalisation": "torch"}
    record = api.add_model("digits", module, **given)
    assert file(record).kind == "torch module"
    assert module.training
    found = api.load_model("digits")
    assert len(found.stages) == 2
    assert found.gradients(IMAGE, np.zeros(1, np.int32), np.full(1, -1, np.int32)).gradient.any()
    digest = models.digest(record)
    assert models.digest(api.add_model("digits", module, **given)) == digest
    module[-1].bias.data -= 1
    assert models.digest(api.add_model("digits", module, **given)) != digest


def test_a_module_in_training_mode_is_measured_without_dropout_unless_that_is_its_own(
    torch: Any, recwarn: pytest.WarningsRecorder
) -> None:
    class Always(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return torch.nn.functional.dropout(images.mean((2, 3)), training=True) - 1

    module = torch.nn.Sequential(small_module(torch, 3), torch.nn.Dropout(0.9)).train()
    given: dict[str, Any] = {"labels": ("a", "b", "c"), "input_size": 16, "normalisation": "0..1"}
    api.add_model("steady", module, output="logits", **given)
    assert not warned(recwarn)
    api.add_model("odd", Always(), output="logits", **given)
    assert [text for text in warned(recwarn) if SHARE.search(text)]


def test_a_module_that_is_not_exported_is_asked_as_a_function(torch: Any) -> None:
    class Singular(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return torch.linalg.svdvals(images[:, :, :3, :3])[..., 0] - 1

    given: dict[str, Any] = {"labels": ("a", "b", "c"), "input_size": 16, "normalisation": "0..1"}
    with pytest.warns(ModelWarning, match="svd"):
        record = api.add_model("odd", Singular(), output="logits", **given)
    assert is_function(record)
    assert api.load_model("odd")(IMAGE).probabilities.sum() == pytest.approx(1)


def test_a_module_that_branches_on_an_image_is_asked_as_a_function(torch: Any) -> None:
    class Branch(torch.nn.Module):
        def __init__(self, threshold: float) -> None:
            super().__init__()
            self.inner, self.threshold = small_module(torch), threshold

        def forward(self, images: Any) -> Any:
            return self.inner(images if images.mean() > self.threshold else -images)

    class Shapes(Branch):
        def forward(self, images: Any) -> Any:
            return self.inner(images if images.shape[1] == 3 else -images)

    given: dict[str, Any] = {"labels": DIGITS, "input_size": 16, "normalisation": "torch"}
    for threshold in (0.0, 9.0):  # beyond 9 is no image that it is compared on
        with pytest.warns(ModelWarning):
            assert is_function(api.add_model("branch", Branch(threshold), output="logits", **given))
    api.add_model("shapes", Shapes(0.0), output="logits", **given)
    assert len(api.load_model("shapes").stages) == 2, "torch warns of shapes, too"


def test_a_graph_that_predicts_otherwise_for_dark_images_is_not_used(torch: Any) -> None:
    class Traced(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_module(torch)

        def forward(self, images: Any) -> Any:
            bright = torch.jit.is_tracing() or float(images.mean()) > -1
            return self.inner(images if bright else -images)

    given: dict[str, Any] = {"labels": DIGITS, "input_size": 16, "normalisation": "torch"}
    with pytest.warns(ModelWarning, match=r"\b0\.\d+") as found:
        assert is_function(api.add_model("traced", Traced(), output="logits", **given))
    assert len(found) == 1, "by how much the probabilities differ"


@pytest.fixture(scope="module")
def architecture(torch: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of a network of timm's, and with files that are none."""
    timm = pytest.importorskip("timm", reason="timm is not installed")
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    folder = tmp_path_factory.mktemp("timm")
    network = timm.create_model("test_resnet", num_classes=3)
    safetensors.save_file(network.state_dict(), folder / "a.safetensors")
    torch.save({"state_dict": network.state_dict()}, folder / "a.pt")
    torch.save(network, folder / "code.pt")
    torch.save({**network.state_dict(), "a.b": torch.zeros(1)}, folder / "more.pt")
    torch.save({"a": torch.zeros(1).expand(10**11)}, folder / "stride.pt")
    itself: dict[str, Any] = {}
    itself["state_dict"] = itself
    torch.save(itself, folder / "itself.pt")
    (folder / "old.pt").write_bytes(pickle.dumps({"a": print}))
    lying = {"a": {"dtype": "F32", "shape": [10**11], "data_offsets": [0, 4 * 10**11]}}
    header = json.dumps(lying).encode()
    (folder / "lying.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps(dict.fromkeys(range(100_000), empty)).encode()
    (folder / "many.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


def test_timms_architectures_take_local_weights(architecture: Path) -> None:
    answers = []
    for name in ("a.safetensors", "a.pt"):
        record = api.add_model(
            "small", "timm:test_resnet", weights=architecture / name, labels=("a", "b", "c")
        )
        assert file(record).kind == "timm test_resnet"
        answers.append(api.load_model("small")(IMAGE).probabilities)
    assert np.array_equal(answers[0], answers[1])


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("code.pt", 3, "holds code"),
        ("stride.pt", 3, "claims 400,000,000,000 bytes"),
        ("lying.safetensors", 3, "not a whole file of safetensors"),
        ("many.safetensors", 3, "a list of tensors of at most"),
        ("itself.pt", 3, "a mapping from names to tensors"),
        ("a.pt", 4, r"shape \(4,.*got \(3,"),
    ],
)
def test_weights_that_are_none_get_a_sentence(
    architecture: Path, name: str, labels: int, said: str
) -> None:
    names = [str(index) for index in range(labels)]
    with pytest.raises(WeightsError, match=said):
        api.add_model("small", "timm:test_resnet", weights=architecture / name, labels=names)
    with pytest.raises(ParameterError, match="no architecture"):
        api.add_model("small", "timm:hf-hub:a/b", weights=architecture / name, labels=names)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_weights_of_a_terabyte_are_refused_in_seconds(tmp_path: Path, name: str) -> None:
    with within(10), pytest.raises(WeightsError, match=r"1,099,.* bytes are more than"):
        model_torch.read_state(terabyte(tmp_path / name))


@pytest.fixture
def hugging_face(torch: Any, tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    names = dict(enumerate(("red", "green", "blue")))
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=3, id2label=names
    )
    network = transformers.ResNetForImageClassification(config)
    torch.nn.init.constant_(network.classifier[-1].bias, 9.0)  # its logits are not negative
    network.save_pretrained(tmp_path)
    told = {"crop_size": {"height": 32}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    return tmp_path


def test_a_folder_of_hugging_faces_tells_everything(hugging_face: Path) -> None:
    record = api.add_model("colours", hugging_face)
    assert record.labels().names == ("red", "green", "blue")
    assert record.input_size == 32
    scaled = {"mean": [0.5] * 3, "std": [0.25] * 3}
    assert value_of(record.normalisation) == scaled
    assert api.load_model("colours")(IMAGE).probabilities.shape == (1, 3)


def enlarged(config: dict[str, Any]) -> None:
    config |= {"hidden_sizes": [10**6], "embedding_size": 10**5}


def unknown(config: dict[str, Any]) -> None:
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}


def newer(config: dict[str, Any]) -> None:
    config |= {"model_type": "own"}


def deeper(config: dict[str, Any]) -> None:
    config["depths"] = [2]


def deep(config: dict[str, Any]) -> None:
    config["depths"] = [10**6]


def of_many_classes(config: dict[str, Any]) -> None:
    del config["id2label"], config["label2id"]
    config["num_labels"] = 10**9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (deep, "more than 20,000 layers"),
        (of_many_classes, "numbers of at most 1,000,000"),
        (enlarged, "more than model.safetensors holds"),
        (unknown, "never run"),
        (deeper, "lacks"),
    ],
)
def test_a_folder_that_is_not_what_it_says_gets_a_sentence(
    hugging_face: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    config = json.loads((hugging_face / "config.json").read_text())
    change(config)
    (hugging_face / "config.json").write_text(json.dumps(config))
    (hugging_face / "own.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(WeightsError, match=said):
        api.add_model("colours", hugging_face)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"architecture": "hf_hub:somebody/network"}, "name of an architecture of timm"),
        ({"model_args": {"checkpoint_path": "evil.pt"}}, "in model_args, got 'checkpoint_path'"),
        ({}, ""),
    ],
)
def test_a_folder_of_timms_names_no_host_and_no_code(
    torch: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    described: dict[str, Any],
    said: str,
) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    monkeypatch.chdir(tmp_path)
    network = timm.create_model("test_resnet", num_classes=3)
    weights = {f"timm_model.{key}": value for key, value in network.state_dict().items()}
    safetensors.save_file(weights, "model.safetensors", {"format": "pt"})
    (tmp_path / "evil.pt").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    told = {"model_type": "timm_wrapper", "architecture": "test_resnet", "num_classes": 3}
    told |= {"label_names": ["a", "b", "c"], **described}
    (tmp_path / "config.json").write_text(json.dumps(told))
    given: dict[str, Any] = {"input_size": 32, "normalisation": "0..1"}
    if not said:
        assert file(api.add_model("mine", tmp_path, **given)).kind == "Hugging Face timm_wrapper"
        return
    with pytest.raises(WeightsError, match=said):
        api.add_model("mine", tmp_path, **given)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_a_network_of_timm_sees_images_as_its_own_transform_shows_them(
    torch: Any, mode: str
) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    network = timm.create_model("resnet18", pretrained=False, num_classes=3).eval()
    network.pretrained_cfg |= {"crop_mode": mode, "crop_pct": 0.9, "input_size": (3, 64, 64)}
    data = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**data, is_training=False)
    record = api.add_model("own", network, labels=["a", "b", "c"], output="logits")
    classifier = models.load("own", side=64)
    for name in ("chelsea", "rocket"):
        photo = decode(sample_bytes(name))
        with torch.inference_mode():
            expected = network(transform(photo)[None]).softmax(1).numpy()
        image = fit(photo, record.framing)
        np.testing.assert_allclose(classifier(image[None]).probabilities, expected, atol=1e-5)


def test_a_network_of_torch_gets_what_a_function_or_torchvisions_transforms_prepare(
    torch: Any,
) -> None:
    transforms = pytest.importorskip("torchvision.transforms._presets", reason="no torchvision")
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    described: dict[str, Any] = {"labels": ["a", "b", "c"], "output": "logits"}
    preset = transforms.ImageClassification(crop_size=64, resize_size=70)
    record = api.add_model("read", network, preprocess=preset, **described)
    photo = decode(sample_bytes("rocket"))
    expected = network(preset(photo)[None]).softmax(1).numpy()
    image = fit(photo, record.framing)[None]
    answers = models.load("read", side=64)(image).probabilities
    np.testing.assert_allclose(answers, expected, atol=1e-5)

    def preprocess(pixels: Any) -> Any:
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255

    api.add_model("called", network, preprocess=preprocess, input_size=64, **described)
    expected = network(preprocess(to_uint8(image[0]))[None]).softmax(1).numpy()
    np.testing.assert_allclose(
        models.load("called", side=64)(image).probabilities, expected, atol=1e-5
    )
