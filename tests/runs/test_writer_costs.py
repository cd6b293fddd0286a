"""What models and remedies cost: models in turns, remedies at work on a photograph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.synthetic_runs import pictures
from robustness.base import turns
from robustness.measure.request import suite_conditions
from robustness.models.loaded import needed
from robustness.models.record import REGISTRY as MODELS
from robustness.remedies.chain import REGISTRY, parse
from robustness.runs import writer
from robustness.runs.latencies import costs
from robustness.statistics.choice import times_faster
from tests.support.saved_runs import NAMES, performed, spec, use_stand_ins

SPEC = spec(suite_conditions("study"))


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models in the order in which they are called."""
    found: list[str] = []

    class Recorder:
        call_seconds, engine = None, "a stand-in"

        def __init__(self, name: str, side: int) -> None:
            self.name, self.side = name, side

        def __call__(self, images: Any) -> None:
            assert images.shape == (1, self.side, self.side, 3)
            assert images.std() > 0.1, "a photograph"
            found.append(self.name)

    monkeypatch.setattr(turns, "SECONDS_A_TASK", 1000)
    monkeypatch.setattr(writer.models, "load", lambda name, *, side: Recorder(name, side))
    return found


def test_models_are_timed_in_turns(calls: list[str]) -> None:
    (record,) = writer.measure_latencies(SPEC)
    turn = [name for name in NAMES for _ in range(turns.MOST_PASSES)]
    assert calls == [*NAMES] + turn * turns.ROUNDS
    assert record.cores >= 1
    assert record.processor
    assert {name: len(turns) for name, turns in record.models.items()} == dict.fromkeys(NAMES, 5)
    for cost in costs({}, [record]).values():
        assert cost.latency_ms is not None
        assert 0 < min(cost.turns_ms) <= cost.latency_ms <= max(cost.turns_ms)
        assert cost.waiting is not None
        assert 0 <= cost.waiting <= 1
        assert cost.machine.startswith(record.processor)


def test_a_run_of_refused_images_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    pictures(tmp_path / "images", ["square.png"])
    assert performed(tmp_path / "images", tmp_path / "runs", SPEC).manifest.latencies
    (tmp_path / "images" / "square.png").write_text("no image")
    refused = performed(tmp_path / "images", tmp_path / "runs", SPEC)
    assert refused.finished
    assert refused.manifest.latencies == ()


def test_models_that_memory_does_not_hold_at_once_are_loaded_once(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "budget", lambda: max(needed(MODELS[name]) for name in NAMES))
    records = writer.measure_latencies(SPEC)
    first, second = NAMES
    passes = 1 + turns.ROUNDS * turns.MOST_PASSES
    assert calls == [first] * passes + [second] * passes
    one, other = (vars(cost) for cost in costs({}, records).values())
    assert times_faster(one, other) is None, "measured apart"
    assert times_faster(other, one) is None


def test_the_time_of_a_gated_remedy_is_that_with_its_gate_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []
    gated = REGISTRY["median_if_impulsive"]

    def function(image: Any) -> Any:
        opened.append(image.shape)
        return gated.function(image)

    monkeypatch.setitem(REGISTRY._records, gated.name, replace(gated, function=function))
    spec = SPEC.with_remedies([parse(gated.name)])
    (record,) = writer.measure_latencies(spec)
    assert len(opened) == 1 + turns.ROUNDS * turns.MOST_PASSES
    for name in NAMES:
        behind = record.models[f"{name}+median_if_impulsive"]
        assert all(more > less for more, less in zip(behind, record.models[name], strict=True))
