"""A table may have a score for each image in place of predictions: IoU, F1, or any other."""

from __future__ import annotations

import dataclasses
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import robustness as rb
from robustness import report
from robustness.base.errors import ParameterError
from robustness.cli.main import main
from robustness.runs.comparison import score_changes

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
    wanted = values_by_place(vars(predicted.analysis.figures.tables()))
    got = values_by_place(vars(found.analysis.figures.tables()))
    for place in wanted.keys() | got.keys():
        if not re.sub(r"\[\d+]", "", place).startswith(OF_CLASSES):
            assert is_same(wanted.get(place, "none"), got.get(place, "none")), place
    assert len(wanted) > 800
    frame = rb.evaluate_predictions(scored(table)).frame()
    assert frame["score"].between(0, 1).all()


OF_CLASSES = (
    ".by_class",
    ".by_perturbation.consistency",
    ".by_perturbation.flip_rate",
    ".by_severity.consistency",
    ".by_severity.flip_rate",
    ".choice.score_name",
    ".classes",
    ".over_models",
    ".pairs.consistency",
    ".score",
    ".summary.consistency",
    ".summary.flip_rate",
)
"""Figures of predictions that scores do not have, and the name of the score."""


def is_same(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, float) and isinstance(got, float):
        return abs(wanted - got) <= 1e-12
    return type(wanted) is type(got) and bool(wanted == got)


def values_by_place(value: Any, place: str = "") -> dict[str, Any]:
    """The values within ``value`` by their place; an empty list has none."""
    if dataclasses.is_dataclass(value):
        return values_by_place(vars(value), place)
    if isinstance(value, dict):
        parts = {f".{key}": part for key, part in value.items()}
    elif isinstance(value, list | tuple):
        parts = {f"[{index}]": part for index, part in enumerate(value)}
    else:
        return {place: value}
    values: dict[str, Any] = {}
    for name, part in parts.items():
        values |= values_by_place(part, place + name)
    return values


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
    assert None not in worst.values()
    assert rb.choose(run).as_dict()["score"] == "IoU"
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
    lower, higher = score_changes(run, other, "small", "fog=0.6")
    assert not higher
    losses = [change.before - change.after for change in lower]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == IMAGES
    assert score_changes(run, other, "small", "") == ([], [])
    assert "perturbed IoU" in report.of_comparison(comparison).answers[0][1]
    assert comparison.notes == ()
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
        (
            lambda t: t.assign(score=np.where(np.arange(len(t)) == 6, 1.2, t["score"])),
            r"from 0 to 1, got 1.2 in row 7 \(image 01, fog=0.2, small\)",
        ),
        (
            lambda t: t.assign(score=t["score"].where(np.arange(len(t)) != 3)),
            r"got 1 row without one, the first in row 4 \(image 00, brightness=0.4",
        ),
        (
            lambda t: t.assign(score=["0.5", "good", *["0.5"] * (len(t) - 2)]),
            r"got 'good' in row 2 \(image 00, fog=0.2, small\)",
        ),
        (
            lambda t: t.assign(score=["n/a", *t["score"][1:]]),
            r"got 'n/a' in row 1 \(image 00, clean, small\)",
        ),
        (
            lambda t: pd.concat([t, t[2:4]]),
            r"got 2 repeated rows, the first in row 3 \(image 00, fog=0.6, small\)",
        ),
        (lambda t: t.assign(score_name="x" * 50), "at most 40"),
    ],
)
def test_what_is_no_score_is_refused(
    table: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame], expected: str
) -> None:
    with pytest.raises(ParameterError, match=expected):
        rb.evaluate_predictions(change(scored(table)))


def test_a_table_with_scores_and_classes_is_refused(table: pd.DataFrame) -> None:
    both = scored(table).assign(prediction="a")
    with pytest.raises(ParameterError, match="got both, prediction and score: remove one"):
        rb.evaluate_predictions(both)
    # Without a name a column "score" is any other, as it was before there were scores.
    classes = both.drop(columns="score_name")
    assert not rb.evaluate_predictions(classes).score


def test_slices_by_own_columns_need_no_image_file(table: pd.DataFrame) -> None:
    run = rb.evaluate_predictions(scored(table).assign(path="gone.png"))
    failures = run.analysis.failures
    assert {entry["column"] for entry in failures.slices} == {"scene"}
    assert "no image file could be read" in " ".join(failures.unknown)
    assert rb.failing_images(run, "slice=scene:night", most=1)


def test_a_truth_that_moved_is_recorded(
    table: pd.DataFrame, run: rb.EvaluatedRun, tmp_path: Path
) -> None:
    moved = rb.evaluate_predictions(scored(table), moved_truth=True, out=tmp_path / "runs")
    again = rb.open_run(moved.folder)
    text = report.write(report.of_run(again), tmp_path / "report.md")[0].read_text()
    assert "Valid only if boxes and masks moved, too: Rotation 0.3" in text
    assert "--predictions TABLE --moved-truth" in text
    assert "--moved-truth" not in report.of_run(run).replay


def test_what_needs_predictions_is_refused_by_name(
    run: rb.EvaluatedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["threshold", str(run.folder)]) != 0
    assert "got one of scores (IoU)" in capsys.readouterr().err
    budget = tmp_path / "budget.toml"
    for limit in (
        "min_consistency = 0.5",
        "max_accepted_error = 0.1",
        'perturbation = "*"\nmin_breaking_strength = 0.1',
    ):
        budget.write_text(f"[[limit]]\n{limit}\n")
        with pytest.raises(ParameterError, match=r"the run has scores \(IoU\)"):
            rb.check(run, budget)


def test_files_and_reasons_name_the_score(run: rb.EvaluatedRun, tmp_path: Path) -> None:
    rb.failing_images(run, to=tmp_path / "worst.zip")
    with zipfile.ZipFile(tmp_path / "worst.zip") as archive:
        assert not {name for name in archive.namelist() if name.endswith(".json")}
        cases = pd.read_csv(archive.open("cases.csv"))
    assert cases.notna().all(axis=None)
    assert {"clean_score", "score"} <= set(cases.columns)
    reasons = [entry["reason"] for entry in rb.choose(run, min_accuracy=0.999).models]
    assert all(reason.startswith("original IoU ") for reason in reasons)
    document = report.of_run(run)
    texts = [*document.limits]
    for block in document.methods:
        if isinstance(block, report.Text):
            texts.append(block.text)
    methods = " ".join(texts)
    assert "Scores. A score is how good" in methods
    for word in ("onsistency", "ECE", "Features are", "mCE"):
        assert word not in methods, word


DOMAIN = """
name = "yard"
min_accuracy = 0.5
side = 8
fit = "squash"

[ranges]
fog = [0, 0.3]
brightness = [0, 0.4]
rotation = [0, 0.2]
"""


def test_exported_conditions_of_a_domain_come_back_as_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    random = np.random.default_rng(1)
    for number in range(12):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    domain = tmp_path / "yard.toml"
    domain.write_text(DOMAIN)
    to = tmp_path / "exported"
    # The limit is on scores, so the images need no labels.
    assert main(["export", str(images), "--domain", str(domain), "--to", str(to)]) == 0
    table = pd.read_csv(to / "images.csv", dtype={"image": str})
    declared = rb.read_domain(domain)
    assert set(table["condition"]) == {"clean", *(each.id for each in declared.conditions)}

    pair = "fog=0.3+brightness=0.4"
    table = table[table["condition"] != "fog=0.15+brightness=0.2"]
    score = np.where(table["condition"] == pair, 0.0, 1.0)
    table = table.assign(score=score, score_name="IoU", model="net")
    table.to_csv(to / "scores.csv", index=False)
    runs = tmp_path / "runs"
    command = ["evaluate", "--predictions", str(to / "scores.csv"), "--domain", str(domain)]
    capsys.readouterr()
    assert main([*command, "--out", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "net keeps a mean IoU of 50% in none of 3 pairs" in said
    assert "is broken: 0%" in said
    assert "2 untested" in said  # those with a rotation, whose truth would have moved
    assert "ccuracy" not in said
    (folder,) = runs.iterdir()
    check = rb.check(rb.open_run(folder), domain)
    broken = [verdict for verdict in check.verdicts if verdict.outcome == "broken"]
    assert pair in {verdict.condition for verdict in broken}
    record = tmp_path / "record.md"
    assert main(["domain", "record", str(folder), "--to", str(record)]) == 0
    text = record.read_text(encoding="utf-8")
    assert "mean IoU of at least 50%" in text
    for word in (" accuracy", "onsistency", "With a class", "Classes"):
        assert word not in text, word


def test_a_domain_that_the_table_cannot_answer_is_refused(table: pd.DataFrame) -> None:
    fog_and_noise = {"fog": (0, 0.2), "gaussian_noise": (0, 0.3)}
    ranges = {"min_accuracy": 0.5}
    for domain, expected in (
        (rb.domain("yard", fog_and_noise, min_consistency=0.5), "limits the consistency"),
        (rb.domain("yard", fog_and_noise, **ranges, side=64), "side of the domain"),
        (rb.domain("yard", {"snow": (0, 1), "contrast": (0, 1)}, **ranges), "got none of them"),
    ):
        with pytest.raises(ParameterError, match=expected):
            rb.evaluate_predictions(scored(table), domain=domain)
    run = rb.evaluate_predictions(scored(table), domain=rb.domain("yard", fog_and_noise, **ranges))
    assert run.manifest.spec.domain is not None
