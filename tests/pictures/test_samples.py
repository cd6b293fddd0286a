"""The bundled photographs: all there, as expected, and described."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from robustness.base.errors import ImageError, UnknownNameError
from robustness.pictures import samples
from robustness.pictures.decoding import decode
from tests.support.places import ROOT

NAMES = ("coffee", "chelsea", "rocket", "motorcycle", "astronaut")


def test_the_samples_are_the_five() -> None:
    assert samples.REGISTRY.names == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_there_and_described(name: str) -> None:
    sample = samples.REGISTRY[name]
    data = samples.sample_bytes(name)
    assert hashlib.sha256(data).hexdigest() == sample.sha256
    assert samples.sample_path(name).read_bytes() == data
    assert min(decode(data).size) >= 256, "large enough not to be enlarged by the crop"
    assert sample.alt.endswith(".")
    assert len(sample.alt) > 40
    assert sample.label
    assert sample.credit


def test_an_unknown_sample_lists_the_known() -> None:
    for look_up in (samples.sample_path, samples.sample_bytes):
        with pytest.raises(UnknownNameError, match=r"Did you mean 'coffee'.*astronaut"):
            look_up("cofee")


def test_a_changed_or_missing_file_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "sample_path", lambda name: tmp_path / f"{name}.png")
    with pytest.raises(ImageError, match=r"is missing: expected the file data/coffee\.png.*pip"):
        samples.sample_bytes("coffee")
    (tmp_path / "coffee.png").write_bytes(b"something else")
    with pytest.raises(ImageError, match=r"not the expected file.*pip"):
        samples.sample_bytes("coffee")


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match="expected the package scikit-image"):
        samples.sample_path("coffee")


def test_samples_are_found_without_importing_their_package() -> None:
    code = (
        "import sys, robustness.pictures.samples as s; s.sample_bytes('coffee'); "
        "print('skimage' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
