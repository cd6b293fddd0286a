"""Proposals of a domain: from a preset, a match, and the properties of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import robustness as rb
from benchmarks.support.image_folders import flat_folder
from robustness.base.errors import ParameterError
from robustness.cli.main import main
from robustness.datasets import open_dataset
from robustness.matching.domain import PRESETS, open_domain, propose

PROFILE = """
[[condition]]
profile = "your camera"
darkness = 0.31

[match]
images = 50
fit = "crop"
side = 224

[[match.perturbations]]
perturbation = "darkness"
strength = 0.3
low = 0.2
high = 0.4
"""


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_domain_whose_ranges_have_sources(name: str, tmp_path: Path) -> None:
    file = tmp_path / "proposed.toml"
    assert main(["domain", "init", "--preset", name, "--to", str(file)]) == 0
    domain = rb.read_domain(file)
    assert all(each.source for each in domain.ranges)
    assert domain.outside
    assert main(["domain", "show", str(file)]) == 0
    assert main(["domain", "init", "--preset", name, "--to", str(file)]) == 2, "it is kept"


def test_a_preset_stands_where_a_file_of_a_domain_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images = open_dataset(str(flat_folder(tmp_path / "flat", 2)))
    preset = rb.propose_domain(preset="phone")
    assert open_domain("phone") == preset
    limited = open_domain("Phone", images)  # no image has a class
    assert limited.limit[0] == "min_consistency"
    assert limited.ranges == preset.ranges
    assert main(["evaluate", "flat", "--domain", "phone", "--models", "SqueezeNet", "--plan"]) == 0
    assert main(["domain", "show", "scanner"]) == 0
    Path("scanner").write_text(preset.as_toml())
    assert open_domain("scanner") == preset, "a file of that name counts"
    assert main(["domain", "show", "phon"]) == 2
    assert "outdoor-camera, phone, scanner" in capsys.readouterr().err


def test_the_condition_of_a_match_is_the_middle_of_its_range(tmp_path: Path) -> None:
    profile = tmp_path / "camera.toml"
    profile.write_text(PROFILE)
    with pytest.raises(ParameterError, match="got darkness"):
        propose(profile=profile)
    domain = rb.propose_domain(match=profile, preset="outdoor camera")
    (darkness,) = (each for each in domain.ranges if each.perturbation == "darkness")
    assert (darkness.low, darkness.middle, darkness.high) == (0, 0.3, 0.6)
    assert "50 images" in darkness.source
    assert {"fog", "gaussian_noise"} <= set(domain.perturbations)


def test_images_of_different_brightness_show_a_range_of_it(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for number in range(20):
        level = 40 if number < 2 else 150
        pixels = draws.normal(level, 5, (64, 64, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    domain = rb.propose_domain(images=tmp_path, preset="phone", name="yard")
    ranges = {each.perturbation: each for each in domain.ranges}
    # From 150 to 40 in 8 bits are 4.2 stops of light at a gamma of 2.2: beyond any range.
    assert ranges["darkness"].high >= 0.3
    assert "20 images" in ranges["darkness"].source
    assert "exposure" not in ranges, "none is brighter"
    with pytest.raises(ParameterError, match="10 different images"):
        rb.propose_domain(images=[np.zeros((8, 8, 3), np.uint8)])
