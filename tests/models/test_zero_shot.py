"""CLIP folders with any list of classes: the library's own probabilities, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustness import api, models
from robustness.base.errors import ParameterError, RobustnessError, WeightsError
from robustness.cli.main import main
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing, study_image
from robustness.images.pixels import to_uint8
from robustness.models import zero_shot
from robustness.models.heat_map import heat_maps
from robustness.models.loaded import LOADED
from tests.support.clip_folder import SCALE, SIDE, write_clip, write_open_clip
from tests.support.large_files import terabyte

pytestmark = pytest.mark.usefixtures("nothing_stays")

NAMES = ("cat", "dog", "coffee cup")
TEMPLATES = ("a photo of a {}.", "photo {}", "the {}, seen from above")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    write_clip(folder)
    return folder


@pytest.fixture
def clip(made: Path, tmp_path: Path) -> Path:
    """A copy of it, which a test may change."""
    return Path(shutil.copytree(made, tmp_path / "clip"))


def images() -> Any:
    framing = Framing(side=SIDE)
    return np.stack([study_image(sample_bytes(name), framing) for name in SAMPLES])


SAMPLES = ("chelsea", "coffee", "rocket")


def expected(folder: Path, pixels: Any, templates: tuple[str, ...]) -> Any:
    """The probabilities by transformers alone, with the rule of the paper for several templates."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    safetensors = pytest.importorskip("safetensors.torch")
    network = transformers.CLIPModel(transformers.CLIPConfig.from_pretrained(folder)).eval()
    network.load_state_dict(safetensors.load_file(folder / "model.safetensors"))
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(folder)
    processor = transformers.CLIPImageProcessor.from_pretrained(folder)
    values = processor([to_uint8(image) for image in pixels], return_tensors="pt")
    with torch.inference_mode():
        if len(templates) == 1:
            prompts = [templates[0].format(name) for name in NAMES]
            tokens = tokenizer(prompts, padding=True, return_tensors="pt")
            logits = network(**tokens, **values).logits_per_image
            return logits.softmax(1).numpy()
        rows = []
        for name in NAMES:
            prompts = [template.format(name) for template in templates]
            tokens = tokenizer(prompts, padding=True, return_tensors="pt")
            texts = torch.nn.functional.normalize(network.get_text_features(**tokens)[1])
            rows.append(torch.nn.functional.normalize(texts.mean(0), dim=0))
        seen = torch.nn.functional.normalize(network.get_image_features(**values)[1])
        return (SCALE * seen @ torch.stack(rows).T).softmax(1).numpy()


@pytest.mark.parametrize("templates", [TEMPLATES[:1], TEMPLATES])
def test_probabilities_are_those_of_transformers(made: Path, templates: tuple[str, ...]) -> None:
    api.add_model("pets", made, labels=NAMES, templates=templates)
    classifier = models.load("pets", side=SIDE)
    pixels = images()
    ours = classifier(pixels).probabilities
    theirs = expected(made, pixels, templates)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.ptp(theirs, axis=0).min() > 1e-3, "the images are told apart"
    # A graph as of any other network: features, attacks and heat maps come with it.
    assert classifier.stages[-1] == "embedding"
    gradient = classifier.gradients(pixels[:1], np.zeros(1, np.int32), np.full(1, -1, np.int32))
    assert gradient.gradient.any()
    assert heat_maps(classifier, pixels[:1], 0).cells == (4, 4)


def test_probabilities_are_those_of_open_clip(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    library = pytest.importorskip("open_clip", reason="open_clip is not installed")
    network = write_open_clip(tmp_path)
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(tmp_path)
    _, _, preprocess = library.create_model_and_transforms(f"local-dir:{tmp_path}")
    api.add_model("pets", tmp_path, labels=NAMES, templates=TEMPLATES)
    with torch.inference_mode():
        rows = []
        for name in NAMES:
            prompts = [template.format(name) for template in TEMPLATES]
            tokens = tokenizer(prompts, padding="max_length", max_length=77, return_tensors="pt")
            tokens = tokens["input_ids"]
            rows.append(network.encode_text(tokens, normalize=True).mean(0))
        texts = torch.nn.functional.normalize(torch.stack(rows))
        whole = [Image.open(io.BytesIO(sample_bytes(name))).convert("RGB") for name in SAMPLES]
        seen = network.encode_image(torch.stack([*map(preprocess, whole)]), normalize=True)
        theirs = (network.logit_scale.exp() * seen @ texts.T).softmax(1).numpy()
    framing = models.REGISTRY["pets"].framing
    pixels = np.stack([study_image(sample_bytes(name), framing) for name in SAMPLES])
    np.testing.assert_allclose(
        models.load("pets", side=SIDE)(pixels).probabilities, theirs, atol=1e-4
    )
    assert np.ptp(theirs, axis=0).min() > 1e-3, "the images are told apart"
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "vit_base_patch16_siglip_224"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"plain vision and text .* got timm_model_name"):
        api.add_model("siglip", tmp_path, labels=NAMES)


def test_another_list_of_labels_is_another_description(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pets.txt").write_text("\n".join(NAMES))
    (tmp_path / "templates.txt").write_text("\n".join(TEMPLATES))
    options = ["--labels", "pets.txt", "--templates", "templates.txt", "--name", "pets", "--json"]
    assert main(["models", "add", str(made), *options]) == 0
    assert json.loads(capsys.readouterr().out)["entry"]["templates"] == list(TEMPLATES)
    file = tmp_path / "models.toml"
    text = file.read_text()
    by_hand = text.replace("[pets]", "[colours]").replace('"pets.txt"', '["red", "blue"]')
    file.write_text(text + "\n" + by_hand)
    assert {"pets", "colours"} <= set(api.model_names())
    pixels = images()
    probabilities = models.load("pets", side=SIDE)(pixels).probabilities
    np.testing.assert_allclose(probabilities, expected(made, pixels, TEMPLATES), atol=1e-4)
    assert models.load("colours", side=SIDE)(pixels).probabilities.shape == (3, 2)
    assert models.REGISTRY["colours"].labels().names == ("red", "blue")
    digests = {models.digest(models.REGISTRY[name]) for name in ("pets", "colours")}
    assert len(digests) == 2, "runs of both are told apart"
    # Once converted, neither the text encoder nor torch is asked.
    monkeypatch.setattr(zero_shot, "open_zero_shot", None)
    LOADED.release()
    again = models.load("pets", side=SIDE)(pixels).probabilities
    np.testing.assert_array_equal(again, probabilities)


def without_tokenizer(folder: Path) -> None:
    (folder / "merges.txt").unlink()


def with_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def of_siglip(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "siglip"}))


def with_another_vocabulary(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["vocab_size"] = 400
    (folder / "config.json").write_text(json.dumps(config))


def with_a_vast_tokenizer(folder: Path) -> None:
    terabyte(folder / "tokenizer.json")


def with_a_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "given", "said"),
    [
        (None, {"labels": None}, "expected labels="),
        (None, {"labels": ["cat", "cat"]}, "'cat' is listed twice"),
        (None, {"labels": ["cat", "d" * 1001]}, "1,001 characters"),
        (None, {"labels": ["cat", "a dog " * 40]}, "at most 77 tokens"),
        (None, {"labels": [str(n) for n in range(50_001)]}, "at most 100,000 prompts"),
        (None, {"templates": "a photo"}, r"with \{\} once"),
        (None, {"templates": []}, r"with \{\} once"),
        (None, {"input_size": 64}, "input_size = 32"),
        (without_tokenizer, {}, "has no tokenizer"),
        (with_pickles, {}, "save the model as safetensors"),
        (with_a_vast_tokenizer, {}, "1,099,"),
        (with_a_broken_tokenizer, {}, "its tokenizer cannot be used"),
        (with_another_vocabulary, {}, "cannot be used as a CLIP model"),
        (of_siglip, {}, "clip, got siglip"),
    ],
)
def test_what_is_no_zero_shot_model_gets_a_sentence(
    clip: Path, change: Callable[[Path], None] | None, given: dict[str, Any], said: str
) -> None:
    if change is not None:
        change(clip)
    values = {"labels": NAMES, "templates": TEMPLATES[:2], **given}
    with pytest.raises(RobustnessError, match=said) as raised:
        api.add_model("pets", clip, **values)
    assert isinstance(raised.value, ParameterError | WeightsError)


def test_templates_are_of_clip_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits.onnx").write_bytes(b"")
    described = 'path = "digits.onnx"\nlabels = ["a", "b"]\ninput_size = 8\nnormalisation = "0..1"'
    (tmp_path / "models.toml").write_text(f"[digits]\n{described}\n")
    assert "digits" in api.model_names(ready=False)
    assert models.REGISTRY["digits"].labels().names == ("a", "b")
    (tmp_path / "models.toml").write_text(f'[digits]\n{described}\ntemplates = ["a {{}}."]\n')
    with pytest.raises(ParameterError, match="templates with a CLIP folder only"):
        api.model_names()
    (tmp_path / "models.toml").unlink()
