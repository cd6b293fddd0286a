"""A match among the runs: queued, cancelled, continued after a stop, kept and deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustness import runs
from robustness.base.errors import AccessError, RunError
from robustness.cli.main import main
from robustness.matching import Match, MatchSettings
from robustness.runs import BIN, MatchRequest, jobs, keeping
from tests.matching.test_run import example
from tests.support.jobs import in_threads, worked_off

PHASES = (
    *[("Reading photos", done, 4) for done in range(1, 5)],
    *[("Reading scenes", done, 4) for done in range(1, 5)],
    *[("Estimating", done, 16) for done in range(1, 17)],
    *[("Simulating the reference", done, 80) for done in range(10, 81, 10)],
    *[("Learning the reference", done, 9) for done in range(1, 10)],
    *[("Fitting", done, 7) for done in (*range(1, 8), *range(1, 8))],
    ("A phase of its own", 1, 2),
    *[("Predicting", done, 22) for done in range(1, 23)],
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A match that waits for its turn."""
    return queued(tmp_path / "runs")


def queued(runs_folder: Path, by: str = "me") -> Path:
    saved = MatchRequest(
        title="Match of photos",
        production="samples",
        reference="samples",
        images=10,
        settings=MatchSettings(models=("SqueezeNet",), fit="crop", side=224, seed=3),
    )
    return jobs.submit(saved, runs_folder, by)


def matched(monkeypatch: pytest.MonkeyPatch, during: Callable[[], object] = lambda: None) -> Any:
    """Replaces the computation by notes on its phases; ``during`` is called after each."""

    def match(*_arguments: Any, note: Callable[[str, int, int], object], **_: Any) -> Match:
        for phase in PHASES:
            note(*phase)
            during()
        return example(0.3, 0.6)

    monkeypatch.setattr("robustness.matching.match", match)


def test_the_queue_performs_a_match_and_keeps_its_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched(monkeypatch)
    with in_threads():
        jobs.supervise(folder.parent)
        worked_off(folder.parent)
    (entry,) = runs.listing(folder.parent)
    assert isinstance(entry.record, MatchRequest)
    assert (entry.title, entry.owner, entry.finished) == ("Match of photos", "me", True)
    assert runs.find_match(folder.parent, folder.name) == (entry.record, example(0.3, 0.6))
    with pytest.raises(RunError, match="finished"):
        jobs.resume(folder, "me")


def test_the_time_left_is_shown_once_it_is_known_and_does_not_climb(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading is fast here and simulating is slow, as on a new machine."""
    seconds = 0.0
    steps = {"Reading": 0.01, "Estimating": 0.1, "Simulating": 20.0, "Learning": 3.0}
    monkeypatch.setattr(
        "robustness.runs.match.time",
        SimpleNamespace(monotonic=lambda: seconds),
    )

    def match(*_arguments: Any, note: Callable[[str, int, int], object], **_: Any) -> Match:
        nonlocal seconds
        for what, done, total in PHASES:
            seconds += steps.get(what.split()[0], 3.0)
            note(what, done, total)
        return example(0.3, 0.6)

    monkeypatch.setattr("robustness.matching.match", match)
    shown: list[str] = []
    saved = runs.read_task(folder)
    assert saved is not None
    saved.perform(folder, lambda progress: shown.append(progress.text))
    with_time = [text for text in shown if "left" in text]
    phases = {text.split()[0].strip(":") for text in with_time}
    assert phases == {"Simulating", "Learning", "Predicting"}
    left = []
    for text in with_time:
        words = text.partition("about ")[2].split()
        units = {"s": 1, "min": 60, "h": 3600}
        pairs = zip(words[::2], words[1::2], strict=False)
        left.append(sum(int(value) * units.get(unit, 0) for value, unit in pairs))
    assert all(after <= 1.1 * before for before, after in pairwise(left)), left


def test_a_cancelled_match_stops_and_can_continue(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched(monkeypatch, lambda: jobs.cancel(folder))
    jobs.work_off(folder)
    assert not runs.listed(folder).finished
    assert jobs.stop_reason(folder) == jobs.CANCELLED
    matched(monkeypatch)
    jobs.resume(folder, "me")
    jobs.work_off(folder)
    assert runs.listed(folder).finished
    assert not jobs.stop_reason(folder)


def test_a_match_is_deleted_restored_and_erased_like_a_run(folder: Path) -> None:
    runs.to_bin(folder, "me")
    assert jobs.read_queue(folder.parent) == []
    (deleted,) = runs.deleted(folder.parent)
    assert (deleted.entry.title, deleted.entry.owner) == ("Match of photos", "me")
    assert runs.owner_of(runs.restore(folder.parent, folder.name)) == "me"
    runs.delete(folder)
    assert runs.listing(folder.parent) == []


def test_matches_count_among_the_runs_of_their_creator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_RUNS_KEPT", "2")
    mine, theirs = [queued(tmp_path) for _ in range(3)], queued(tmp_path, "they")
    keeping.tidy(tmp_path)
    left = {entry.folder for entry in runs.listing(tmp_path)}
    assert theirs in left
    assert len(left & {*mine}) == 2
    monkeypatch.setenv("ROBUSTNESS_PICTURES_LIMIT", "9")
    with pytest.raises(AccessError, match="at most 9 images, got 10"):
        keeping.check_begin(tmp_path, 10)


def test_a_name_that_is_no_match_is_refused(folder: Path) -> None:
    for name in ("..", "a\0b", BIN, "no-such-match"):
        with pytest.raises(RunError):
            runs.find_match(folder.parent, name)


def test_commands_list_continue_and_delete_a_match(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--out", str(folder.parent)]
    matched(monkeypatch)
    jobs.cancel(folder)
    assert main(["runs", *where]) == 0
    assert "Match of photos: a match" in capsys.readouterr().out
    assert main(["runs", *where, "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert (document["title"], document["status"]) == ("Match of photos", "unfinished")
    assert main(["runs", "resume", folder.name, *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "finished"
    assert main(["report", str(folder), "--to", str(folder / "report.html")]) == 2
    assert "is not a saved run" in capsys.readouterr().err
    assert main(["runs", "delete", folder.name, "--yes", *where]) == 0
    assert not folder.exists()
