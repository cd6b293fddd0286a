"""Races end to end, of stand-ins: one keeps its prediction, the other changes it all the time."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robustness
from benchmarks.support.image_folders import flat_folder, labelled_folder
from benchmarks.support.repository import ROOT
from benchmarks.support.stand_in_models import StandIn
from robustness import gate, models, report, runs
from robustness.base.errors import ParameterError, RunError
from robustness.commands import main
from robustness.evaluation.suites import suite_conditions
from robustness.models import Outputs
from robustness.perturbations import Images
from robustness.report.questions.model_candidates import choose
from robustness.runs import engines, jobs, racing, writer
from robustness.runs.engines import Chunk, Engine, Workload
from robustness.runs.engines.engine import chunks
from robustness.runs.racing import Race
from robustness.runs.rows import Rows
from tests.support import pages
from tests.support.jobs import in_threads
from tests.support.saved_runs import NAMES, spec

STEADY, FICKLE = NAMES
PICTURES = 32


class Extreme(StandIn):
    """Predicts class 0, or a class by the first pixels."""

    def __call__(self, images: Images) -> Outputs:
        found = super().__call__(images)
        steady = self.record.name == STEADY
        places = 0 if steady else (images.reshape(len(images), -1)[:, :99].sum(1) * 997).astype(int)
        answers = np.full_like(found.probabilities, 1e-4)
        answers[np.arange(len(images)), np.asarray(places) % 1000] = 0.9
        return Outputs(answers, found.features)


def use_extremes(patch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    """Records the chunks that the engine processes, with their models."""
    asked: list[tuple[int, tuple[str, ...]]] = []
    loaded: dict[str, Extreme] = {}

    def run(job: Workload, numbers: Sequence[int], _address: str | None) -> Iterator[Chunk | None]:
        def load(name: str, *, side: int) -> Any:
            return loaded.setdefault(name, loaded.get(name) or Extreme(name, side))

        for chunk in chunks(job, numbers, load=load):
            if chunk is not None:
                asked.append((chunk.number, job.spec.model_names))
            yield chunk

    record = Engine("local", "stand-ins", run)
    patch.setattr(writer, "measured", lambda _spec, *, here: {})
    patch.setitem(engines.REGISTRY._records, "local", record)
    return asked


@pytest.fixture(autouse=True)
def extremes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    return use_extremes(monkeypatch)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flat_folder(tmp_path_factory.mktemp("data") / "set", PICTURES)


def planned(photos: Path, race: Race | None = None) -> runs.Plan:
    asked = spec(suite_conditions("imagenet-c", severities=(1, 5)))
    return runs.plan(str(photos), asked, race=race or Race(), batch=4)


def performed(plan: runs.Plan, out: Path, *, steps: int = 1000) -> runs.Run:
    with runs.start(plan, out, resume=True) as begun:
        for step, _ in enumerate(begun.perform()):
            if step == steps:
                break
    return runs.load(begun.folder, unfinished=True)


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """A race that is over, to be left as it is."""
    with pytest.MonkeyPatch.context() as patch:
        use_extremes(patch)
        return performed(planned(photos), tmp_path_factory.mktemp("runs"))


def test_a_race_ends_once_its_answer_stands(run: runs.Run) -> None:
    assert run.finished
    assert 4 <= run.images < PICTURES / 2
    told = run.raced
    assert told == run.track(run.manifest.race or Race()).outcome()
    assert told["settled"]
    assert told["best"] == [STEADY]
    assert told["worse"] == [FICKLE]
    rows = run.frame(["image", "model", "condition", "position"])
    assert set(rows.groupby(["image", "model"]).size()) == {5}
    drawn = rows.groupby(["image", "condition"]).size()
    assert set(drawn) == {2}  # of both models the same
    assert rows["condition"].nunique() > 15
    order = rows.drop_duplicates("position").sort_values("position")["image"].tolist()
    assert order != sorted(order)


def test_a_race_says_what_it_knows_and_no_plain_means(run: runs.Run, tmp_path: Path) -> None:
    chosen = choose([run])
    assert chosen.best == (STEADY,)
    assert chosen.worse == (FICKLE,)
    label = models.label(STEADY)
    assert label in chosen.sentences[0]
    assert f"{run.images} of {PICTURES}" in chosen.sentences[0]
    told = report.of_run(run)
    assert told.answer[0] == " ".join(chosen.sentences)
    (file,) = report.write(told, tmp_path / "race.html")
    assert chosen.sentences[0] in file.read_text()
    assert "Decided: " in file.read_text()
    with pytest.raises(RunError, match="race"):
        run.figures()
    with pytest.raises(RunError, match="race"):
        _ = run.failures
    with pytest.raises(RunError, match="race"):
        runs.compare(run, run)


@pytest.mark.parametrize("goal", ["best", "order"])
def test_a_race_in_a_circle_has_no_best_model(goal: str) -> None:
    told = {"goal": goal, "settled": True, "images": 30, "best": [], "order": [*NAMES]}
    told |= {"worse": [*NAMES], "differences": [], "margin": 0.01}
    assert racing.sentences(told, 32) == [
        "Settled after 30 of 32 images: every model is worse than another one, so there is no best."
    ]


def test_a_difference_that_may_be_next_to_nothing_has_only_an_upper_bound() -> None:
    gap = {"better": NAMES[0], "worse": NAMES[1], "low": 0.0004, "high": 0.565}
    told = {"goal": "best", "settled": True, "images": 25, "best": [NAMES[0]], "margin": 0.01}
    told |= {"worse": [NAMES[1]], "order": [], "differences": [gap]}
    assert racing.sentences(told, 200)[0].endswith(" by up to 56.5 points.")


def test_a_model_that_left_is_compared_with_one_that_is_named() -> None:
    best, worse = [*NAMES, "VGG16"][:2], "VGG16"
    gaps = [(best[0], worse, 0.1, 0.3), (best[1], worse, 0.2, 0.4), (*best, -0.1, 0.1)]
    told = {"goal": "best", "settled": True, "images": 30, "best": best, "worse": [worse]}
    told |= {"order": [], "margin": 0.1}
    told["differences"] = [
        {"better": better, "worse": other, "low": low, "high": high}
        for better, other, low, high in gaps
    ]
    assert racing.sentences(told, 32)[1:] == [
        "VGG16 is worse than EfficientNet-Lite0 by 20 to 40 points."
    ]


def test_the_report_of_a_race_asks_its_rows_once(
    run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run.rows.figures()
    first = report.of_run(run, found)

    def asked(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Rows, "figures", asked)
    monkeypatch.setattr(type(run.rows), "ask", asked)
    assert report.of_run(run, found).answers == first.answers


def test_a_race_that_stops_goes_on_to_the_same_rows(
    run: runs.Run, photos: Path, tmp_path: Path, extremes: list[tuple[int, tuple[str, ...]]]
) -> None:
    stopped = performed(planned(photos), tmp_path / "other", steps=2)
    assert not stopped.finished
    assert stopped.images == 4
    assert stopped.raced is not None
    assert not stopped.raced["settled"]
    extremes.clear()
    resumed = performed(planned(photos), tmp_path / "other")
    assert resumed.id == stopped.id
    assert extremes[0][0] == 1
    assert resumed.table().equals(run.table())
    assert resumed.raced == run.raced


def test_a_model_that_lost_is_asked_no_more(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extremes: list[Any]
) -> None:
    names = (STEADY, FICKLE, "EfficientNetLite1")
    asked = spec(suite_conditions("study"), names=names)
    plan = runs.plan(str(photos), asked, race=Race(goal="order"), batch=4)
    monkeypatch.setattr(
        Extreme, "__call__", _of({STEADY: 1.0, FICKLE: 0.4, "EfficientNetLite1": 0.42})
    )
    run = performed(plan, tmp_path)
    assert run.raced is not None
    assert not run.raced["settled"]
    assert run.images == PICTURES
    assert extremes[-1][1] == (FICKLE, "EfficientNetLite1")
    (first, *_) = run.raced["decisions"]
    assert 0 < first["images"] < PICTURES
    assert first["decided"]
    stopped = performed(plan, tmp_path / "stopped", steps=7)
    assert stopped.raced is not None
    assert stopped.raced["decisions"] == run.raced["decisions"]
    assert stopped.manifest.decided == stopped.raced
    said = runs.listed(stopped.folder).race_results
    assert f"{stopped.images} of {PICTURES}" in said[0]
    resumed = performed(plan, tmp_path / "stopped")
    assert resumed.raced == run.raced


def _of(chances: dict[str, float]) -> Any:
    """An answer that keeps class 0 with the chance of its model."""

    def answer(self: Extreme, images: Images) -> Outputs:
        found = StandIn.__call__(self, images)
        chance = chances[self.record.name]
        random = np.random.default_rng(zlib.crc32(images.tobytes()))
        places = np.where(random.random(len(images)) < chance, 0, 1 + np.arange(len(images)))
        places[0] = 0
        answers = np.full_like(found.probabilities, 1e-4)
        answers[np.arange(len(images)), places] = 0.9
        return Outputs(answers, found.features)

    return answer


def test_a_gate_races_to_its_verdict_and_holds_for_another_budget(
    photos: Path, tmp_path: Path
) -> None:
    def budget(text: str) -> gate.Budget:
        (tmp_path / "budget.toml").write_text(text)
        return gate.read_budget(tmp_path / "budget.toml")

    strict = budget(f'[[limit]]\nmodel = "{FICKLE}"\nmin_consistency = 0.5\n')
    plain = planned(photos).spec
    limits = gate.race_limits(strict, plain.model_names, plain.conditions)
    race = Race(goal="gate", limits=tuple(limits.values()))
    run = performed(planned(photos, race), tmp_path / "runs")
    assert run.finished
    assert run.images < PICTURES
    found = gate.check(strict, run)
    (verdict,) = found.verdicts
    assert not found.passed
    assert verdict.outcome == gate.BROKEN
    assert verdict.value is None
    assert verdict.high is not None
    assert verdict.high < 0.5
    assert str(run.images) in gate.markdown(found)
    loose = budget(f'[[limit]]\nmodel = "{FICKLE}"\nmax_accuracy_regression = 0.5\n')
    with pytest.raises(ParameterError, match="for a race"):
        gate.race_limits(loose, plain.model_names, plain.conditions)


def test_a_race_under_way_tells_what_stands_so_far(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    with in_threads():
        folder = jobs.submit(planned(photos), tmp_path / "runs", "somebody")
        run = performed(planned(photos), tmp_path / "runs", steps=2)
        assert run.images
        assert run.folder == folder
        assert not run.finished
        assert run.raced is not None
        newer = run.raced | {"images": run.images + 7}  # after the page has opened the rows
        run.manifest.updated(decided=newer).write(folder)
        app = pages.run(ROOT / "pages" / "evaluations.py", run=run.id)
    assert not app.exception
    said = " ".join(str(each.value) for each in app.markdown).replace("\\", "") + pages.html(app)
    assert racing.sentences(newer, PICTURES)[0] in said
    assert set(re.findall(r"ettled after (\d+)", said)) == {str(run.images + 7)}
    assert not any("Race" in each.label for each in app.expander)


def test_an_exported_race_comes_back(run: runs.Run, tmp_path: Path) -> None:
    runs.export_run(run, tmp_path / "run.zip")
    back = runs.import_run(tmp_path / "run.zip", tmp_path / "elsewhere")
    assert back.imported
    assert back.raced == run.raced


def test_what_cannot_be_raced_is_refused(photos: Path, tmp_path: Path) -> None:
    unlimited = Race(goal="gate")
    with pytest.raises(ParameterError, match="limits for a race"):
        planned(photos, unlimited)
    alone = spec(suite_conditions("study"), names=(STEADY,))
    with pytest.raises(ParameterError, match="at least two models"):
        runs.plan(str(photos), alone, race=Race())
    with pytest.raises(ParameterError, match="labelled images"):
        planned(photos, Race(unit="class"))
    with (
        runs.start(planned(photos), tmp_path) as begun,
        pytest.raises(ParameterError, match="local engine"),
    ):
        list(begun.perform("ray"))


def test_classes_may_be_what_is_drawn(tmp_path: Path) -> None:
    photos = labelled_folder(tmp_path / "photos", 3)
    run = performed(planned(photos, Race(unit="class")), tmp_path / "runs")
    assert run.raced is not None
    assert run.raced["units"] == 3
    assert run.raced["quantity"] == "accuracy"
    folders = [name.split("/")[0] for name in run.frame(["image"])["image"].drop_duplicates()]
    assert len([a for a, b in itertools.pairwise(folders) if a != b]) == 2


@pytest.mark.parametrize("unit", ["image", "class"])
def test_images_without_a_label_and_copies_are_neither_asked_nor_counted(
    tmp_path: Path,
    extremes: list[tuple[int, tuple[str, ...]]],
    monkeypatch: pytest.MonkeyPatch,
    unit: str,
) -> None:
    monkeypatch.setattr(Extreme, "__call__", _of(dict.fromkeys(NAMES, 0.5)))
    clean = labelled_folder(tmp_path / "clean", 3)
    race = Race(unit=unit, margin=0.0)  # type: ignore[arg-type]
    plain = performed(runs.plan(str(clean), planned(clean).spec, race=race), tmp_path / "runs")
    mixed = labelled_folder(tmp_path / "mixed", 3)
    flat_folder(mixed / "who knows", 7)
    files = sorted(mixed.glob("*/*.jpg"))
    originals = [file for file in files if file.parent.name != "who knows"]
    for number, file in enumerate(originals[:2]):
        shutil.copy(file, file.with_name(f"copy {number}.jpg"))
    plan = runs.plan(str(mixed), planned(clean).spec, race=race, labelling="known")
    assert len(plan.dataset) == len(originals) + 2
    stopped = performed(plan, tmp_path / "runs", steps=5)
    assert not stopped.finished
    run = performed(plan, tmp_path / "runs")
    assert run.id == stopped.id
    told, expected = run.raced, plain.raced
    assert told is not None
    assert expected is not None
    assert (run.images, run.forward_passes) == (plain.images, plain.forward_passes)
    assert (told["images"], told["units"]) == (expected["images"], expected["units"])
    assert (told["units"], told["settled"]) == (3 if unit == "class" else 9, False)
    assert racing.sentences(told, run.manifest.dataset.pictures)[0].startswith(
        "Not settled after 9 of 9 images"
    )
    assert run.manifest.race is not None
    assert told == run.track(run.manifest.race).outcome()
    cautions = " ".join(report.of_run(run).cautions)
    assert "2 images that copy another" in cautions
    assert "7 images without a label" in cautions
    runs.export_run(run, tmp_path / "run.zip")
    back = runs.import_run(tmp_path / "run.zip", tmp_path / "elsewhere")
    assert back.raced == run.raced


def test_the_command_and_python_tell_the_same(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--models", ",".join(NAMES), "--side", "64", "--out", str(tmp_path)]
    assert main.main(["evaluate", str(photos), "--until", "settled", *how, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["race"]
    repeat = robustness.evaluate(photos, models=NAMES, side=64, until="settled")
    assert repeat.raced == told
    assert models.label(STEADY) in repeat._repr_html_()
    assert told["best"] == [STEADY]
    (tmp_path / "budget.toml").write_text("[[limit]]\nmin_consistency = 0.5\n")
    gate_of = ["check", str(photos), "--budget", str(tmp_path / "budget.toml")]
    assert main.main([*gate_of, "--until", "settled", *how]) == 1
    said = capsys.readouterr().out
    assert "Settled after" in said
    assert main.main(["evaluate", str(photos), "--margin", "0.1", *how]) == 2
    assert "--until" in capsys.readouterr().err
