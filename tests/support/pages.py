"""The dashboard's pages run without a browser, and what stands on them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from robustness.evaluation.condition import Condition
from robustness.pictures.fitting import study_image
from robustness.pictures.picture import Picture
from robustness.pictures.samples import sample_bytes
from robustness.ui.kit import memo
from tests.support.places import ROOT

PATIENCE = 120
"""Seconds that a run of a page may take, on a machine that does much else."""


def run(page: Path = ROOT / "app.py", **query: str | list[str]) -> AppTest:
    """The page opened by a link with ``query``."""
    app = AppTest.from_file(str(page), default_timeout=PATIENCE)
    for name, value in query.items():
        app.query_params[name] = value
    return app.run()


def sample(name: str) -> Picture:
    """The bundled sample ``name`` as a page shows it."""
    return Picture.of(name, study_image(sample_bytes(name)))


def changes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Condition, int]]:
    """What pages have perturbed from now on: digest of the picture, condition, seed."""
    seen: list[tuple[str, Condition, int]] = []
    change = memo.change

    def noted(picture: Picture, condition: Condition, seed: int) -> memo.Change:
        seen.append((picture.digest, condition, seed))
        return change(picture, condition, seed)

    monkeypatch.setattr(memo, "change", noted)
    return seen


def html(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


def headline(app: AppTest) -> str:
    found = re.search(r'<div class="rb-headline"[^>]*>([^<]*)<', html(app))
    assert found is not None
    return found[1]


def completed(app: AppTest) -> AppTest:
    """``app`` once the maps of where the models look have come."""
    deadline = time.monotonic() + PATIENCE
    while any("Looking" in caption.value for caption in app.caption):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        app.run()
    return app


def maps(app: AppTest) -> list[str]:
    """The captions of the heat maps, top to bottom."""
    found = [image.caption for element in app.get("image") for image in element.proto.imgs]
    return [caption for caption in found if "peak" in caption or ": none" in caption]
