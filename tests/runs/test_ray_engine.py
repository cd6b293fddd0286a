"""The Ray engine on a cluster of two workers on this machine: the rows of the local engine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustness import runs
from robustness.commands import main
from robustness.datasets import Entry
from robustness.datasets.folder import Folder
from robustness.evaluation.condition import Condition
from robustness.evaluation.spec import make_spec
from robustness.runs.engines import ray_cluster
from tests.support.made_datasets import labelled_folder
from tests.support.places import ROOT

ray = pytest.importorskip("ray")

CONDITIONS = (Condition.of({"gaussian_noise": 0.6}), Condition.of({"fog": 0.6}))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that works not, and two workers of a core each."""
    from ray.cluster_utils import Cluster

    root = str(ROOT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", root)  # as on a machine of a cluster: see docs/scaling.md
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            made.add_node(num_cpus=1)
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = labelled_folder(tmp_path_factory.mktemp("data") / "set", 8)
    (made / "670" / "broken.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    return made


class DeadlyFolder(Folder):
    """A folder that kills the first process to read its middle picture.

    Every process that reads from it leaves its number in ``notes``.
    """

    def __init__(self, path: Path, notes: Path) -> None:
        super().__init__(path)
        self.notes = notes

    def read(self, entry: Entry) -> bytes:
        (self.notes / f"process-{os.getpid()}").touch()
        if entry == self.entries[len(self) // 2]:
            with suppress(FileExistsError):
                (self.notes / "killed").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return super().read(entry)


def test_a_worker_killed_in_mid_run_loses_nothing_and_doubles_nothing(
    cluster: Any, folder: Path, tmp_path: Path
) -> None:
    plan = runs.plan(str(folder), make_spec(["SqueezeNet"], CONDITIONS, seed=3), batch=1)
    (tmp_path / "notes").mkdir()
    deadly = replace(plan.job, dataset=DeadlyFolder(folder, tmp_path / "notes"))
    with runs.start(replace(plan, job=deadly), tmp_path / "ray", engine="ray") as session:
        states = list(session.perform("ray", cluster.address))
    assert (tmp_path / "notes" / "killed").exists()
    assert len(list((tmp_path / "notes").glob("process-*"))) >= 2, "another has done its work"
    with runs.start(plan, tmp_path / "local") as local:
        for _ in local.perform():
            pass
    ours, theirs = runs.load(session.folder), runs.load(local.folder)
    assert ours.table().equals(theirs.table())
    assert ours.unreadable == theirs.unreadable
    assert len(ours.unreadable) == 1
    assert [state.done for state in states] == [0, *range(26)], "progress is passed through"


class Poisoned(Folder):
    """A folder that kills every process to read its second picture."""

    def read(self, entry: Entry) -> bytes:
        if entry.name == self.entries[1].name:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(entry)


def test_a_picture_that_kills_every_worker_is_named_and_the_run_goes_on(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_RETRIES", 0)  # each costs the start of a process
    source = labelled_folder(tmp_path / "set", 1)
    plan = runs.plan(str(source), make_spec(["SqueezeNet"], CONDITIONS[:1], seed=3), batch=3)
    poisoned = replace(plan.job, dataset=Poisoned(source))
    with runs.start(replace(plan, job=poisoned), tmp_path / "ray", engine="ray") as session:
        states = list(session.perform("ray", cluster.address))
    found = runs.load(session.folder)
    name = plan.job.dataset.entries[1].name
    assert found.unreadable == [
        (name, f"{name} ended every process that worked on it: save it anew from another program.")
    ]
    assert found.images == states[-1].done - 1 == len(plan.job.dataset) - 1
    assert found.table()["image"].unique().to_pylist() == [
        entry.name for entry in plan.job.dataset.entries if entry.name != name
    ]


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
