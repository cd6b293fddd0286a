"""Perturbations that a TOML file describes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image

from robustness import plugins
from robustness.base.errors import PluginError
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.perturbations import compose
from robustness.plugins.plugin_laws import images
from tests.support.plugin_images import image


def described(folder: Path, text: str) -> None:
    (folder / "mine.toml").write_text(f"interface = 1\n{text}")
    (folder / "robustness.toml").write_text('plugins = ["hot.py", "mine.toml"]')
    plugins.load()


def test_overlays_cover_what_is_below_them_by_their_opacity(folder: Path) -> None:
    (folder / "dirt").mkdir()
    red = np.zeros((10, 10, 4), np.uint8)
    red[:, 5:] = (0, 0, 255, 255)  # in OpenCV's order
    cv2.imwrite(str(folder / "dirt" / "red.png"), red)
    described(folder, '[dirty]\noverlays = "dirt"\nopacity = 0.5')
    result = image("dirty", 1.0)
    before = images(64)
    np.testing.assert_array_equal(result[:, :, :31], before[:, :, :31])
    np.testing.assert_allclose(
        result[:, :, 33:], 0.5 * before[:, :, 33:] + [0.5, 0, 0], atol=1 / 255
    )


def test_the_size_of_an_overlay_is_read_before_its_pixels(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "dirt").mkdir()
    cv2.imwrite(str(folder / "dirt" / "red.png"), np.zeros((1, 8, 4), np.uint8))
    monkeypatch.delattr(cv2, "imdecode")
    with monkeypatch.context() as patch:
        patch.setattr("robustness.plugins.toml_perturbations._MOST_SIDE", 7)
        with pytest.raises(PluginError, match=r"red\.png is not"):
            described(folder, '[dirty]\noverlays = "dirt"')
    described(folder, '[dirty]\noverlays = "dirt"')
    assert "dirty" in PERTURBATIONS


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L"])
def test_overlays_are_in_colours_or_transparent(folder: Path, mode: str) -> None:
    (folder / "dirt").mkdir()
    Image.new(mode, (8, 4)).save(folder / "dirt" / "one.png")
    if mode == "L":
        with pytest.raises(PluginError, match="colour image"):
            described(folder, '[dirty]\noverlays = "dirt"')
        return
    described(folder, '[dirty]\noverlays = "dirt"')
    assert image("dirty").shape == images(64).shape


def test_a_composition_is_the_perturbations_it_names(folder: Path) -> None:
    described(folder, "[dim]\ncomposition = { contrast = 0.8, brightness = 0.4 }")
    expected = compose(images(64), {"contrast": 0.4, "brightness": 0.2})
    np.testing.assert_allclose(image("dim"), expected, atol=1.1 / 255)


@pytest.fixture
def transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for albumentations and nrtk."""
    code = """
class Nrtk:
    def __init__(self, ksize, seed=None):
        self.level = ksize
    def __call__(self, image, boxes=None):
        return image // self.level, boxes

class Albumentations:
    def __init__(self, limit, p):
        self.level = limit[1]
    def set_random_seed(self, seed): ...
    def __call__(self, *, image):
        return {"image": image // self.level}
"""
    for name in ("albumentations", "nrtk"):
        module = ModuleType(name)
        exec(code, vars(module))
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("transforms")
def test_a_transform_grows_by_one_argument(folder: Path) -> None:
    described(
        folder,
        '[a]\ntransform = "nrtk.Nrtk"\nargument = "ksize"\nfrom = 1\nto = 7\n'
        '[b]\ntransform = "albumentations.Albumentations"\nargument = "limit"\n'
        "from = [1, 1]\nto = [1, 7]\n"
        "arguments = { p = 1.0 }",
    )
    expected = np.rint(images(64) * 255) // 5
    for name in ("a", "b"):
        np.testing.assert_array_equal(np.rint(image(name) * 255), expected)


@pytest.mark.usefixtures("transforms")
@pytest.mark.parametrize(
    "text",
    [
        "[x]",
        '[x]\noverlays = "nowhere"',
        "[x]\ncomposition = { fogg = 0.5 }",
        '[x]\ntransform = "no.such"\nargument = "a"',
        '[x]\noverlay = "dirt"',
        "[x]\ncomposition = {}",
        '[x]\ntransform = "subprocess.run"\nargument = "args"',
        '[x]\ntransform = "nrtk.Nrtk.__call__"\nargument = "image"',
        '[x]\ntransform = "nrtk.Nrtk"\nargument = "ksize"\nfrom = [1, 1]\nto = [7]',
    ],
)
def test_a_wrong_description_is_one_sentence(folder: Path, text: str) -> None:
    with pytest.raises(PluginError, match=r"mine\.toml"):
        described(folder, text)
    assert "x" not in PERTURBATIONS
