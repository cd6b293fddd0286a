"""What TensorFlow is imported with."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

from robustness.models.in_tensorflow import runtime

NAMES = ("extra_one", "extra_two", "extra_loaded", "no_extra")


def missing(name: str) -> bool:
    """Whether ``name``, a package that nobody has imported yet, cannot be found here and now."""
    try:
        import_module(name)
    except ImportError:
        return True
    return False


def test_its_import_finds_no_extras_but_others_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anything refused afterwards, or that has been imported before."""
    monkeypatch.setattr(runtime, "_DONE_WITHOUT", frozenset(NAMES[:3]))
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "within.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    try:
        import_module("extra_loaded")
        with runtime._without_extras():
            assert missing("extra_one")
            assert missing("extra_two.within")
            assert not missing("extra_loaded.within")
            assert not missing("no_extra.within")
            with ThreadPoolExecutor(1) as elsewhere:
                assert not elsewhere.submit(missing, "extra_one.within").result()
        assert not missing("extra_two.within")
        assert sys.meta_path == before
    finally:
        for name in NAMES:
            sys.modules.pop(name, None)
            sys.modules.pop(f"{name}.within", None)
