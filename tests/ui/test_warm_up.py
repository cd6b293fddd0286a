"""What the dashboard does as its server starts."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robustness.models.apart import convert_apart
from robustness.models.loaded import LOADED
from robustness.ui import warm_up
from tests.conftest import OFFLINE_NAMES


def test_a_server_loads_its_default_models_as_it_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path))
    loaded: list[str] = []
    asked: list[tuple[int, ...]] = []
    ready = threading.Event()

    class Classifier:
        side = 224

        def __call__(self, images: np.ndarray) -> None:
            asked.append(images.shape)
            if len(asked) == len(OFFLINE_NAMES):
                ready.set()

    def load(name: str) -> Classifier:
        loaded.append(name)
        return Classifier()

    frozen: list[list[str]] = []
    monkeypatch.setattr(warm_up, "gc", SimpleNamespace(freeze=lambda: frozen.append([*loaded])))
    stopped: list[bool] = []
    monkeypatch.setattr(warm_up.APART, "stop", lambda: stopped.append(bool(loaded)))
    monkeypatch.setattr(LOADED, "before_building", LOADED.before_building)
    monkeypatch.setattr("robustness.models.load", load)
    monkeypatch.setattr("robustness.evaluation.similarity.floors", lambda _: None)

    async def start() -> bool:
        async with warm_up.warm_up(None):  # type: ignore[arg-type]
            return await asyncio.to_thread(ready.wait, 30)

    assert asyncio.run(start())
    assert frozen == [[]], "what is loaded can be released"
    assert sorted(loaded) == sorted(OFFLINE_NAMES)
    assert asked == [(1, 224, 224, 3)] * len(OFFLINE_NAMES), "it is compiled by then"
    assert LOADED.before_building is convert_apart
    assert stopped == [True], "with the server, and not before"
