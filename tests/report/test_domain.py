"""The domain of a run: a model that fails under two perturbations together alone is found."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import robustness as rb
from benchmarks.support.repository import ROOT
from benchmarks.support.stand_in_models import StandIn
from robustness import gate, runs
from robustness.base.errors import ParameterError
from robustness.cli.main import main
from robustness.measure.condition import Condition
from robustness.measure.domain import domain_of
from robustness.measure.request import domain_spec
from robustness.models import Outputs
from robustness.perturbations import Images
from robustness.report import of_run, write
from robustness.report.domain import DOMAIN, sentences
from robustness.report.record import (
    changes_since,
    coverage,
    read_record,
    record_of,
    requirements_of,
    support,
)
from robustness.report.run import RunFigures
from robustness.runs import Analysis, engines
from robustness.runs.engines import Chunk, Engine, Workload, chunks
from robustness.statistics.domain import JudgedDomain, judge_domain
from robustness.statistics.limits import BROKEN, KEPT, UNTESTED
from tests.support.reports import HOSTILE, Page
from tests.support.saved_runs import finished, use_stand_ins

VALUES: dict[str, Any] = {
    "name": "yard",
    "owner": "Perception",
    "min_accuracy": 0.5,
    "requirement": "REQ-1",
    "outside": ["lens flare"],
    "ranges": {
        "darkness": {"strength": [0, 0.4], "requirement": "REQ-2"},
        "gaussian_noise": [0, 0.2],
        "horizontal_flip": [0, 1],
    },
}


class _Planted(StandIn):
    """Answers class 0 but for dark and noisy images, to which it answers class 1.

    One model is wrong about all of these, the other only about those that are flipped as well.
    """

    def __call__(self, images: Images) -> Outputs:
        answers = super().__call__(images)
        is_wrong = images.mean((1, 2, 3)) < 0.45
        is_wrong &= images.std((1, 2)).mean(1) > 0.03
        if self.record.name == "EfficientNetLite0":
            left, right = np.split(images, 2, axis=2)
            is_wrong &= left.mean((1, 2, 3)) < right.mean((1, 2, 3))
        probabilities = np.full_like(answers.probabilities, 1e-6)
        probabilities[np.arange(len(images)), is_wrong.astype(int)] = 0.99
        return replace(answers, probabilities=probabilities)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runs.Run]:
    folder = tmp_path_factory.mktemp("domain")
    photos = folder / "photos" / "n01440764"
    photos.mkdir(parents=True)
    for number in range(12):
        grey = np.full((64, 64, 3), 150 + number, np.uint8)
        grey[:, :32] += 4
        Image.fromarray(grey).save(photos / f"{number}.png")

    def planted(job: Workload, numbers: Sequence[int], _: str | None) -> Iterator[Chunk | None]:
        def load(name: str, *, side: int) -> Any:
            return _Planted(name, side)

        return chunks(job, numbers, load=load)

    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        patch.setitem(engines.REGISTRY._records, "local", Engine("local", "planted", planted))
        request = domain_spec(domain_of(VALUES), ["SqueezeNet", "EfficientNetLite0"], side=64)
        yield finished(runs.plan(str(folder / "photos"), request), folder / "runs")


def judged(run: runs.Run) -> dict[str, JudgedDomain]:
    return {each.model: each for each in RunFigures(Analysis(run)).answer(DOMAIN).judged}


def test_pairs_find_what_breaks_under_two_perturbations_and_the_search_under_three(
    run: runs.Run,
) -> None:
    planted = judged(run)["SqueezeNet"]
    assert {cell.outcome for cell in planted.singles} == {KEPT}
    broken = [cell.cell.perturbations for cell in planted.pairs_with(BROKEN)]
    assert broken == [("darkness", "gaussian_noise")]
    assert planted.rows_with(BROKEN)
    assert planted.worst is not None
    pairs, worst, interaction, array = sentences(planted)
    assert "2 of 3 pairs" in pairs
    assert "underexposure with random noise" in pairs
    assert "0% (0 to" in worst
    assert "cost 100 points together, 100 (" in interaction
    assert "broken" in array
    assert [each.condition.id for each in planted.interactions if each.significant] == [
        planted.pairs_with(BROKEN)[0].cell.limit.id
    ]
    three = judged(run)["EfficientNetLite0"]
    assert "all 3 pairs" in sentences(three)[0]
    assert not any(each.significant for each in three.interactions)
    assert three.worst is not None
    assert len(three.worst.condition.perturbations) == 3
    assert (three.worst.value, three.worst.outcome) == (0, BROKEN)
    assert three.worst.images < run.images
    opened = rb.open_run(run.folder)
    assert list(opened.worst_compositions()["condition"]) == [
        three.worst.condition.id,
        planted.worst.condition.id,
    ]
    assert list(opened.interactions().query("significant")["model"]) == ["SqueezeNet"]


def test_an_interrupted_search_goes_on_and_finds_the_same(run: runs.Run, tmp_path: Path) -> None:
    folder = tmp_path / run.id
    shutil.copytree(run.folder, folder)
    run.manifest.updated(status=runs.UNFINISHED, worst=()).write(folder)
    plan = runs.replan(run.manifest)
    with runs.start(plan, tmp_path, resume=True) as writer:
        next(progress for progress in writer.perform() if progress.text)
    (begun,) = runs.load(folder, unfinished=True).manifest.worst
    assert begun.tried
    assert not begun.ended
    with runs.start(plan, tmp_path, resume=True) as writer:
        left = [progress.done for progress in writer.perform() if progress.text]
    assert min(left) > len(begun.tried), "what was tried is not tried again"
    assert runs.load(folder).manifest.worst == run.manifest.worst


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_a_report_has_the_domain(run: runs.Run, suffix: str, tmp_path: Path) -> None:
    (file,) = write(of_run(run), tmp_path / f"report{suffix}")
    text = file.read_text(encoding="utf-8")
    assert "lens flare" in text
    assert "REQ-2" in text
    assert sentences(judged(run)["SqueezeNet"])[0] in text


def test_a_notebook_shows_the_map_of_the_domain_for_each_model(run: runs.Run) -> None:
    shown = rb.open_run(run.folder)._repr_html_()
    assert shown.count("rb-matrix") - shown.count(".rb-matrix") == 2
    assert "Within the domain yard" in shown


def test_a_record_says_what_was_tested_and_what_holds(run: runs.Run, tmp_path: Path) -> None:
    for suffix in (".html", ".md", ".json"):
        (file,) = rb.record(run, tmp_path / f"record{suffix}")
        text = file.read_text(encoding="utf-8")
        assert domain_of(VALUES).digest in text
        for told in ("REQ-1", "REQ-2", "lens flare", "Perception", "do not support accuracy"):
            assert told in text
        assert run.manifest.spec.models[0][1] in text
        assert run.manifest.versions["tensorflow"] in text
        assert not re.search("complies|certif", text, re.IGNORECASE)
    assert (tmp_path / "record.html").stat().st_size < 200_000, "it has no charts"
    record = read_record(tmp_path / "record.json")
    assert record == record_of(RunFigures(Analysis(run)))
    with pytest.raises(ParameterError, match="no rows"):
        rb.record(run, tmp_path / "record.csv")


def test_a_requirement_is_as_good_as_its_worst_condition(run: runs.Run) -> None:
    planted = judged(run)["SqueezeNet"]
    whole, dark = requirements_of(planted)
    assert (whole.id, dark.id) == ("REQ-1", "REQ-2")
    assert whole.outcome == dark.outcome == BROKEN
    assert len(whole.conditions) == len(planted.all)
    assert all("darkness" in each.condition.perturbations for each in dark.conditions)
    assert dark.worst.value == min(each.value or 0 for each in dark.conditions)
    three = judged(run)["EfficientNetLite0"]
    assert {each.outcome for each in requirements_of(three)} == {BROKEN}, "by the array and search"
    kept = tuple(replace(each, outcome=KEPT) for each in three.array)
    sound = replace(three, array=kept, worst=None)
    assert {each.outcome for each in requirements_of(sound)} == {KEPT}
    assert support(sound).startswith("The results support accuracy of at least 50%")
    covered = {each.what: each for each in coverage(sound)}
    assert covered["Two levels of two ranges together"].text == "all 45"
    triples = covered["Three levels of three ranges together"]
    assert 0 < triples.tested < triples.total == 50


def test_a_record_tells_what_changed_since_an_earlier_one(run: runs.Run, tmp_path: Path) -> None:
    figures = RunFigures(Analysis(run))
    same = changes_since(figures, run)
    assert same.images == 12
    assert not same.outcomes
    assert not same.differences
    assert same.sentence.startswith("None of ")

    earlier = tmp_path / "earlier.json"
    rb.record(run, earlier)
    document = json.loads(earlier.read_text())
    document["manifest"]["versions"]["numpy"] = "1.0"
    document["manifest"]["domain"]["min_accuracy"] = 0.4
    for result in document["results"]:
        result["outcome"] = KEPT
        result["tried_by_a_later_version"] = 1
    earlier.write_text(json.dumps(document))
    changes = changes_since(figures, read_record(earlier))
    told = {what: (before, now) for _, what, before, now in changes.differences}
    assert told["numpy"] == ("1.0", run.manifest.versions["numpy"])
    assert told["Limit"] == ("accuracy of at least 40%", "accuracy of at least 50%")
    results = [each for model in judged(run).values() for each in model.all]
    broken = [each for each in results if each.outcome == BROKEN]
    assert [each.now.outcome for each in changes.outcomes] == [BROKEN] * len(broken)
    assert f"{len(broken)} kept → broken" in changes.sentence
    words = ["domain", "record", str(run.folder), "--to", str(tmp_path / "new.md")]
    assert main([*words, "--since", str(earlier)]) == 0
    assert changes.sentence.split(".")[0] in (tmp_path / "new.md").read_text(encoding="utf-8")
    (tmp_path / "other.json").write_text('{"manifest": []}')
    assert main([*words, "--since", str(tmp_path / "other.json")]) == 2


def test_a_record_of_an_unfinished_run_without_labels_and_with_hostile_names(
    run: runs.Run, tmp_path: Path
) -> None:
    values = {**VALUES, "name": HOSTILE, "owner": HOSTILE, "outside": [HOSTILE]}
    del values["min_accuracy"], values["requirement"]
    request = domain_spec(domain_of({**values, "min_consistency": 0.5}), ["SqueezeNet"], side=64)
    source = Path(run.manifest.dataset.source) / "n01440764"
    with runs.start(runs.plan(str(source), request, batch=6), tmp_path) as writer:
        for state in writer.perform():
            if state.done:
                break
    unfinished = runs.load(writer.folder, unfinished=True)
    assert not unfinished.finished
    (file,) = rb.record(unfinished, tmp_path / "record.html")
    page = Page(file.read_text(encoding="utf-8"))
    assert not [tag for tag, attributes in page.tags if "onerror" in attributes]
    text = " ".join(page.text)
    assert "Unfinished run" in text
    assert "consistency of at least 50%" in text
    assert HOSTILE in text


def test_a_run_without_a_domain_has_no_record(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="run of a domain"):
        rb.record(rb.open_run(ROOT / "tests" / "runs" / "golden" / "labelled"), tmp_path / "a.md")


def test_a_condition_that_the_run_lacks_is_untested(run: runs.Run) -> None:
    wider = domain_of({**VALUES, "ranges": {**VALUES["ranges"], "fog": [0, 0.2]}})
    entries = Analysis(run).figures.by_perturbation
    (result, _) = judge_domain(wider, entries, run.manifest.spec.model_names)
    assert {cell.outcome for cell in result.pairs if "fog" in cell.cell.perturbations} == {UNTESTED}
    assert "3 untested" in sentences(result)[0]
    one = sentences(replace(result, pairs=result.pairs[-1:]))[0]
    assert "of 1 pair" not in one
    assert "1 untested" in one


def test_a_gate_takes_the_domain_as_its_limits(run: runs.Run, tmp_path: Path) -> None:
    file = tmp_path / "yard.toml"
    file.write_text(domain_of(VALUES).as_toml(), encoding="utf-8")
    junit = tmp_path / "junit.xml"
    assert main(["check", str(run.folder), "--domain", str(file), "--junit", str(junit)]) == 1
    check = rb.check(run, file)
    models = {verdict.model for verdict in check.broken if verdict.outcome == BROKEN}
    assert models == {"SqueezeNet", "EfficientNetLite0"}, "of the latter only the array and search"
    pair = Condition.of({"darkness": 0.4, "gaussian_noise": 0.2})
    (verdict,) = (each for each in check.broken if each.condition == pair.id)
    assert verdict.requirements == ("REQ-1", "REQ-2")
    assert '<property name="requirement" value="REQ-2"' in junit.read_text(encoding="utf-8")
    assert gate.exclusions(check).keys() == models
    other = domain_of({**VALUES, "ranges": {"fog": [0, 0.2], "snow": [0, 1]}})
    with pytest.raises(ParameterError, match="no condition of the domain"):
        rb.check(run, other)
    wider = domain_of({**VALUES, "ranges": {**VALUES["ranges"], "fog": [0, 0.2]}})
    untested = [each for each in rb.check(run, wider).broken if each.outcome == UNTESTED]
    assert untested
    assert "not tested" in untested[0].sentence


def test_a_choice_ranks_by_the_worst_pair(run: runs.Run) -> None:
    chosen = rb.choose(run, worst_pair=True)
    assert chosen.best == ("EfficientNetLite0",)
    scores = {entry["model"]: entry["robust"] for entry in chosen.models}
    assert scores == {"EfficientNetLite0": 1, "SqueezeNet": 0}
    told = " ".join(f"{word} {names}" for word, names in chosen.weighted.items())
    assert "gaussian_noise 0.2" in told
    with pytest.raises(ParameterError, match="weights or the worst pair"):
        rb.choose(run, worst_pair=True, weights={"darkness": 2})


def test_the_time_of_a_domain_is_foretold_by_a_trial(
    run: runs.Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "yard.toml"
    file.write_text(domain_of(VALUES).as_toml(), encoding="utf-8")
    source = run.manifest.dataset.source
    words = ["evaluate", source, "--domain", str(file), "--models", "SqueezeNet", "--side", "64"]
    assert main([*words, "--plan", "--json", "--out", str(tmp_path / "runs")]) == 0
    forecast = json.loads(capsys.readouterr().out)
    conditions = len(domain_of(VALUES).conditions)
    assert forecast["rows"] == 12 * conditions
    assert forecast["basis"] == ["by a trial"]
    assert 0 < forecast["seconds"] < 60
    assert not (tmp_path / "runs").exists(), "a trial leaves nothing behind"
