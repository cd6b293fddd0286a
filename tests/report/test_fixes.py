"""What should we fix: one list of what was measured and what can be, in report and terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robustness as rb
from benchmarks.support.synthetic_runs import pictures, saved
from robustness.cli.main import _parsed, main
from robustness.hardening import Hardening, Settings
from robustness.hardening.judgement import judge_training
from robustness.measure.condition import Condition, as_profile
from robustness.report import fixes
from robustness.report.fixes import FIXES, Fix, FixFigures
from robustness.report.run import RunFigures
from robustness.runs import Analysis, Run
from robustness.runs.analysis import Calibration
from tests.support.jobs import store_training
from tests.support.synthetic_remedies import Made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Made(tmp_path_factory.mktemp("tried")).run


@pytest.fixture
def plain(tmp_path: Path) -> Run:
    """A run of two models, one far better, that tried nothing."""
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(120)])
    return saved(
        tmp_path / "runs" / "plain",
        digests,
        {"SqueezeNet": 0.2, "EfficientNetLite0": 0.9},
        source=tmp_path / "set",
        conditions=[Condition.of({"fog": 0.6})],
    )


def fixes_of(run: Run) -> Sequence[Fix]:
    return RunFigures(Analysis(run)).answer(FIXES).fixes


def of_kind(run: Run, kind: str, model: str = "SqueezeNet") -> list[Fix]:
    return [fix for fix in fixes_of(run) if (fix.kind, fix.model) == (kind, model)]


def test_a_measured_remedy_has_the_gain_of_its_trial(made: Run) -> None:
    helpful = {(gain["model"], gain["remedy"]): gain for gain in rb.gains(made) if gain["helpful"]}
    for model in made.manifest.spec.model_names:
        for fix in of_kind(made, fixes.REMEDY, model):
            assert fix.measured
            assert not fix.command
            if fix.significant:
                gains = [g["gain"] for (name, _), g in helpful.items() if name == model]
                assert fix.gain in gains
            else:
                assert not [name for name, _ in helpful if name == model]
    figures = RunFigures(Analysis(made)).answer(FIXES)
    none = tuple(replace(gain, helpful=False) for gain in figures.tried.gains)
    useless = FixFigures(RunFigures(Analysis(made)), replace(figures.tried, gains=none))
    assert len(fixes.answers(useless)) == 1, "remedies that were asked for have an answer"


def test_what_is_not_measured_has_the_command_that_measures_it(plain: Run) -> None:
    kinds = {fix.kind: fix for fix in fixes_of(plain) if not fix.measured}
    assert {fixes.REMEDY, fixes.TRAINING} <= set(kinds)
    for fix in kinds.values():
        assert "not measured yet" in fixes.gain_text(fix)
        words = shlex.split(fix.command)
        assert words[:3] == ["python", "-m", "robustness"]
        options = _parsed(words[3:])  # the command can be read
        assert callable(options.command)


def test_a_better_model_is_a_fix_and_a_worse_one_is_not(plain: Run) -> None:
    (better,) = of_kind(plain, fixes.OTHER_MODEL)
    assert better.significant
    assert better.what == "Use EfficientNet-Lite0"
    (pair,) = Analysis(plain).figures.pairs()
    assert better.gain == pytest.approx(pair["difference"])
    (none,) = of_kind(plain, fixes.OTHER_MODEL, "EfficientNetLite0")
    assert none.significant is False
    assert none.gain is None


def test_a_saved_calibration_is_read(plain: Run) -> None:
    (before,) = of_kind(plain, fixes.CALIBRATION)
    assert not before.measured
    bounds = {"value": 0.2, "low": 0.1, "high": 0.3}
    none = {"value": 0.01, "low": None, "high": None}
    found = Calibration("SqueezeNet", 1.7, 55, 65, 0, bounds, none, bounds)
    Analysis(plain).add_calibration(found)
    (after,) = of_kind(plain, fixes.CALIBRATION)
    assert after.measured
    assert after.significant
    assert "0.200 (0.100 to 0.300) -> 0.010" in fixes.gain_text(after)
    assert "--name" in after.command


def test_the_terminal_has_the_same_list(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fixes", str(made.folder), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == [vars(fix) for fix in fixes_of(made)]
    assert main(["fixes", str(made.folder)]) == 0
    assert "python -m robustness harden" in capsys.readouterr().out


def test_a_run_of_a_profile_offers_no_training(tmp_path: Path) -> None:
    run = saved(
        tmp_path / "profile",
        pictures(tmp_path / "set", [f"{number}.png" for number in range(30)]),
        {"SqueezeNet": 0.2},
        source=tmp_path / "set",
        conditions=as_profile(
            [Condition.of({"fog": 0.2, "darkness": 0.3}), Condition.of({"fog": 1})]
        ),
    )
    assert not of_kind(run, fixes.TRAINING)


def test_a_training_of_the_run_has_the_gain_that_judged_it(plain: Run) -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random((80, 3)) < 0.5, rng.random((80, 3)) < [0.5, 0.9, 0.95]
    kinds = [Condition.of({"fog": 0.6})], [Condition.of({"rotation": 0.4})]
    judgement = judge_training(before, after, *kinds, labelled=True)
    counts: dict[str, Any] = {
        "share": 0.5,
        "train": 90,
        "choose": 10,
        "left_out": 0,
        "unreadable": 0,
    }
    answer = Hardening(
        "SqueezeNet", "hard", ("fog",), Settings(), judgement=judgement, file="f.xml", **counts
    )
    store_training(plain.folder, answer)
    (fix,) = of_kind(plain, fixes.TRAINING)
    unseen = judgement.group("unseen")
    assert (fix.gain, fix.gain_low, fix.significant) == (unseen.difference, unseen.low, True)
    assert fix.what == "Use hard"
    (other,) = of_kind(plain, fixes.TRAINING, "EfficientNetLite0")
    assert not other.measured
