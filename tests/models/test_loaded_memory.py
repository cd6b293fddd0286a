"""Loaded models stay within a budget, and what is released goes back to the system."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import textwrap
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.support.repository import ROOT
from robustness import models
from robustness.base.errors import ParameterError, WeightsError
from robustness.models import loaded
from robustness.models.loaded import Loaded, load
from tests.conftest import OFFLINE_NAMES, register

SIDE = 64


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loaded]:
    """An empty place for loaded models: those that other tests have loaded stay in theirs."""
    empty = Loaded()
    monkeypatch.setattr(loaded, "LOADED", empty)
    yield empty
    empty.release()


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> str:
    """Another model, as large as the first and as soon converted."""
    record = replace(models.REGISTRY[OFFLINE_NAMES[0]], name="Twin")
    return register(monkeypatch, record).name


def build_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load a plain object in place of a model; it returns no memory."""
    monkeypatch.setattr(loaded, "digest", lambda record: record.name)
    monkeypatch.setattr(loaded, "require", lambda record: None)
    monkeypatch.setattr(loaded, "graph_pass", lambda *_: SimpleNamespace(engine="none", stages=()))
    monkeypatch.setattr(loaded, "Classifier", lambda *_, **__: object())
    monkeypatch.setattr(loaded, "give_back", lambda **_: None)


def allow(monkeypatch: pytest.MonkeyPatch, *names: str) -> int:
    """A budget for the models ``names``."""
    budget = sum(loaded.needed(models.REGISTRY[name]) for name in names)
    monkeypatch.setenv("ROBUSTNESS_MEMORY", str(budget))
    return budget


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4GB", 4 * 10**9), ("1.5gib", 3 * 2**29)],
)
def test_the_budget_is_read_from_the_setting(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    monkeypatch.setenv("ROBUSTNESS_MEMORY", text)
    assert loaded.budget() == expected


@pytest.mark.parametrize("text", ["much", "-1GB"])
def test_a_setting_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ROBUSTNESS_MEMORY", text)
    with pytest.raises(ParameterError, match=r"a size such as 4GB") as caught:
        loaded.budget()
    assert str(caught.value).endswith(".")


def test_half_of_the_memory_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ROBUSTNESS_MEMORY", raising=False)
    monkeypatch.setattr(loaded, "_CGROUP_LIMITS", ())
    machine = loaded.budget() * 2
    lines = Path("/proc/meminfo").read_text().splitlines() if sys.platform == "linux" else []
    if lines:
        assert machine == pytest.approx(int(lines[0].split()[1]) * 1024, rel=0.01)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(loaded, "_CGROUP_LIMITS", (tmp_path / "none", limit))
    limit.write_text("max\n")
    assert loaded.budget() * 2 == machine
    limit.write_text("2000000000\n")
    assert loaded.budget() == 10**9


def test_the_least_recently_used_is_released(monkeypatch: pytest.MonkeyPatch, kept: Loaded) -> None:
    build_nothing(monkeypatch)
    first, second, third, fourth = OFFLINE_NAMES
    budget = allow(monkeypatch, first, third, *[fourth] * loaded.WHILE_LOADING)
    one = load(first, side=SIDE)
    load(second, side=SIDE)
    assert load(first, side=SIDE) is one, "used again: now the more recent one"
    load(third, side=SIDE)
    load(fourth, side=SIDE)
    assert kept.names() == (first, third, fourth)
    assert kept.bytes() <= budget
    assert load(first, side=SIDE) is one
    load(second, side=SIDE)
    assert kept.names()[-1] == second, "what was released is loaded again"


def test_what_is_released_is_gone_unless_it_is_in_use(kept: Loaded, twin: str) -> None:
    held = load(OFFLINE_NAMES[0], side=SIDE)
    dropped = weakref.ref(load(twin, side=SIDE))
    kept.release()
    gc.collect()
    assert kept.names() == ()
    assert dropped() is None
    image = np.full((1, SIDE, SIDE, 3), 0.5, np.float32)
    np.testing.assert_array_equal(
        held(image).probabilities, load(OFFLINE_NAMES[0], side=SIDE)(image).probabilities
    )


def test_a_model_beyond_the_budget_is_refused(
    monkeypatch: pytest.MonkeyPatch, kept: Loaded
) -> None:
    load(OFFLINE_NAMES[0], side=SIDE)
    monkeypatch.setenv("ROBUSTNESS_MEMORY", "50MB")
    with pytest.raises(WeightsError, match="raise the setting 'memory'") as caught:
        load(OFFLINE_NAMES[1], side=SIDE)
    assert str(caught.value).endswith(".")
    assert kept.names() == OFFLINE_NAMES[:1], "nothing else was released for it"


def test_threads_that_load_and_release_at_once_stay_within(
    monkeypatch: pytest.MonkeyPatch, kept: Loaded
) -> None:
    """Loading takes its time here, so that several do at once what there is room for."""
    build_nothing(monkeypatch)

    def slow(*_: object) -> SimpleNamespace:
        time.sleep(0.002)
        return SimpleNamespace(engine="none")

    monkeypatch.setattr(loaded, "graph_pass", slow)
    budget = allow(monkeypatch, *[OFFLINE_NAMES[3]] * (2 * loaded.WHILE_LOADING))
    most = 0

    def work(first: int) -> None:
        nonlocal most
        for turn in range(first, first + 8):
            load(OFFLINE_NAMES[turn % 4], side=SIDE)
            most = max(most, kept.bytes())
            if turn % 4 == 0:
                kept.release(OFFLINE_NAMES[(turn + 1) % 4])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert 0 < most <= budget


def test_a_network_for_gradients_is_counted_with_its_model(kept: Loaded) -> None:
    classifier = load(OFFLINE_NAMES[0], side=SIDE)
    alone = kept.bytes()
    assert alone == loaded.needed(classifier.record)
    assert classifier.graph is classifier.graph
    assert kept.bytes() == 2 * alone
    kept.release()
    assert kept.bytes() == 0


# In a process of its own: what this one has loaded before must not count.
MEASURE = """
import gc, json, sys
import numpy as np
from robustness import models
from robustness.models.loaded import LOADED
from benchmarks.support.process_memory import resident


for name in sys.argv[1:]:  # converted now, with TensorFlow, and not below
    models.load(name)
LOADED.release()
start = resident()
loaded, peaks = {}, []
for name in sys.argv[1:]:
    classifier = models.load(name)
    classifier(np.zeros((16, 224, 224, 3), np.float32))
    del classifier
    loaded[name] = resident() - start
    peaks.append(LOADED.bytes())
LOADED.release()
print(json.dumps({"loaded": loaded, "kept": peaks, "released": resident() - start}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's memory can be given back")
def test_memory_returns_after_release() -> None:
    command = [sys.executable, "-c", textwrap.dedent(MEASURE), *OFFLINE_NAMES]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout.splitlines()[-1])
    held = found["loaded"][OFFLINE_NAMES[-1]]
    assert held > 100e6, "four models and a batch of 16 take memory"
    assert found["released"] < 0.35 * held
