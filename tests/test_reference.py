"""The reference pages that pdoc makes of the docstrings."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from robustness import api


def test_each_public_name_has_its_place_in_the_reference(tmp_path: Path) -> None:
    pdoc = pytest.importorskip("pdoc", reason="pdoc is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of annotations that it cannot read
        pdoc.pdoc("robustness.api", output_directory=tmp_path)
    page = (tmp_path / "robustness" / "api.html").read_text(encoding="utf-8")
    for name in api.__all__:
        assert f'<section id="{name}">' in page, name


@pytest.mark.parametrize("name", api.__all__)
def test_each_public_function_says_what_it_does(name: str) -> None:
    assert (getattr(api, name).__doc__ or "").strip()
