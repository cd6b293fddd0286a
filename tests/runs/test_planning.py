"""What a planned run will take, by earlier runs of the same models."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.support.image_folders import flat_folder
from benchmarks.support.synthetic_runs import saved
from robustness import runs
from robustness.base.errors import ParameterError
from robustness.measure.condition import Condition
from robustness.measure.domain import domain_of
from robustness.measure.request import domain_spec, make_spec, study_conditions
from robustness.runs import planning
from tests.support.saved_runs import CONDITIONS

ONE = ("SqueezeNet",)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flat_folder(tmp_path_factory.mktemp("data") / "photos", 5)


def test_the_rate_is_that_of_the_newest_finished_run_of_the_same_models(
    photos: Path, tmp_path: Path
) -> None:
    plan = runs.plan(str(photos), make_spec(ONE, CONDITIONS))
    assert planning.from_earlier(plan, tmp_path).seconds is None
    digests = {f"{number}.png": f"{number:064x}" for number in range(6)}
    made = (
        ("2026-01-01", 11.0, "SqueezeNet", True),
        ("2026-01-02", 66.0, "SqueezeNet", True),
        ("2026-01-03", 99.0, "SqueezeNet", False),
        ("2026-01-04", 99.0, "EfficientNetLite0", True),
    )
    for day, seconds, model, finished in made:
        run = saved(tmp_path / day, digests, {model: 0.5}, source=photos, finished=finished)
        created = f"{day}T00:00:00+00:00"
        run.manifest.updated(seconds=seconds, created=created).write(run.folder)
    found = planning.from_earlier(plan, tmp_path)
    assert found.seconds == pytest.approx(5 * 3 * 66.0 / (6 * (1 + len(study_conditions()))))
    assert found.time.endswith("at the rate of the run of 2026-01-02")
    attack = Condition.attack("fgsm", epsilon=8 / 255)
    attacked = runs.plan(str(photos), make_spec(ONE, (attack,)))
    assert planning.from_earlier(attacked, tmp_path).seconds is None


def test_a_limit_of_accuracy_needs_class_labels(photos: Path) -> None:
    """Refused before anything is measured: the outcome could only be "not shown"."""
    ranges = {"fog": [0.0, 0.3], "gaussian_noise": [0.0, 0.3]}
    domain = domain_of({"name": "harbour", "min_accuracy": 0.7, "ranges": ranges})
    with pytest.raises(ParameterError, match="min_consistency"):
        runs.plan(str(photos), domain_spec(domain, ONE))
