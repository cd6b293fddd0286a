"""Calibrations of a run: fitted on one half of its originals, certified on the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import robustness as rb
from robustness import models, runs
from robustness.base.errors import ParameterError, RunError
from robustness.images.pixels import copies, to_uint8
from robustness.measure.condition import Condition
from robustness.models import Outputs
from robustness.models import own as own_models
from robustness.runs import calibrate
from robustness.runs.analysis import Analysis
from robustness.statistics.calibration import fits_temperature
from tests.support.saved_runs import performed, spec, use_stand_ins

CLASSES = ("tabby", "espresso")
SURE = 0.99
CORRECT = 0.6


def folder(place: Path, count: int, *, mirrored: int = 0) -> Path:
    """Random textures, red for one class and blue for the other; four of ten labels are wrong."""
    rng = np.random.default_rng(0)
    for number in range(count):
        predicted = number % 2
        label = predicted if rng.random() < CORRECT else 1 - predicted
        levels = rng.integers(0, 120, (6, 6, 3), np.uint8)
        levels[..., 2 * predicted] += 130
        image = Image.fromarray(levels).resize((64, 64), Image.Resampling.BICUBIC)
        own = place / CLASSES[label]
        own.mkdir(parents=True, exist_ok=True)
        image.save(own / f"{number}.png")
        if number < mirrored:
            ImageOps.mirror(image).save(own / f"{number}-mirrored.png")
    return place


def overconfident(images: np.ndarray) -> Outputs:
    """Predicts by colour, always as sure."""
    indices = [models.REGISTRY["SqueezeNet"].labels().names.index(name) for name in CLASSES]
    predicted = (images[..., 2].mean((1, 2)) > images[..., 0].mean((1, 2))).astype(int)
    probabilities = np.zeros((len(images), 1000), np.float32)
    for at, own in enumerate(indices):
        probabilities[:, own] = np.where(predicted == at, SURE, 1 - SURE)
    return Outputs(probabilities, {})


Evaluated = Callable[..., runs.Run]


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    use_stand_ins(monkeypatch)
    monkeypatch.setattr(calibrate.models, "load", lambda name, *, side: overconfident)

    def run(count: int, **how: int) -> runs.Run:
        source = folder(tmp_path / "set", count, **how)
        request = spec([Condition.of({"rotation": 0.5})], names=["SqueezeNet"])
        return performed(source, tmp_path / "runs", request, batch=40)

    return run


def test_a_temperature_is_fitted_on_one_half_and_judged_on_the_other(evaluated: Evaluated) -> None:
    run = evaluated(120)
    found = rb.calibrate(run, "SqueezeNet")
    axes = run.rows.axes
    digests = dict(zip(axes.images, axes.digests, strict=True))
    correct = {
        name: (int(Path(name).stem) % 2 == 0) == name.startswith("tabby") for name in digests
    }
    fitting = [right for name, right in correct.items() if fits_temperature(digests[name])]
    assert (found.fitted, found.images) == (len(fitting), 120 - len(fitting))
    share = sum(fitting) / len(fitting)
    expected = math.log(SURE / (1 - SURE)) / math.log(share / (1 - share))
    assert found.temperature == pytest.approx(expected, rel=0.03)
    assert found.helpful
    before, after = found.before["value"], found.after["value"]
    assert before is not None
    assert after is not None
    assert after < 0.5 * before
    assert Analysis(run).calibrations == {"SqueezeNet": found}
    assert Analysis(runs.load(run.folder)).calibrations == {"SqueezeNet": found}


def test_copies_stay_together(evaluated: Evaluated) -> None:
    run = evaluated(90, mirrored=40)
    found = calibrate.calibrate(run, "SqueezeNet")
    axes = run.rows.axes
    names, digests = zip(*sorted(zip(axes.images, axes.digests, strict=True)), strict=True)
    groups = copies(to_uint8(run.picture(name).image) for name in names)
    assert len(set(groups.tolist())) == 90
    fits = np.array([fits_temperature(digest) for digest in digests])
    straddling = {*groups[fits].tolist()} & {*groups[~fits].tolist()}
    assert straddling
    fitting = [fit and group not in straddling for fit, group in zip(fits, groups, strict=True)]
    assert found.fitted == sum(fitting)
    assert found.images == int((~fits).sum())
    assert found.left_out == 130 - found.fitted - found.images


def test_too_few_labels_are_one_sentence(evaluated: Evaluated) -> None:
    run = evaluated(99)
    with pytest.raises(ParameterError, match=r"at least 100 labelled originals.*got 99"):
        calibrate.calibrate(run, "SqueezeNet")
    with pytest.raises(ParameterError, match="a model of the run"):
        calibrate.calibrate(run, "EfficientNetLite0")


def test_weights_that_the_run_did_not_evaluate_are_refused(evaluated: Evaluated) -> None:
    run = evaluated(100)
    request = replace(run.manifest.spec, models=(("SqueezeNet", "sha256:0"),))
    changed = replace(run, manifest=run.manifest.updated(spec=request))
    with pytest.raises(RunError, match="weights that the run evaluated"):
        calibrate.calibrate(changed, "SqueezeNet")


def test_a_threshold_of_a_calibrated_model_rests_on_the_other_half(
    evaluated: Evaluated, models_folder: Path, tmp_path: Path
) -> None:
    (models_folder / "models.toml").write_text('[calm]\nof = "SqueezeNet"\ntemperature = 1.7\n')
    own_models.refresh()
    evaluated(60)
    request = spec([Condition.of({"rotation": 0.5})], names=["SqueezeNet", "calm"])
    run = performed(tmp_path / "set", tmp_path / "both", request, batch=40)
    rest = sum(not fits_temperature(digest) for digest in run.rows.digests.values())
    for entries in (rb.safe_threshold(run), rb.safe_threshold(run, max_error=0.2)):
        images = {entry["model"]: entry["images"] for entry in entries["models"]}
        assert images == {"SqueezeNet": 60, "calm": rest}
    with pytest.raises(ParameterError, match="Calibrate SqueezeNet"):
        calibrate.calibrate(run, "calm")


def test_a_calibrated_model_is_added_in_two_lines(
    evaluated: Evaluated, models_folder: Path
) -> None:
    (models_folder / "models.toml").write_text("")
    run = evaluated(100)
    found = rb.calibrate(run, "SqueezeNet", name="calm")
    table = f'[calm]\nof = "SqueezeNet"\ntemperature = {found.temperature}\n'
    assert (models_folder / "models.toml").read_text() == table
    assert found.added == models.REGISTRY["calm"]
    with pytest.raises(ParameterError, match="new name"):
        rb.calibrate(run, "SqueezeNet", name="calm")
