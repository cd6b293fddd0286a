"""Runs in processes of their own: whose turn it is, what becomes of each, and what stays."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import below
from benchmarks.support.image_folders import labelled_folder
from robustness import runs
from robustness.base.errors import RobustnessError, RunError
from robustness.base.processes import Identity
from robustness.base.turns import in_turn
from robustness.runs import MANIFEST_FILE, Plan, jobs
from robustness.runs.jobs import MOST_DEATHS, MOST_REFUSALS, Job, Supervisor
from robustness.runs.task import PROGRESS, Progress, ProgressFile
from tests.support.jobs import PATIENCE, work_until
from tests.support.saved_runs import performed, spec, use_stand_ins


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled_folder(tmp_path_factory.mktemp("made") / "three", 2)


@pytest.fixture
def asked(source: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Six images in chunks of two, of stand-ins."""
    use_stand_ins(monkeypatch)
    return runs.plan(str(source), spec(), batch=2)


class Processes:
    """Starts fake processes; the tests decide how each ends."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.running: dict[str, Any] = {}

    def __call__(self, folder: Path) -> Any:
        class Process:
            pid = 2**22 + 1
            returncode: int | None = None
            terminated = 0

            def poll(self) -> int | None:
                return self.returncode

            def terminate(self) -> None:
                self.terminated += 1

            def send_signal(self, number: int) -> None:
                assert number == signal.SIGCONT

            def wait(self, _timeout: float) -> None:
                self.returncode = -signal.SIGTERM

        self.started.append(folder.name)
        self.running[folder.name] = Process()
        return self.running[folder.name]

    def end(self, folder: Path, status: int = 0, *, done: bool = True) -> None:
        if done:
            jobs.drop(folder)
        self.running[folder.name].returncode = status


def ordered(runs: Path, name: str, asked: float = 0.0) -> Path:
    """The folder of a run that is no more than wanted."""
    (runs / name).mkdir(parents=True)
    (runs / jobs.QUEUE).mkdir(exist_ok=True)
    order = json.dumps({"by": "me", "asked": asked})
    (runs / jobs.QUEUE / f"{name}.json").write_text(order)
    (runs / name / MANIFEST_FILE).touch()
    return runs / name


def test_each_who_asks_has_a_turn_before_anybody_has_two() -> None:
    many = [Job(run=f"a{k}", by="a", asked=k) for k in range(3)]
    others = [Job(run=run, by=run[0], asked=at) for run, at in (("b0", 10), ("b1", 11), ("c0", 9))]
    found = [order.run for order in in_turn([*others, *many], {})]
    assert found == ["a0", "c0", "b0", "a1", "b1", "a2"]
    served = [order.run for order in in_turn([*others, *many], {"a": 5.0, "c": 4.0})]
    assert served == ["b0", "c0", "a0", "b1", "a1", "a2"]


def test_one_runs_at_a_time_and_the_next_after_it(asked: Plan, tmp_path: Path) -> None:
    mine = [jobs.submit(asked, tmp_path, "me")]
    for seed in (1, 2):
        other = runs.plan(asked.record.source, spec(seed=seed), batch=2)
        mine.append(jobs.submit(other, tmp_path, "me"))
    theirs = jobs.submit(runs.plan(asked.record.source, spec(seed=3), batch=2), tmp_path, "they")
    processes = Processes()
    supervisor = Supervisor(tmp_path, 1, processes)
    for expected in (mine[0], theirs, mine[1], mine[2]):
        for _ in range(2):
            supervisor.look()
        assert processes.started[-1] == expected.name
        assert len(processes.started) == len(set(processes.started))
        processes.end(expected)
    supervisor.look()
    assert len(processes.started) == 4


def test_the_same_request_is_one_run(asked: Plan, tmp_path: Path) -> None:
    first = jobs.submit(asked, tmp_path, "me")
    assert jobs.submit(asked, tmp_path, "they") == first
    assert [order.run for order in jobs.read_queue(tmp_path)] == [first.name]
    jobs.work_off(first)
    assert jobs.submit(asked, tmp_path, "me") == first
    assert not jobs.read_queue(tmp_path), "it is finished"


def test_a_cancelled_run_stops_keeps_its_rows_and_goes_on(asked: Plan, tmp_path: Path) -> None:
    whole = performed(asked.record.source, tmp_path / "whole", asked.spec)
    folder = jobs.submit(asked, tmp_path / "runs", "me")
    shown = []

    def cancel_midway(progress: Progress) -> None:
        shown.append(progress.done)
        if progress.done >= 2:
            jobs.cancel(folder)

    jobs.work_off(folder, cancel_midway)
    assert len([done for done in shown if done >= 2]) == 1
    assert jobs.stop_reason(folder) == "It was cancelled."
    assert runs.load(folder, unfinished=True).images in (2, 4)
    assert runs.read_progress(folder) is None
    jobs.resume(folder, "me")
    assert jobs.stop_reason(folder) == ""
    jobs.work_off(folder)
    found = runs.load(folder)
    assert found.table().equals(whole.table())
    assert not jobs.is_queued(folder)


def test_renames_tags_and_cancels_beside_a_running_job_lose_nothing(
    asked: Plan, tmp_path: Path
) -> None:
    folder = jobs.submit(asked, tmp_path, "me")
    abandoned = folder / ".notes.json.2.tmp"
    abandoned.touch()
    failed: list[Exception] = []
    ended = threading.Event()

    def annotate() -> None:
        number = 0
        while not ended.is_set() and not failed:
            number += 1
            try:
                runs.notes.update(folder, title=f"Title {number}")
                runs.notes.update(folder, tags=f"night, v{number}")
                runs.notes.update(folder, note=f"Note {number}")
            except RobustnessError as error:
                failed.append(error)
            said = runs.notes.read(folder)
            texts = (f"Title {number}", ("night", f"v{number}"), f"Note {number}")
            if (said.title, said.tags, said.note) != texts:
                failed.append(AssertionError(f"{said} has not {texts}"))

    thread = threading.Thread(target=annotate)
    thread.start()
    try:
        for _ in range(5):
            jobs.resume(folder, "me")
            work_until(folder, lambda _: True)
            jobs.cancel(folder)
        jobs.resume(folder, "me")
        jobs.work_off(folder)
    finally:
        ended.set()
        thread.join()
    assert not failed
    assert runs.load(folder).images == 6
    assert runs.listed(folder).tags[0] == "night"
    assert not abandoned.exists()
    assert not list(folder.parent.glob("*/.*.tmp"))


def test_a_run_can_be_watched_from_elsewhere(asked: Plan, tmp_path: Path) -> None:
    folder = jobs.submit(asked, tmp_path, "me")
    told = []

    def watch(_progress: Progress) -> None:
        watched = runs.read_progress(folder)
        assert watched is not None
        told.append(watched)

    jobs.work_off(folder, watch)
    assert replace(told[0], text="", worker=None) == Progress(0, 6, 0, loading=True)
    assert runs.read_progress(folder) is None, "nobody works on it any more"


def test_a_process_that_finds_another_at_work_does_not_stop_it(
    asked: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.0)
    folder = jobs.submit(asked, tmp_path, "me")

    def work_as_well(_progress: Progress) -> None:
        with pytest.raises(RunError, match="is being written"):
            jobs.work_off(folder)
        assert jobs.is_queued(folder)

    jobs.work_off(folder, work_as_well)
    assert runs.load(folder).images == 6
    assert jobs.stop_reason(folder) == ""


def test_what_a_dead_process_said_is_not_believed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ProgressFile(tmp_path, 5).write(Progress(1, 5, 0))
    assert runs.read_progress(tmp_path) is not None
    said = json.loads((tmp_path / PROGRESS).read_text())
    for worker in ({"pid": dead.pid}, {"since": "0"}, {"host": "elsewhere"}):
        (tmp_path / PROGRESS).write_text(json.dumps(said | {"worker": said["worker"] | worker}))
        os.utime(tmp_path / PROGRESS, (time.time() - 1000,) * 2)
        assert runs.read_progress(tmp_path) is None
    assert Identity.own().alive


@pytest.mark.parametrize("text", ["", "[]", '{"progress": 1}', "\0", '{"progress": {"done": 1}}'])
def test_a_damaged_word_of_progress_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / PROGRESS).write_text(text)
    assert runs.read_progress(tmp_path) is None


def test_a_process_that_dies_is_started_again_but_not_for_ever(asked: Plan, tmp_path: Path) -> None:
    folder = jobs.submit(asked, tmp_path, "me")
    processes = Processes()
    supervisor = Supervisor(tmp_path, 1, processes)
    for _ in range(MOST_DEATHS):
        supervisor.look()
        processes.end(folder, -signal.SIGKILL, done=False)
    supervisor.look()
    assert processes.started == [folder.name] * MOST_DEATHS
    assert not jobs.is_queued(folder)
    assert "killed by signal 9, as when memory runs out, 3 times" in jobs.stop_reason(folder)


def test_a_run_that_cannot_be_started_is_in_nobodys_way_and_given_up(tmp_path: Path) -> None:
    broken, fine = ordered(tmp_path, "broken", 1.0), ordered(tmp_path, "fine", 2.0)
    processes = Processes()

    def start(folder: Path) -> Any:
        if folder == broken:
            raise PermissionError(errno.EACCES, "Permission denied")
        return processes(folder)

    supervisor = Supervisor(tmp_path, 1, start)
    supervisor.look()
    assert processes.started == [fine.name], "the next has its turn"
    assert jobs.is_queued(broken), "what refuses now may do it later"
    processes.end(fine)
    for _ in range(MOST_REFUSALS):
        supervisor.look()
    assert not jobs.is_queued(broken)
    assert "Its process cannot be started: Permission denied." in jobs.stop_reason(broken)


def test_a_cancelled_process_is_told_to_stop_once(tmp_path: Path) -> None:
    folder = ordered(tmp_path, "first")
    processes = Processes()
    supervisor = Supervisor(tmp_path, 1, processes)
    supervisor.look()
    jobs.cancel(folder)
    for _ in range(3):  # it writes its rows meanwhile
        supervisor.look()
    supervisor.end()
    assert processes.running[folder.name].terminated == 1


def test_what_another_server_left_running_is_not_started_twice(asked: Plan, tmp_path: Path) -> None:
    folder = jobs.submit(asked, tmp_path, "me")
    file = ProgressFile(folder, 6)
    file.write(Progress(2, 6, 0))
    processes = Processes()
    supervisor = Supervisor(tmp_path, 1, processes)
    supervisor.look()
    assert not processes.started
    file.remove()  # it died
    supervisor.look()
    assert processes.started == [folder.name]


SERVER = """
import sys, time
from pathlib import Path
from robustness.runs.jobs import Supervisor
Supervisor(Path(sys.argv[1]), 1).look()
time.sleep(600)
"""
"""Starts the first process of a queue, and is killed."""


def test_what_a_killed_server_was_starting_counts(tmp_path: Path) -> None:
    """Its process has written nothing yet, and one run at a time is allowed."""
    first = ordered(tmp_path, "first", 1.0)
    ordered(tmp_path, "second", 2.0)
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path)])
    waited_for(lambda: below(server.pid))
    (process,) = below(server.pid)
    os.kill(process, signal.SIGSTOP)  # so that it stays at its start
    try:
        server.kill()
        server.wait()
        processes = Processes()
        supervisor = Supervisor(tmp_path, 1, processes)
        supervisor.look()
        assert not processes.started
    finally:
        os.kill(process, signal.SIGKILL)

    def begun() -> list[str]:
        supervisor.look()
        return processes.started

    waited_for(begun)
    assert processes.started == [first.name], "its process is gone, and the other waits"
    supervisor.end()


def test_one_keeper_of_a_folder_starts_processes(asked: Plan, tmp_path: Path) -> None:
    jobs.submit(asked, tmp_path, "me")
    processes = Processes()
    first, second = Supervisor(tmp_path, 1, processes), Supervisor(tmp_path, 1, processes)
    first.look()
    second.look()
    assert len(processes.started) == 1
    first.end()
    second.look()
    assert len(processes.started) == 2, "the first is gone, and its order is left"


@pytest.fixture
def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Supervisors look as often as a test does."""
    monkeypatch.setattr("robustness.runs.jobs._SECONDS_BETWEEN", 0.01)


def waited_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_broken_settings_file_holds_the_queue_up_until_it_is_mended(
    tmp_path: Path,
    sooner: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ordered(tmp_path / "runs", "first")
    settings = tmp_path / "robustness.toml"
    settings.write_text("jobs =\n")
    monkeypatch.setenv("ROBUSTNESS_CONFIG", str(settings))
    processes = Processes()
    supervisor = Supervisor(tmp_path / "runs", 1, processes)
    supervisor.begin()
    try:
        waited_for(lambda: caplog.records)
        assert not processes.started
        settings.write_text("jobs = 1\n")
        waited_for(lambda: processes.started)
    finally:
        supervisor.end()
    assert [record.levelname for record in caplog.records] == ["WARNING"], "once is enough"
    assert "robustness.toml is not valid TOML" in caplog.text


def test_only_an_unfinished_run_goes_on(asked: Plan, tmp_path: Path) -> None:
    finished = performed(asked.record.source, tmp_path, asked.spec)
    with pytest.raises(RunError, match="nothing to continue"):
        jobs.resume(finished.folder, "me")


def test_a_run_that_is_done_while_the_keeper_looks_is_not_started_again(
    asked: Plan, tmp_path: Path
) -> None:
    folder = jobs.submit(asked, tmp_path, "me")
    processes = Processes()
    supervisor = Supervisor(tmp_path, 1, processes)
    supervisor.look()
    process = processes.running[folder.name]

    def done_now() -> int | None:
        """The order has been listed by the time this is asked."""
        processes.end(folder)
        return process.returncode

    process.poll = done_now
    for _ in range(2):
        supervisor.look()
    assert processes.started == [folder.name]


def test_a_process_that_got_further_has_its_chances_anew(asked: Plan, tmp_path: Path) -> None:
    folder = jobs.submit(asked, tmp_path, "me")
    processes = Processes()
    supervisor = Supervisor(tmp_path, 1, processes)
    for start in range(1, MOST_DEATHS + 2):
        supervisor.look()
        assert len(processes.started) == start
        if start == 2:
            work_until(folder, lambda progress: progress.done >= 2)
        processes.end(folder, -signal.SIGKILL, done=False)
    assert jobs.is_queued(folder)
