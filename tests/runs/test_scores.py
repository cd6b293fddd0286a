"""A table may have a score for each image in place of predictions: IoU, F1, or any other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import robustness as rb
from robustness import report
from robustness.base.errors import ParameterError
from robustness.cli.main import main

CONDITIONS = ["fog=0.2", "fog=0.6", "brightness=0.4+gaussian_noise=0.3", "rotation=0.3"]
STILL = CONDITIONS[:-1]
IMAGES = 48


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Two systems on exported images: whether each was ``right``, and its IoU."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
    to = tmp_path_factory.mktemp("export") / "out"
    rb.export(pixels, to, conditions=CONDITIONS, side=8, fit="squash")
    exported = pd.read_csv(to / "images.csv", dtype={"image": str})
    exported["path"] = [str(to / path) for path in exported["path"]]
    exported["scene"] = np.where(exported["image"].str[-1].isin(list("02468")), "day", "night")
    frames = []
    for model, ease in (("small", 0.5), ("large", 1.5)):
        hard = dict(zip(exported["image"].unique(), random.normal(0, 1, IMAGES), strict=True))
        level = ease + exported["image"].map(hard) - (exported["condition"] != "clean")
        level += exported["scene"] == "day"
        iou = 1 / (1 + np.exp(-2 * level))
        right = random.random(len(exported)) < iou
        frames.append(exported.assign(model=model, right=right, iou=iou))
    return pd.concat(frames)


def scored(table: pd.DataFrame, column: str = "iou", name: str = "IoU") -> pd.DataFrame:
    scores = table[column].astype(float)
    return table.drop(columns=["right", "iou"]).assign(score=scores, score_name=name)


@pytest.fixture(scope="module")
def run(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> rb.EvaluatedRun:
    return rb.evaluate_predictions(scored(table), out=tmp_path_factory.mktemp("runs"))


def test_a_score_of_one_if_correct_gives_every_figure_of_the_predictions(
    table: pd.DataFrame,
) -> None:
    classes = table.drop(columns="iou").assign(
        prediction=np.where(table["right"], "a", "b"), label="a"
    )
    predicted = rb.evaluate_predictions(classes[classes["condition"].isin(["clean", *STILL])])
    found = rb.evaluate_predictions(scored(table, "right"))
    same = _Same()
    same.check(vars(predicted.analysis.figures.tables()), vars(found.analysis.figures.tables()), "")
    assert same.figures > 200
    assert found.analysis.figures.ranked_by == "perturbed_accuracy"
    frame = rb.evaluate_predictions(scored(table)).frame()
    assert frame["score"].between(0, 1).all()


class _Same:
    """Compares figures that both sides have, and counts them."""

    figures = 0

    def check(self, wanted: Any, found: Any, where: str) -> None:
        if dataclasses.is_dataclass(wanted):
            self.check(vars(wanted), vars(found), where)
        elif isinstance(wanted, dict):
            for key, value in wanted.items():
                self.check(value, found.get(key), f"{where}.{key}")
        elif isinstance(wanted, list | tuple):
            for each, other in zip(wanted, found or [], strict=False):
                self.check(each, other, where)
        elif isinstance(wanted, float) and found is not None:
            assert found == pytest.approx(wanted, abs=1e-12), where
            self.figures += 1


def test_the_report_speaks_of_the_score(run: rb.EvaluatedRun, tmp_path: Path) -> None:
    page = report.write(report.of_run(run), tmp_path / "report.html")[0].read_text()
    for expected in ("Mean IoU", "Perturbed IoU", "lower IoU than the original", "Rotation 0.3"):
        assert expected in page, expected
    card = report.write(report.of_run(run), tmp_path / "report.md")[0].read_text()
    results, _, _ = card.partition("Limits")
    for word in ("ccuracy", "correct on", "onsistency"):
        assert word not in results, word
    assert rb.choose(run).sentences[0].startswith("Ship large:")
    scenes = {
        entry["value"] for entry in run.analysis.failures.slices if entry["column"] == "scene"
    }
    assert scenes == {"day", "night"}
    worst = rb.failing_images(run, most=1)[0]
    assert worst["score"] < worst["clean_score"]


def test_a_gate_and_a_comparison_judge_the_score(
    run: rb.EvaluatedRun, table: pd.DataFrame, tmp_path: Path
) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text("[[limit]]\nmin_accuracy = 0.9\nmax_regression = 0.05\n")
    worse = table.assign(iou=table["iou"].where(table["condition"] == "clean", table["iou"] / 2))
    other = rb.evaluate_predictions(scored(worse))
    check = rb.check(other, budget, baseline=run)
    assert {verdict.limit for verdict in check.broken} == {"min_accuracy", "max_regression"}
    comparison = rb.compare(run, other)
    assert "perturbed IoU" in report.of_comparison(comparison).answers[0][1]
    with pytest.raises(ParameterError, match="got IoU and F1"):
        rb.compare(run, rb.evaluate_predictions(scored(table, name="F1")))


def test_perturbations_that_move_pixels_count_only_where_the_truth_moved(
    table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scored(table).to_csv(tmp_path / "scores.csv", index=False)
    command = ["evaluate", "--predictions", str(tmp_path / "scores.csv"), "--out", str(tmp_path)]
    assert main(command) == 0
    assert "boxes and masks would have to move, too: Rotation 0.3" in capsys.readouterr().out
    assert main([*command, "--moved-truth", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "rotation=0.3" in json.dumps(document)
    rotated = table[table["condition"].isin(["clean", "rotation=0.3"])]
    with pytest.raises(ParameterError, match="leave pixels in place"):
        rb.evaluate_predictions(scored(rotated))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.assign(score=t["score"] * 100), "expected score from 0 to 1"),
        (lambda t: t.assign(score=t["score"].where(t["score"] > 0.2)), "without one"),
        (lambda t: t.assign(score="good"), "expected numbers from 0 to 1 in score"),
        (lambda t: t.assign(score_name="x" * 50), "at most 40"),
    ],
)
def test_what_is_no_score_is_refused(
    table: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame], expected: str
) -> None:
    with pytest.raises(ParameterError, match=expected):
        rb.evaluate_predictions(change(scored(table)))
