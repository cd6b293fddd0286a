"""The Ray engine on a cluster of this machine, and on one that is made up: the rows of the local
engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from benchmarks.support.image_folders import labelled_folder
from benchmarks.support.lazy_modules import Later
from benchmarks.support.repository import ROOT
from robustness import runs
from robustness.cli import main
from robustness.measure.condition import Condition
from robustness.measure.request import make_spec
from robustness.runs import ray as run_ray
from tests.support.deadly_folders import DeadlyFolder

ray = Later("ray")
if find_spec("ray") is None:
    pytest.skip("ray is not installed", allow_module_level=True)

CONDITIONS = (Condition.of({"gaussian_noise": 0.6}), Condition.of({"fog": 0.6}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine images and one that is none."""
    made = labelled_folder(tmp_path_factory.mktemp("data") / "set", 3)
    (made / "670" / "broken.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    return made


@pytest.fixture(scope="module")
def plan(folder: Path) -> runs.Plan:
    return runs.plan(str(folder), make_spec(["SqueezeNet"], CONDITIONS, seed=3), batch=2)


@pytest.fixture(scope="module")
def local(plan: runs.Plan, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    with runs.start(plan, tmp_path_factory.mktemp("local")) as writer:
        list(writer.perform())
    return runs.load(writer.folder)


# --- on a cluster ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster: a head without workers, and a worker of one core."""
    from ray.cluster_utils import Cluster

    idle = {"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))  # as on a machine of a cluster: see docs/scaling.md
        made = Cluster(initialize_head=True, head_node_args={**idle, "no_monitor": True})
        made.add_node(num_cpus=1)
        yield made.address
        made.shutdown()


@dataclass(frozen=True)
class Survived:
    """A run over an image that ends the first process to read it, and one that ends them all."""

    run: runs.Run
    done: list[int]
    notes: Path
    deadly: str


@pytest.fixture(scope="module")
def survived(
    address: str,
    folder: Path,
    plan: runs.Plan,
    local: runs.Run,  # before the workers, so that they find the model converted
    tmp_path_factory: pytest.TempPathFactory,
) -> Survived:
    notes = tmp_path_factory.mktemp("notes")
    names = [entry.name for entry in plan.dataset.entries]
    # The one that ends them all is the last, so that no other can go down with it.
    dataset = DeadlyFolder(folder, notes, once=names[3], always=names[-1])
    deadly = replace(plan, dataset=dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_ray, "_RETRIES", 0)  # each costs the start of a process
        with runs.start(deadly, tmp_path_factory.mktemp("ray"), engine="ray") as writer:
            done = [state.done for state in writer.perform("ray", address)]
    return Survived(runs.load(writer.folder), done, notes, names[-1])


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_loses_nothing_and_doubles_nothing(
    survived: Survived, local: runs.Run
) -> None:
    assert (survived.notes / "killed").exists()
    assert len(list(survived.notes.glob("process-*"))) >= 2, "another has done its work"
    whole = local.table()
    others = whole.filter(pa.compute.not_equal(whole["image"], survived.deadly))
    assert others.num_rows == whole.num_rows - len(CONDITIONS)
    assert survived.run.table().equals(others)
    assert len(local.unreadable) == 1
    assert survived.run.unreadable[:-1] == local.unreadable
    assert survived.done == [0, 0, 2, 4, 6, 8, 10], "progress is passed through"


@pytest.mark.slow
def test_a_picture_that_kills_every_worker_is_named_and_the_run_goes_on(
    survived: Survived, local: runs.Run
) -> None:
    name = survived.deadly
    assert survived.run.unreadable[-1] == (
        name,
        f"{name} ended every process that worked on it: save it again with another program.",
    )
    assert survived.run.finished
    assert survived.run.images == local.images - 1 == 8


# --- on one that is made up -----------------------------------------------------------------------


class Machines:
    """In place of Ray: takes work as it does, and does it here, backwards and the last twice."""

    @property
    def exceptions(self) -> Any:
        return ray.exceptions

    def __init__(self, *cores: int) -> None:
        self._cores = cores
        self.asked: list[dict[str, Any]] = []
        self.data = SimpleNamespace(from_items=self._from_items, ActorPoolStrategy=dict)

    def nodes(self) -> list[dict[str, Any]]:
        off = {"Alive": False, "Resources": {"CPU": 64}}
        return [off, *({"Alive": True, "Resources": {"CPU": count}} for count in self._cores)]

    def shutdown(self) -> None:
        pass

    def _from_items(self, items: list[int], override_num_blocks: int) -> Any:
        def map_batches(worker: Callable[..., Any], **options: Any) -> Any:
            self.asked.append({"blocks": override_num_blocks, **options})
            work = worker(*options["fn_constructor_args"])

            def iter_batches(**_: object) -> Iterator[pa.Table]:
                numbers = pa.table({"item": items})
                for place in [*range(len(items))[::-1], 0]:
                    batch = numbers.slice(place, 1).to_pandas()
                    yield pa.table(work({"item": batch["item"].to_numpy()}))

            return SimpleNamespace(iter_batches=iter_batches)

        return SimpleNamespace(map_batches=map_batches)


@pytest.mark.slow
def test_every_machine_has_a_worker_and_what_comes_in_any_order_counts_once(
    plan: runs.Plan, local: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Machines(0, 4, 3)
    monkeypatch.setattr(run_ray, "_ray", lambda: made)
    monkeypatch.setattr(run_ray, "_connect", lambda *_: None)
    with runs.start(plan, tmp_path) as writer:
        states = list(writer.perform("ray", "anywhere"))
    assert [state.done for state in states] == [0, 0, 2, 4, 6, 8, 10]
    run = runs.load(writer.folder)
    assert run.table().equals(local.table())
    assert run.unreadable == local.unreadable
    (asked,) = made.asked
    assert asked["compute"] == {"size": 2, "max_tasks_in_flight_per_actor": 2}, "not on the head"
    assert asked["num_cpus"] == 2, "one of the smaller machine's stays free"
    assert asked["blocks"] == plan.chunk_count == 5
    assert asked["ray_remote_args_fn"]() == {"max_restarts": -1, "max_task_retries": 2}


# --- without one ----------------------------------------------------------------------------------


def test_a_cluster_that_is_not_there_gets_a_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(folder), "--out", str(tmp_path), "--models", "SqueezeNet"]
    assert main.main([*command, "--engine", "ray", "--address", "nonsense"]) == 2
    assert "There is no Ray cluster at 'nonsense'" in capsys.readouterr().err


def test_without_ray_the_command_says_what_to_install_and_leaves_no_run(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["evaluate", str(folder), "--out", str(tmp_path / "runs"), "--models", "SqueezeNet"]
    assert main.main([*command, "--engine", "ray"]) == 2
    assert "pip install -r requirements-ray.txt" in capsys.readouterr().err
    assert runs.listing(tmp_path / "runs") == []
