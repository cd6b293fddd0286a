"""The Ray engine on a cluster of two workers on this machine: the rows of the local engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustness import runs
from robustness.commands import main
from robustness.evaluation.condition import Condition
from robustness.evaluation.spec import make_spec
from tests.support.made_datasets import labelled_folder

ray = pytest.importorskip("ray")

CONDITIONS = (Condition.of({"gaussian_noise": 0.6}), Condition.of({"fog": 0.6}))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that works not, and two workers of two cores each."""
    from ray.cluster_utils import Cluster

    root = str(Path(__file__).resolve().parent.parent.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", root)  # as on a machine of a cluster: see docs/scaling.md
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            made.add_node(num_cpus=2)
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = labelled_folder(tmp_path_factory.mktemp("data") / "set", 8)
    (made / "670" / "broken.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    return made


def worker_processes() -> list[int]:
    """The processes of the actors that evaluate."""
    command = ["pgrep", "-f", r"ray::MapWorker\(MapBatches\(Worker\)\)"]
    return [int(line) for line in subprocess.run(command, capture_output=True).stdout.split()]


def test_a_worker_killed_in_mid_run_loses_nothing_and_doubles_nothing(
    cluster: Any, folder: Path, tmp_path: Path
) -> None:
    plan = runs.plan(str(folder), make_spec(["SqueezeNet"], CONDITIONS, seed=3), batch=1)
    killed: list[int] = []
    workers = 0
    with runs.start(plan, tmp_path / "ray", engine="ray") as session:
        states = []
        for state in session.perform("ray", cluster.address):
            states.append(state)
            if state.done >= 3 and not killed:
                found = worker_processes()
                workers = len(found)
                killed = found[:1]
                os.kill(killed[0], signal.SIGKILL)
    assert workers == 2
    with runs.start(plan, tmp_path / "local") as local:
        for _ in local.perform():
            pass
    ours, theirs = runs.load(session.folder), runs.load(local.folder)
    assert ours.table().equals(theirs.table())
    assert ours.unreadable == theirs.unreadable
    assert len(ours.unreadable) == 1
    assert [state.done for state in states] == list(range(26)), "progress is passed through"


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
