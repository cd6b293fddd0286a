"""The gate on models behind remedies, which are judged as models with the same predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustness import api, gate
from robustness.base.errors import ParameterError
from robustness.cli.main import main
from robustness.measure.condition import Condition
from tests.support.synthetic_remedies import CONDITIONS, MODELS, Made

TOGETHER = "+".join([*MODELS, "average"])
ATTACKS = tuple(
    Condition.attack(name, epsilon=0.5, norm="l2", steps=10) for name in ("apgd", "pgd")
)
ACCURACIES = ["min_accuracy", "max_accuracy_drop", "max_accuracy_regression"]
UNDER_ATTACK = [
    *("min_accuracy", "min_robust_accuracy", "max_regression", "max_robust_accuracy_regression"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


def budget(folder: Path, *limits: str) -> Path:
    path = folder / "gate.toml"
    path.write_text("\n".join(f"[[limit]]\n{limit}" for limit in limits))
    return path


def judged(found: gate.Check, *names: str) -> list[dict[str, Any]]:
    """The verdicts on ``names``, without the name."""
    return [
        vars(each) | {"model": ""}
        for name in names
        for each in found.verdicts
        if each.model == name
    ]


@pytest.mark.parametrize(
    ("remedy", "conditions", "limits"),
    [("average", CONDITIONS, ACCURACIES), ("median", ATTACKS, UNDER_ATTACK)],
)
def test_a_model_behind_a_remedy_is_judged_as_one_with_its_predictions(
    tmp_path: Path, remedy: str, conditions: tuple[Condition, ...], limits: list[str]
) -> None:
    wanted = "\n".join(f"{name} = 0.6" for name in limits)
    found = {}
    for lone, model in (("", f"*+{remedy}"), (remedy, "*")):
        more = "\nmax_attack_success = 0.4" if conditions == ATTACKS else ""
        path = budget(
            tmp_path,
            f'model = "{model}"\n{wanted}',
            f'model = "{model}"\nperturbation = "*"\n{wanted}{more}',
        )
        after, before = (
            Made(
                tmp_path / f"{lone} {seed}",
                asked="" if lone else "median,flip,average",
                conditions=conditions,
                seed=seed,
                lone=lone,
            ).run
            for seed in (1, 2)
        )
        found[lone] = api.check(after, path, baseline=before)
    behind = [TOGETHER] if remedy == "average" else [f"{name}+median" for name in MODELS]
    assert {each.model for each in found[""].verdicts} == {*behind}
    expected = judged(found[remedy], *MODELS[: len(behind)])
    assert judged(found[""], *behind) == expected
    assert len(expected) == len(behind) * (3 * len(limits) + 2 * bool(more))


def test_without_labels_a_prediction_is_unchanged_if_it_is_that_without_the_remedy(
    tmp_path: Path,
) -> None:
    made = Made(tmp_path, labelled=False)
    path = budget(tmp_path, 'model = "*+flip"\nmin_consistency = 0.5')
    found = {each.model: each.value for each in api.check(made.run, path).verdicts}
    assert found == {
        f"{name}+flip": pytest.approx((made.clean["", name] == made.top["flip", name].T).mean())
        for name in MODELS
    }


def test_a_limit_on_accepted_predictions_is_refused_behind_remedies(
    made: Made, tmp_path: Path
) -> None:
    path = budget(tmp_path, "max_accepted_error = 0.5")
    with pytest.raises(ParameterError, match="behind a remedy have no probabilities; leave out"):
        gate.check(gate.read_budget(path), made.run, remedies=True)


def test_only_a_pattern_with_a_plus_is_on_remedies(made: Made, tmp_path: Path) -> None:
    limit = "min_accuracy = 0.5"
    path = budget(tmp_path, f'model = "*"\n{limit}', f'model = "Squeeze*+median"\n{limit}')
    found = [each.model for each in api.check(made.run, path).verdicts]
    assert sorted(found) == sorted([*MODELS, "SqueezeNet+median"])


@pytest.mark.parametrize(
    ("model", "asked", "message"),
    [
        ("SqueezeNet+medain", "median", "no model 'SqueezeNet+medain'. Did you mean 'SqueezeNet+m"),
        ("SqueezeNet+median", "flip", "no model 'SqueezeNet+median'"),
        ("SqueezeNet+median", "", "tried remedies for 'SqueezeNet+median', got one without"),
    ],
)
def test_a_remedy_that_the_run_lacks_is_named(
    tmp_path: Path, model: str, asked: str, message: str
) -> None:
    run = Made(tmp_path, asked=asked).run
    path = budget(tmp_path, f'model = "{model}"\nmin_accuracy = 0.5')
    with pytest.raises(ParameterError) as refused:
        api.check(run, path)
    assert message in str(refused.value)
    assert main(["check", str(run.folder), "--budget", str(path)]) == 2


def test_a_choice_does_not_call_broken_what_too_few_images_show(made: Made, tmp_path: Path) -> None:
    limit = 'model = "SqueezeNet"\nmin_accuracy = {}'
    measured = api.check(made.run, budget(tmp_path, limit.format(0.99))).verdicts[0].value
    assert measured is not None
    path = budget(tmp_path, limit.format(measured - 0.001))
    assert api.check(made.run, path).verdicts[0].outcome == "not shown"
    found = api.choose(made.run, budget=path)
    (reason,) = [each["reason"] for each in found.models if each["model"] == "SqueezeNet"]
    assert "breaks" not in reason
    assert "too few images" in reason


def test_a_baseline_without_the_remedy_cannot_be_compared(made: Made, tmp_path: Path) -> None:
    path = budget(tmp_path, 'model = "SqueezeNet+median"\nmax_accuracy_regression = 0.5')
    before = Made(tmp_path / "before", asked="flip").run
    with pytest.raises(ParameterError, match="shares no image, model and condition"):
        api.check(made.run, path, baseline=before)


@pytest.mark.parametrize(
    ("model", "out"),
    [
        ("SqueezeNet+median", {"SqueezeNet+median"}),
        ("SqueezeNet", {"SqueezeNet", "SqueezeNet+median", "SqueezeNet+flip"}),
        ("*", {*MODELS, *(f"{m}+{r}" for m in MODELS for r in ("median", "flip")), TOGETHER}),
    ],
)
def test_a_choice_among_remedies_rules_out_those_that_break_a_limit(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, out: set[str]
) -> None:
    path = budget(tmp_path, f'model = "{model}"\nmin_accuracy = 0.99')
    found = api.choose(made.run, budget=path, remedies=True)
    reasons = {each["model"]: each["reason"] for each in found.models if each["reason"]}
    assert reasons == dict.fromkeys(out, "limit broken: accuracy (all conditions)")
    asked = ["choose", str(made.run.folder), "--remedies", "--budget", str(path), "--json"]
    assert main(asked) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {**printed, **json.loads(json.dumps(found.as_dict()))}
