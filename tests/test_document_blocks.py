"""The blocks of the README and of docs/ run as printed: in order, in one folder, as a reader would.

The folders that they name have parts of the bundled photographs, production those of a dark camera.
Two small networks stand in for bundled models, but for the match: it asks models what they know.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pandas as pd
import pytest
from PIL import Image

from robustness import models, perturbations, plugins
from robustness.base import settings
from robustness.cli import main
from robustness.images.decoding import sample_path
from robustness.matching import emulator, fit
from robustness.models import own
from robustness.models.keras import keras_graph
from tests.conftest import register
from tests.support.clip_folder import write_clip
from tests.support.documents import DOCUMENTS, code_of
from tests.support.onnx_files import small_model
from tests.support.user_models import DIGITS, small_network

SIDE = 32
NETWORKS = ("SqueezeNet", "EfficientNetLite0")
BUNDLED_MODELS = {name: models.REGISTRY[name] for name in NETWORKS}
"""The models themselves, which the networks replace."""

PHOTOGRAPHS = {"coffee": "espresso", "chelsea": "Egyptian cat", "motorcycle": "moped"}
"""Bundled photographs, each with its class."""

FOLDERS = {"photos": 21, "labelled": 42, "production": 24}
"""The folders that documents name, each with how many images it gets."""

LIGHT = 0.45
"""What the camera of ``production`` leaves of each value of a pixel, as docs/match.md says."""

LANGUAGES = ("bash", "python")
OTHER_LANGUAGES = {
    "toml": "read by tests/test_documents.py, and run with the commands of FILES",
    "yaml": "of other programs; tests/test_documents.py parses its commands",
    "ini": "what Streamlit reads of a provider of logins",
    "text": "no code: what is printed, or how files lie",
}
"""The languages of blocks that nobody types into a shell or Python."""

NOT_RUN = {
    "-m venv": "installs packages, as .ci/run does by the same command",
    "pip install": "installs packages; tests/test_packaging.py installs this one and runs it",
    "streamlit run": "starts a server that stays; tests/ui/browser starts one",
    "models download": "needs a network",
    "ROBUSTNESS_WEIGHTS_DIR=": "needs what the line above it downloads",
    "ray start": "needs a second machine; tests/runs/test_ray.py starts a cluster of one",
    "--engine ray": "needs that cluster, and a bucket",
    "import fiftyone": "needs FiftyOne and its database, which no test installs",
}
"""What is not run: by a part of a line, or of a block of Python, with the reason."""

STATUS = {"check": (0, 1)}
"""Exit statuses of commands that judge; that of others is 0."""

BUNDLED = "docs/match.md"
"""The page whose blocks need models that know what photographs show."""

FILES = {
    "[[limit]]": "budget.toml",
    "[ranges]": "outdoor.toml",
    "ROBUSTNESS_INTERFACE": "hot_pixels.py",
    "plugins = ": settings.CONFIG_FILE,
}
"""Blocks that a reader saves to a file of the page, by a part of them."""

PAGES = [name for name in DOCUMENTS if name == "README.md" or name.startswith("docs/")]
BLOCKS = [
    pytest.param(name, language, code, id=f"{name}-{place}")
    for name in PAGES
    for place, (language, code) in enumerate(code_of(DOCUMENTS[name]))
    if language in LANGUAGES
    if not any(part in code for part in (*NOT_RUN, *FILES))
]


def part_of(photograph: Image.Image, draws: np.random.Generator) -> Image.Image:
    """A square of most of ``photograph``, as if it was taken from elsewhere."""
    side = int(min(photograph.size) * draws.uniform(0.6, 0.9))
    left = int(draws.integers(photograph.width - side))
    top = int(draws.integers(photograph.height - side))
    return photograph.crop((left, top, left + side, top + side))


def write_images(folder: Path, count: int, draws: np.random.Generator) -> None:
    """Write ``count`` parts of photographs; each class has a folder, but for a camera's."""
    for number, sample in zip(range(count), cycle(PHOTOGRAPHS), strict=False):
        image = part_of(Image.open(sample_path(sample)).convert("RGB"), draws)
        home = folder
        if folder.name == "production":
            image = image.point(lambda value: round(LIGHT * value))
        else:
            home /= PHOTOGRAPHS[sample]
        home.mkdir(parents=True, exist_ok=True)
        image.save(home / f"{number}.png")


def write_networks(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Register small networks in place of the bundled models that the documents name."""
    records = {}
    for name in NETWORKS:
        network = small_network(side=SIDE, classes=1000)
        path = folder / f"{name}.xml"
        openvino.save_model(keras_graph(network, (), (SIDE, SIDE)), path, compress_to_fp16=False)
        described = {"path": str(path), "labels": "imagenet", "input_size": SIDE}
        described |= {"normalisation": "0..1", "fit": "squash"}
        (record,) = own.records_of(folder / "models.toml", {"small": described})
        bundled = models.REGISTRY[name]
        records[name] = replace(record, name=name, label=bundled.label, group=bundled.group)
    patch.setattr(models.REGISTRY, "_records", dict(records))
    for record in records.values():
        register(patch, record)


def write_torch_models() -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    save = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    save.save_file(timm.create_model("tf_efficientnet_lite0").state_dict(), "lite0.safetensors")


def write_hugging_face_model() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    size = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3}
    config = transformers.ViTConfig(image_size=32, intermediate_size=12, num_labels=3, **size)
    transformers.ViTForImageClassification(config).save_pretrained("my-vit-folder")
    told = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    Path("my-vit-folder/preprocessor_config.json").write_text(json.dumps(told))


def write_zero_shot_model() -> None:
    write_clip(Path("my-clip-folder"))
    Path("pets.txt").write_text("cat\ndog\nparrot\n", encoding="utf-8")


def torch_network() -> Any:
    """A network of three classes for images of any size."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    layers = torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 3)
    return torch.nn.Sequential(*layers, torch.nn.Softmax(1))


def write_validation() -> None:
    """The labelled images of the reader, and the classes of the network that was exported."""
    pytest.importorskip("torch", reason="torch is not installed")
    Path("classes.txt").write_text("\n".join(PHOTOGRAPHS.values()), encoding="utf-8")
    shutil.copytree("labelled", "validation", dirs_exist_ok=True)


def write_digits() -> None:
    Path("digits.txt").write_text("\n".join(DIGITS), encoding="utf-8")
    Path("digits.onnx").write_bytes(small_model())
    small_network().save("digits.keras")


def write_predictions() -> None:
    """What another system adds to the table of an export."""
    table = pd.read_csv("perturbed/images.csv")
    table.assign(prediction=0).to_parquet("perturbed/predicted.parquet")


def write_scores() -> None:
    """The same, for a task without classes."""
    table = pd.read_csv("tested/images.csv")
    table.assign(score=0.5, score_name="IoU").to_csv("tested/scores.csv", index=False)


def evaluate_labelled() -> None:
    """A run of the hundred labelled photographs that a temperature needs."""
    write_images(Path("more/photos"), 102, np.random.default_rng(1))
    assert main.main(["evaluate", "more/photos", "--conditions", "fog=0.6", "--out", "runs"]) == 0


def needs(package: str) -> Callable[[], object]:
    """What skips a block where the optional ``package`` is not installed."""
    return partial(pytest.importorskip, package, reason=f"{package} is not installed")


BEFORE: dict[str, Callable[[], object]] = {
    "models add digits.onnx": write_digits,
    "import torchvision": needs("torchvision"),
    "timm:": write_torch_models,
    "my-vit-folder": write_hugging_face_model,
    "my-clip-folder": write_zero_shot_model,
    "perturbed/predicted.parquet": write_predictions,
    "tested/scores.csv --domain": write_scores,
    "models add ournet.onnx": write_validation,
    "import my_client": lambda: Path("my_client.py").touch(),
    "robustness calibrate": evaluate_labelled,
    "--log-mlflow": needs("mlflow"),
    "from datasets import": needs("datasets"),
}
"""What a reader brings along, by a part of the block that needs it."""


REPLIES = {"labels": "digits.txt", "normalisation": "0..1", "output": "logits"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder of a reader."""
    base = tmp_path_factory.mktemp("reader")
    shutil.copy(sample_path("chelsea"), base / "photo.png")
    draws = np.random.default_rng(0)
    for name, count in FOLDERS.items():
        write_images(base / name, count, draws)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        patch.syspath_prepend(str(base))
        patch.setenv(settings.CACHE.variable, str(base / "cache"))
        # MLflow may be installed without its database: this is a reader with a server.
        patch.setenv("MLFLOW_TRACKING_URI", (base / "tracked").as_uri())
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setattr(perturbations.REGISTRY, "_records", dict(perturbations.REGISTRY._records))
        patch.setattr("builtins.input", lambda prompt: REPLIES[prompt.split()[0]])
        patch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        patch.setattr(emulator, "SIMULATIONS", 1500)
        patch.setattr(emulator, "_EPOCHS", 20)
        for constant in ("_ROUNDS", "_REPEATS"):
            patch.setattr(fit, constant, 1)
        write_networks(base, patch)
        yield base
    plugins.load()


def save_files(name: str) -> None:
    """Save the files of the page ``name``."""
    for _, code in code_of(DOCUMENTS[name]):
        for part, file in FILES.items():
            if part in code:
                Path(file).write_text(code, encoding="utf-8")


def own_runs(text: str, ids: dict[str, str]) -> str:
    """``text`` with the runs of this folder: each id that is not yet in ``ids`` is the latest."""

    def own(match: re.Match[str]) -> str:
        latest = max(path.parent.name for path in Path("runs").glob("photos-*/manifest.json"))
        return ids.setdefault(match[0], latest)

    return re.sub(r"photos-\d{8}-\d{6}-[0-9a-f]{6}|\bRUN\b", own, text)


def run_line(line: str, ids: dict[str, str]) -> None:
    words = shlex.split(own_runs(line, ids))
    if words[:3] == [".venv/bin/python", "-m", "robustness"]:
        assert main.main(words[3:]) in STATUS.get(words[3], (0,)), line
    else:
        subprocess.run(["bash", "-c", shlex.join(words)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "language", "code"), BLOCKS)
def test_a_block_runs_as_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, language: str, code: str
) -> None:
    if name == BUNDLED:
        monkeypatch.setattr(models.REGISTRY, "_records", dict(BUNDLED_MODELS))
    save_files(name)
    for part, bring in BEFORE.items():
        if part in code:
            bring()
    if language == "python":
        of_reader = {"network": torch_network()} if re.search(r"\bnetwork\b", code) else {}
        exec(compile(code, name, "exec"), dict(of_reader))
        return
    ids: dict[str, str] = {}
    for line in code.splitlines():
        run_line(line, ids)


def test_what_is_told_of_blocks_is_of_one_that_is_there() -> None:
    found = [block for name in PAGES for block in code_of(DOCUMENTS[name])]
    code = "".join(code for _, code in found)
    assert not [part for part in (*NOT_RUN, *FILES, *BEFORE) if part not in code]
    languages = {language for language, _ in found}
    assert languages == {*LANGUAGES, *OTHER_LANGUAGES}, "each is run, or is told why not"
