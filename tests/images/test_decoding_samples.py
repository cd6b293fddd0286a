"""The bundled photographs: all there, as expected, and described."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from robustness.base.errors import ImageError, UnknownNameError
from robustness.images import decoding
from robustness.images.decoding import decode

NAMES = ("coffee", "chelsea", "rocket", "motorcycle", "astronaut")


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_there_and_described(name: str) -> None:
    sample = decoding.REGISTRY[name]
    data = decoding.sample_bytes(name)
    assert hashlib.sha256(data).hexdigest() == sample.sha256
    assert decoding.sample_path(name).read_bytes() == data
    assert min(decode(data).size) >= 256, "large enough not to be enlarged by the crop"
    assert sample.alt.endswith(".")
    assert len(sample.alt) > 40
    assert sample.label
    assert sample.credit


def test_an_unknown_sample_lists_the_known() -> None:
    for look_up in (decoding.sample_path, decoding.sample_bytes):
        with pytest.raises(UnknownNameError, match=r"Did you mean 'coffee'.*astronaut"):
            look_up("cofee")


def test_a_changed_or_missing_file_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "sample_path", lambda name: tmp_path / f"{name}.png")
    with pytest.raises(ImageError, match=r"is missing: expected the file .*coffee\.png; fetch"):
        decoding.sample_bytes("coffee")
    (tmp_path / "coffee.png").write_bytes(b"something else")
    with pytest.raises(ImageError, match=r"not the expected file.*fetch"):
        decoding.sample_bytes("coffee")


def test_their_terms_stand_beside_them() -> None:
    beside = {path.name for path in decoding.FOLDER.iterdir()}
    assert beside == {"README.md", *(sample.filename for sample in decoding.REGISTRY)}
    terms = (decoding.FOLDER / "README.md").read_text(encoding="utf-8")
    for sample in decoding.REGISTRY:
        (row,) = (line for line in terms.splitlines() if f"`{sample.filename}`" in line)
        licence = sample.credit.rpartition("(")[2].rstrip(")")
        assert licence in row
        assert "https://" in row
