"""The dashboard's pages run without a browser, and what stands on them."""

from __future__ import annotations

import functools
import json
import re
import time
from pathlib import Path
from typing import Any, cast

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest, local_script_runner

from benchmarks.support.repository import ROOT
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Picture, study_image
from robustness.measure.condition import Condition
from robustness.perturbations import REGISTRY
from robustness.ui import shared
from robustness.ui.components import unpack
from robustness.ui.live import page as live_page

PATIENCE = 240
"""Seconds that a run of a page may take, on a machine that does much else."""


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Makes the runs of pages cheaper in this process.

    Streamlit scans all installed packages for components at every run of a page; here it does once.
    ``AppTest`` looks a thousand times a second whether a page has ended, through all that it has
    sent; here it waits for the page's thread.
    """
    look = local_script_runner.require_widgets_deltas

    def wait(runner: local_script_runner.LocalScriptRunner, timeout: float = 3) -> None:
        started = time.monotonic()
        if runner._script_thread is not None:
            runner._script_thread.join(timeout)
        look(runner, max(started + timeout - time.monotonic(), 0.1))

    scan = functools.cache(manifest_scanner.scan_component_manifests)
    patch.setattr(manifest_scanner, "scan_component_manifests", scan)
    patch.setattr(local_script_runner, "require_widgets_deltas", wait)


def run(page: Path = ROOT / "app.py", /, **query: str | list[str]) -> AppTest:
    """The page opened by a link with ``query``, which no exception has ended."""
    app = AppTest.from_file(str(page), default_timeout=PATIENCE)
    for name, value in query.items():
        app.query_params[name] = value
    app.session_state[live_page.OPENED] = True  # no browser asks for the charts of Live
    app.run()
    assert not app.exception
    return app


def sample(name: str) -> Picture:
    """The bundled sample ``name`` as a page shows it."""
    return Picture.of(name, study_image(sample_bytes(name)))


def changes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Condition, int]]:
    """Records what pages perturb: digest of the image, condition, seed."""
    seen: list[tuple[str, Condition, int]] = []
    change = shared.change

    def noted(picture: Picture, condition: Condition, seed: int) -> shared.Altered:
        seen.append((picture.digest, condition, seed))
        return change(picture, condition, seed)

    monkeypatch.setattr(shared, "change", noted)
    return seen


def html(app: AppTest) -> str:
    """All HTML of ours on the page, that of the answers included."""
    found = [element.proto.body for element in app.get("html")]
    for shown in components(app, "answers"):
        found += [shown["headline"], shown["rows"], *shown["cards"]]
    # Within a headline, names of models are kept on one line.
    return re.sub(r'<span class="rb-whole">([^<]*)</span>', r"\1", "\n".join(found))


def texts(app: AppTest) -> str:
    """The texts of the page, without the marks that escape Markdown in names."""
    kinds = (app.caption, app.info, app.warning, app.error, app.success, app.markdown)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def components(app: AppTest, name: str) -> list[Any]:
    """The data of each of our components ``name``; for images, (header, PNGs)."""
    protos = [element.proto for element in app.get("bidi_component")]
    mine = [proto for proto in protos if proto.component_name == f"robustness_{name}"]
    return [unpack(each.bytes) if each.bytes else json.loads(each.json) for each in mine]


def pictures(app: AppTest) -> tuple[dict[str, Any], list[bytes]]:
    """The texts about the pair of images on the page, and both as PNGs."""
    return cast("tuple[dict[str, Any], list[bytes]]", components(app, "pair")[0])


def on(app: AppTest) -> dict[str, float]:
    """The perturbations of the stack."""
    (shown,) = components(app, "stack")
    return {step["name"]: step["strength"] for step in shown["steps"]}


def perturb(app: AppTest, **strengths: float) -> AppTest:
    """The Live page once its link says ``strengths`` and nothing else of perturbations."""
    for name in REGISTRY.names:
        app.query_params.pop(name, None)
    for name, strength in strengths.items():
        app.query_params[name] = f"{strength:g}"
    return app.run()


def headline(app: AppTest) -> str:
    found = re.search(r'<div class="rb-headline"[^>]*>([^<]*)<', html(app))
    assert found is not None
    return found[1]


def maps(app: AppTest) -> list[str]:
    """The captions of the heat maps, top to bottom."""
    found = [image.caption for element in app.get("image") for image in element.proto.imgs]
    return [caption for caption in found if "peak" in caption or ": none" in caption]
