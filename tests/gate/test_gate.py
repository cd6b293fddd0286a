"""The gate: constructed runs against budgets whose verdict is known."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import yaml
from statsmodels.stats.proportion import proportion_confint

from benchmarks.support.repository import ROOT
from benchmarks.support.synthetic_rows import APGD, PGD, SyntheticRun, attacked, rows
from robustness import gate, runs
from robustness.base.errors import ParameterError
from robustness.gate import BROKEN, KEPT, NOT_SHOWN
from robustness.measure.condition import Condition
from tests.support.documents import DOCUMENTS, blocks, parser

ON_SEVERAL = ("max_attack_success", "min_breaking_strength")
"""Limits that need a perturbation."""

LEVELS = [("fog", 0.2), ("fog", 0.6), ("fog", 1.0)]


def steady(shares: Sequence[float], images: int = 200, model: str = "SqueezeNet") -> pd.DataFrame:
    """The first share of the images keeps its answer at each level of fog."""
    places = np.arange(images)[:, None] / images
    return rows(places < np.array(shares), model=model, conditions=LEVELS)


def run(
    shares: Sequence[float] = (0.9, 0.6, 0.1), images: int = 200, weights: str = "1"
) -> SyntheticRun:
    return SyntheticRun(steady(shares, images), LEVELS, weights)


def budget(tmp_path: Path, text: str) -> gate.Budget:
    (tmp_path / "budget.toml").write_text(text)
    return gate.read_budget(tmp_path / "budget.toml")


def outcomes(found: gate.Check) -> dict[str, str]:
    return {verdict.where: verdict.outcome for verdict in found.verdicts}


def labelled_attack(right: int, robust: int, weights: str = "1") -> SyntheticRun:
    """Two attacks on 70 labelled images, of which a model has the first ``right`` right."""
    return SyntheticRun(attacked("SqueezeNet", right, robust), (APGD, PGD), weights)


SHORT, LONG = Condition.attack("pgd", steps=1), Condition.attack("pgd", steps=100)
LIGHT, HEAVY = (Condition.of({"fog": s, "gaussian_blur": s}) for s in (0.2, 0.8))


def of_conditions(shares: Sequence[float], conditions: Sequence[Condition]) -> SyntheticRun:
    """200 images, of which the first share keeps its answer under each condition."""
    kept = np.arange(200)[:, None] / 200 < np.array(shares)
    return SyntheticRun(rows(kept, conditions=conditions), conditions)


@pytest.mark.parametrize("conditions", [(SHORT, LONG), (LIGHT, HEAVY)])
def test_conditions_of_one_name_and_strength_have_verdicts_of_their_own(
    tmp_path: Path, conditions: tuple[Condition, Condition]
) -> None:
    limits = '[[limit]]\nperturbation = "*"\nmin_consistency = 0.5\nmax_regression = 0.1'
    before, after = (of_conditions(shares, conditions) for shares in ((0.9, 0.9), (0.9, 0.1)))
    found = gate.check(budget(tmp_path, limits), after, before)
    first, second = (condition.id for condition in conditions)
    assert {(verdict.limit, verdict.condition): verdict.outcome for verdict in found.verdicts} == {
        ("min_consistency", first): KEPT,
        ("min_consistency", second): BROKEN,
        ("max_regression", first): KEPT,
        ("max_regression", second): BROKEN,
    }
    assert len({verdict.where for verdict in found.verdicts}) == 2


def test_conditions_that_only_share_their_name_and_strength_are_not_compared() -> None:
    found = runs.compare(of_conditions([0.9], [SHORT]), of_conditions([0.1], [LONG]))
    assert found.differences == []
    assert found.notes[0].startswith("Nothing to compare")
    assert "Conditions only in the baseline: pgd epsilon 8/255, 1 step." in found.notes


# --- the interval decides -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "outcome"), [(0.5, KEPT), (0.58, NOT_SHOWN), (0.62, NOT_SHOWN), (0.7, BROKEN)]
)
def test_a_minimum_is_held_against_the_bounds(tmp_path: Path, limit: float, outcome: str) -> None:
    text = f'[[limit]]\nperturbation = "fog"\nstrength = 0.6\nmin_consistency = {limit}'
    found = gate.check(budget(tmp_path, text), run())
    (verdict,) = found.verdicts
    assert verdict.value == pytest.approx(0.6)
    assert verdict.low is not None
    assert verdict.high is not None
    assert 0.52 < verdict.low < 0.58 < 0.62 < verdict.high < 0.68
    assert (verdict.outcome, found.passed) == (outcome, outcome == KEPT)


def test_more_pictures_show_what_few_leave_open(tmp_path: Path) -> None:
    asked = budget(tmp_path, '[[limit]]\nperturbation = "fog"\nmin_consistency = 0.05')
    few, many = (gate.check(asked, run(images=images)) for images in (20, 2000))
    assert outcomes(few) == {"fog 0.2": KEPT, "fog 0.6": KEPT, "fog 1": NOT_SHOWN}
    assert many.passed
    assert not few.passed
    lenient = budget(
        tmp_path, 'when_unsure = "pass"\n[[limit]]\nperturbation = "fog"\nmin_consistency = 0.05'
    )
    assert gate.check(lenient, run(images=20)).passed
    broken = replace(
        lenient, rules=(lenient.rules[0].model_copy(update={"min_consistency": 0.99}),)
    )
    assert not gate.check(broken, run(images=20)).passed


def test_without_a_perturbation_the_limit_is_on_all_conditions_together(tmp_path: Path) -> None:
    found = gate.check(budget(tmp_path, "[[limit]]\nmin_consistency = 0.4"), run())
    (verdict,) = found.verdicts
    assert verdict.where == "all conditions"
    assert verdict.value == pytest.approx((0.9 + 0.6 + 0.1) / 3)


def test_a_limit_may_name_what_pages_show(tmp_path: Path) -> None:
    keys = 'model = "{}"\nperturbation = "{}"\nstrength = 0.6\nmin_consistency = 0.5'
    checks = [
        gate.check(budget(tmp_path, f"[[limit]]\n{keys.format(*names)}"), run())
        for names in (("SqueezeNet", "fog"), ("SqueezeNet 1.1", "fog effect"))
    ]
    assert checks[0].verdicts == checks[1].verdicts
    assert len(checks[0].verdicts) == 1


def test_the_last_limit_that_fits_counts(tmp_path: Path) -> None:
    text = """
[[limit]]
perturbation = "*"
min_consistency = 0.5
[[limit]]
perturbation = "fo?"
strength = 1
min_consistency = 0.01
[[limit]]
model = "Efficient*"
perturbation = "*"
min_consistency = 0.8
"""
    both = pd.concat([steady((0.9, 0.7, 0.1)), steady((0.9, 0.7, 0.1), model="EfficientNetLite0")])
    found = gate.check(budget(tmp_path, text), SyntheticRun(both, LEVELS))
    wanted = {(v.model, v.strength): v.wanted for v in found.verdicts}
    assert wanted == {
        ("SqueezeNet", 0.2): 0.5,
        ("SqueezeNet", 0.6): 0.5,
        ("SqueezeNet", 1.0): 0.01,
        **{("EfficientNetLite0", strength): 0.8 for _, strength in LEVELS},
    }
    assert {(v.model, v.strength) for v in found.broken} == {
        ("EfficientNetLite0", 0.6),
        ("EfficientNetLite0", 1.0),
    }


# --- accuracy, breaking strength, regression ------------------------------------------------------


def test_a_drop_of_accuracy_has_a_maximum(tmp_path: Path) -> None:
    kept = np.arange(200)[:, None] / 200 < np.array((0.9, 0.6, 0.1))
    labelled = rows(
        kept,
        conditions=LEVELS,
        labels=np.zeros(200, int),
        clean_correct=np.ones(200),
        correct=kept,
    )
    text = '[[limit]]\nperturbation = "*"\nmax_accuracy_drop = 0.41\nmin_accuracy = 0.5'
    found = gate.check(budget(tmp_path, text), SyntheticRun(labelled, LEVELS))
    by_limit = {(v.limit, v.strength): v for v in found.verdicts}
    assert by_limit["max_accuracy_drop", 0.6].value == pytest.approx(0.4)
    assert [by_limit["max_accuracy_drop", s].outcome for _, s in LEVELS] == [
        KEPT,
        NOT_SHOWN,
        BROKEN,
    ]
    assert [by_limit["min_accuracy", s].outcome for _, s in LEVELS] == [KEPT, KEPT, BROKEN]


def improved(share: float) -> SyntheticRun:
    """A run with a ``share`` of its images correct and unchanged; on originals it is worse."""
    conditions = (Condition.of({"fog": 0.2}), Condition.of({"fog": 0.6}), PGD)
    right = np.arange(200)[:, None] / 200 < np.array([share] * 3)
    before = np.arange(200) / 200 < share - 0.1
    frame = rows(
        right, conditions=conditions, labels=np.zeros(200), clean_correct=before, correct=right
    )
    return SyntheticRun(frame, conditions, weights=str(share))


def test_every_difference_of_two_shares_is_in_points_and_nothing_else(tmp_path: Path) -> None:
    """Of a run that is better than its baseline, and perturbed, each loss is below 0."""
    limits = "\n".join(f"{name} = 0.5" for name in gate.LIMITS if name not in ON_SEVERAL)
    several = "\n".join(f"{name} = 0.5" for name in ON_SEVERAL)
    asked = f'[[limit]]\n{limits}\n[[limit]]\nperturbation = "*"\n{several}'
    verdicts = gate.check(budget(tmp_path, asked), improved(0.8), improved(0.6)).verdicts
    assert {verdict.limit for verdict in verdicts} == set(gate.LIMITS)
    for verdict in verdicts:
        if verdict.limit == "min_breaking_strength":
            texts = [verdict.limit_text]
        else:
            texts = [verdict.limit_text, verdict.figure_text]
        is_difference = verdict.value is not None and verdict.value < 0
        for text in texts:
            assert ("point" in text) == is_difference, (verdict.limit, text)
            assert not is_difference or "%" not in text, (verdict.limit, text)


def test_the_gate_closes_where_most_of_the_correct_predictions_break(tmp_path: Path) -> None:
    """40 of 42 break; of all 70 images 30 still have the prediction, wrong, that they had."""
    text = '[[limit]]\nperturbation = "*"\nmax_attack_success = 0.8'
    verdicts = gate.check(budget(tmp_path, text), labelled_attack(42, 2)).verdicts
    assert [(v.outcome, v.images) for v in verdicts] == [(BROKEN, 42)] * 2
    assert [v.value for v in verdicts] == pytest.approx([40 / 42] * 2)
    kept = gate.check(budget(tmp_path, text), labelled_attack(42, 30)).verdicts
    assert {v.outcome for v in kept} == {KEPT}


MIXED = (APGD, Condition.of({"fog": 0.6}))


@pytest.mark.parametrize("limit", ["min_consistency = 0.4", "max_regression = 0.02"])
def test_a_limit_on_attacks_and_others_says_which_images_it_counts(
    tmp_path: Path, limit: str
) -> None:
    """Fog counts all 70 images, the attack the 42 that were correct before it."""
    after = SyntheticRun(attacked("SqueezeNet", 42, 2, MIXED), MIXED)
    before = SyntheticRun(attacked("SqueezeNet", 42, 30, MIXED), MIXED)
    found = gate.check(budget(tmp_path, f"[[limit]]\n{limit}"), after, before)
    (told,) = gate.as_dict(found)["verdicts"]
    assert (told["images"], told["attacked"]) == (70, 42)
    (verdict,) = found.verdicts
    assert "under attack of predictions to break" in verdict.sentence
    assert "on 70 images, 42 attacked" in verdict.sentence
    assert "under attack of predictions to break" in gate.markdown(found)


def test_a_limit_that_counts_every_image_names_no_other_denominator(tmp_path: Path) -> None:
    all_correct = SyntheticRun(attacked("SqueezeNet", 70, 30, MIXED), MIXED)
    asked = budget(tmp_path, "[[limit]]\nmin_consistency = 0.4")
    for tested in (all_correct, run()):
        (verdict,) = gate.check(asked, tested).verdicts
        assert "attack" not in verdict.sentence


def test_robust_accuracy_is_over_all_labelled_images(tmp_path: Path) -> None:
    for scope, count in (("", 1), ('perturbation = "*"', 2)):
        asked = budget(tmp_path, f"[[limit]]\n{scope}\nmin_robust_accuracy = 0.5")
        for robust, outcome in ((20, BROKEN), (30, NOT_SHOWN), (55, KEPT)):
            verdicts = gate.check(asked, labelled_attack(60, robust)).verdicts
            assert [v.outcome for v in verdicts] == [outcome] * count
            assert [v.value for v in verdicts] == pytest.approx([robust / 70] * count)


@pytest.mark.parametrize("limit", ["max_regression", "max_robust_accuracy_regression"])
@pytest.mark.parametrize("scope", ["", 'perturbation = "*"'])
def test_a_model_that_gets_more_wrong_is_no_better_against_attacks(
    tmp_path: Path, limit: str, scope: str
) -> None:
    """It has 60 images right instead of 30, and loses nearly all of them where it lost none."""
    asked = budget(tmp_path, f'baseline = "x"\n[[limit]]\n{scope}\n{limit} = 0.1')
    verdicts = gate.check(asked, labelled_attack(60, 2, "2"), labelled_attack(30, 30)).verdicts
    assert {(v.of, v.outcome) for v in verdicts} == {("robust_accuracy", BROKEN)}
    assert [v.value for v in verdicts] == pytest.approx([28 / 70] * len(verdicts))
    assert all("robust accuracy" in v.sentence for v in verdicts)
    same = gate.check(asked, labelled_attack(60, 30, "2"), labelled_attack(42, 30)).verdicts
    assert {v.outcome for v in same} == {KEPT}


@pytest.mark.parametrize(
    ("shares", "wanted", "level", "outcome", "bounds"),
    [
        ((0.9, 0.7, 0.1), 0.6, 0.5, KEPT, (1.0, 1.0)),
        ((0.9, 0.7, 0.1), 1.0, 0.5, KEPT, (1.0, 1.0)),
        ((0.9, 0.52, 0.1), 1.0, 0.5, NOT_SHOWN, (0.6, 1.0)),
        ((0.9, 0.3, 0.1), 1.0, 0.5, BROKEN, (0.6, 0.6)),
        ((0.9, 0.7, 0.1), 0.6, 0.8, KEPT, (0.6, 0.6)),
        ((0.3, 0.2, 0.1), 0.2, 0.5, KEPT, (0.2, 0.2)),
        ((0.3, 0.2, 0.1), 0.1, 0.5, NOT_SHOWN, (0.2, 0.2)),  # it may have broken at 0.05
        ((0.9, 0.7, 0.1), 0.1, 0.5, KEPT, (1.0, 1.0)),
        ((0.9, 0.8, 0.7), 1.0, 0.5, KEPT, (None, None)),
    ],
)
def test_a_model_must_not_break_before(
    tmp_path: Path,
    shares: Sequence[float],
    wanted: float,
    level: float,
    outcome: str,
    bounds: tuple[float | None, float | None],
) -> None:
    text = (
        f'[[limit]]\nperturbation = "*"\nmin_breaking_strength = {wanted}\nbreaking_level = {level}'
    )
    (verdict,) = gate.check(budget(tmp_path, text), run(shares)).verdicts
    assert (verdict.low, verdict.high) == bounds
    assert verdict.outcome == outcome


REGRESSION = '[[limit]]\nperturbation = "*"\nmax_regression = 0.05'


def test_a_run_must_not_be_worse_than_the_baseline(tmp_path: Path) -> None:
    before, after = run((0.9, 0.6, 0.3)), run((0.9, 0.62, 0.1), weights="2")
    found = gate.check(budget(tmp_path, REGRESSION), after, before)
    assert outcomes(found) == {"fog 0.2": KEPT, "fog 0.6": KEPT, "fog 1": BROKEN}
    worse = {verdict.strength: verdict for verdict in found.verdicts}[1.0]
    assert worse.value == pytest.approx(0.2)
    assert worse.sentence.startswith("20.0 points (")
    assert worse.limit_text == "5 points"
    assert "%" not in worse.sentence, "of what is lost, a percentage could be a share"


def test_equal_answers_of_other_weights_are_as_sure_as_there_are_pictures(tmp_path: Path) -> None:
    asked = budget(tmp_path, REGRESSION)
    for images, outcome in ((20, NOT_SHOWN), (200, KEPT)):
        same = gate.check(asked, run(images=images), run(images=images))
        assert {(v.outcome, v.high) for v in same.verdicts} == {(KEPT, 0.0)}
        trained = gate.check(asked, run(images=images, weights="2"), run(images=images))
        _, most = proportion_confint(0, images, method="beta")
        bound = pytest.approx(most)
        assert {v.outcome for v in trained.verdicts} == {outcome}
        assert all(v.high == bound for v in trained.verdicts)


def test_four_pictures_show_nothing(tmp_path: Path) -> None:
    text = '[[limit]]\nperturbation = "*"\nmin_consistency = 0.01\nmin_breaking_strength = 0.6'
    for pictures, outcomes_ in ((4, {NOT_SHOWN}), (8, {KEPT})):
        found = gate.check(budget(tmp_path, text), run((1.0,) * 3, images=pictures))
        assert {verdict.outcome for verdict in found.verdicts} == outcomes_
        assert found.passed == (pictures == 8)
        assert gate.junit(found)
        assert ("no interval" in gate.markdown(found)) == (pictures == 4)


# --- what cannot be checked -----------------------------------------------------------------------

WRONG = {
    "no table": ('baseline = "x"', "'limit' is missing"),
    "a typo at the top": (
        "basline = 1\n[[limit]]\nmin_consistency = 0.5",
        "Did you mean 'baseline'",
    ),
    "a typo of a limit": ("[[limit]]\nmin_consistancy = 0.5", "Did you mean 'min_consistency'"),
    "a typo of a scope": ('[[limit]]\nmodels = "*"\nmin_consistency = 0.5', "Did you mean 'model'"),
    "a limit in percent": ("[[limit]]\nmin_consistency = 50", "between 0 and 1, got 50"),
    "a limit in words": ('[[limit]]\nmin_consistency = "half"', "between 0 and 1, got 'half'"),
    "a truth value": ("[[limit]]\nmin_consistency = true", "got True"),
    "nothing said": ('[[limit]]\nmodel = "*"', "expected a limit, one of min_consistency"),
    "a strength of nothing": (
        "[[limit]]\nstrength = 0.6\nmin_consistency = 0.5",
        "a strength needs a perturbation",
    ),
    "breaking over all": ("[[limit]]\nmin_breaking_strength = 0.5", "covers all strengths"),
    "another way to be unsure": (
        'when_unsure = "maybe"\n[[limit]]\nmin_consistency = 0.5',
        "got 'maybe'",
    ),
    "no TOML": ("[[limit]", "is not valid TOML"),
    "a pattern of any length": (
        f'[[limit]]\nmodel = "{"[a" * 10000}"\nmin_consistency = 0.5',
        "a pattern such as *, of up to 500 characters",
    ),
    "limits without end": ("[[limit]]\nmin_consistency = 0.5\n" * 501, "up to 500 tables"),
    "no such model": (
        '[[limit]]\nmodel = "SqueezNet"\nmin_consistency = 0.5',
        "no model 'SqueezNet'. Did you mean 'SqueezeNet'",
    ),
    "no such perturbation": (
        '[[limit]]\nperturbation = "fgo"\nmin_consistency = 0.5',
        "no perturbation 'fgo'. Did you mean 'fog'",
    ),
    "no such strength": (
        '[[limit]]\nperturbation = "fog"\nstrength = 0.5\nmin_consistency = 0.5',
        "no fog at strength 0.5",
    ),
    "attacks over all": ("[[limit]]\nmax_attack_success = 0.5", "needs an attack"),
    "no attack": ('[[limit]]\nperturbation = "fog"\nmax_attack_success = 0.5', "no attack fog"),
    "no labels": ("[[limit]]\nmax_accuracy_drop = 0.5", "have no labels"),
    "no baseline": ("[[limit]]\nmax_regression = 0.5", "needs a run to compare with"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_checked_is_named(what: str, tmp_path: Path) -> None:
    text, message = WRONG[what]
    with pytest.raises(ParameterError) as refused:
        gate.check(budget(tmp_path, text), run())
    assert message in str(refused.value)
    assert "budget.toml" in str(refused.value)


def test_a_breaking_strength_needs_several_strengths_up_to_the_limit(tmp_path: Path) -> None:
    asked = budget(tmp_path, '[[limit]]\nperturbation = "*"\nmin_breaking_strength = 0.8')
    one = SyntheticRun(steady((0.9, 0.6, 0.1)).query("strength == 1"), LEVELS[2:])
    with pytest.raises(ParameterError, match="at one strength only"):
        gate.check(asked, one)
    short = SyntheticRun(steady((0.9, 0.6, 0.1)).query("strength < 1"), LEVELS[:2])
    with pytest.raises(ParameterError, match=r"up to strength 0\.6 only"):
        gate.check(asked, short)


# --- documents ------------------------------------------------------------------------------------


@pytest.fixture
def found(tmp_path: Path) -> gate.Check:
    text = '[[limit]]\nmodel = "odd*"\nperturbation = "*"\nmin_consistency = 0.58'
    frame = steady((0.9, 0.6, 0.1), model="odd|<b>&\x00")
    return gate.check(budget(tmp_path, text), SyntheticRun(frame, LEVELS))


def test_junit_has_a_case_a_limit(found: gate.Check) -> None:
    suites = ElementTree.fromstring(gate.junit(found))
    (suite,) = suites
    assert suites.tag == "testsuites"
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    failures = {case.get("name"): case.find("failure") for case in suite}
    assert failures["min_consistency, fog 0.2"] is None
    failure = failures["min_consistency, fog 1"]
    assert failure is not None
    assert failure.get("type") == BROKEN
    assert "wanted: at least 58%" in (failure.get("message") or "")
    assert suite[0].get("classname") == "robustness.odd|<b>&\ufffd"


def test_the_summary_puts_what_fails_first_and_escapes_names(found: gate.Check) -> None:
    text = gate.markdown(found)
    assert text.startswith("## Robustness: Release fails: 1 of 3 limits broken, and 1 more")
    table = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [line.split("|")[1].strip()[2:].strip() for line in table] == [BROKEN, NOT_SHOWN, KEPT]
    assert "odd\\|\\<b\\>\\&" in text
    assert "squares \\| \\<b\\>" in text
    assert all(sign.isprintable() for sign in text.replace("\n", ""))
    assert {line.replace("\\|", "").count("|") for line in table} == {7}


def test_the_workflow_installs_this_project_from_a_checkout_of_its_own() -> None:
    (text,) = blocks("yaml", DOCUMENTS["docs/gate.md"])
    steps = yaml.safe_load(text)["jobs"]["gate"]["steps"]
    own, project = [step.get("with", {}) for step in steps if "checkout" in step.get("uses", "")]
    assert "repository" not in own
    run = [words for step in steps if "run" in step for words in step["run"].split("\n") if words]
    (requirements,) = (words.split()[-1] for words in run if "install -r" in words)
    assert (ROOT / Path(requirements).relative_to(project["path"])).is_file()
    (package,) = (words.split()[-1] for words in run if "--no-deps" in words)
    assert Path(package) == Path(project["path"])
    (check,) = (words.partition("-m robustness ")[2] for words in run if "check" in words)
    assert parser().parse_args(shlex.split(check)).github
