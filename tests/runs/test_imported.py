"""Predictions of another system come back as a run, equal to one that was measured here."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import robustness as rb
from robustness import api, models, report, runs
from robustness.base.errors import ParameterError, RunError
from robustness.base.text import csv_cell, from_csv_cell
from robustness.cli.main import main
from robustness.metrics.scores import RESCALED
from robustness.runs import Analysis
from tests.support.onnx_files import small_model

NAMES = [f"class {at}" for at in range(10)]
CONDITIONS = ["fog=0.6", "brightness=0.4+gaussian_noise=0.3"]
FEATURES = {*RESCALED, *RESCALED.values(), "stages", "model"}
"""Columns that a table of predictions lacks."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("model") / "digits.onnx"
    file.write_bytes(small_model())
    rb.add_model("digits", file, labels=NAMES, normalisation="0..1", output="logits")
    yield file
    rb.remove_model("digits")


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray[Any, Any], list[str]]:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    return pixels, [NAMES[at] for at in random.integers(0, 10, 12)]


@pytest.fixture(scope="module")
def direct(network: Path, images: Any) -> rb.EvaluatedRun:
    return rb.evaluate(images, models=["digits"], conditions=CONDITIONS, side=8, fit="squash")


@pytest.fixture(scope="module")
def asked(network: Path, images: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an export, with the predictions that onnxruntime made of its images."""
    import onnxruntime

    to = tmp_path_factory.mktemp("export") / "out"
    rb.export(images, to, conditions=CONDITIONS, models=["digits"], side=8, fit="squash")
    table = pd.read_csv(to / "images.csv", dtype={"image": str})
    session = onnxruntime.InferenceSession(network)
    pixels = np.stack([np.asarray(Image.open(to / path)) for path in table["path"]])
    (logits,) = session.run(None, {"image": pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255})
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    table["probabilities"] = list(raised / raised.sum(axis=1, keepdims=True))
    table.to_parquet(to / "elsewhere.parquet")
    return to


@pytest.fixture
def table(asked: Path) -> pd.DataFrame:
    return pd.read_parquet(asked / "elsewhere.parquet")


def same(direct: rb.EvaluatedRun, found: rb.EvaluatedRun, *, but: set[str] = FEATURES) -> None:
    before, after = direct.frame(None), found.frame(None)
    for column in before.columns.difference(list(but)):
        if isinstance(before[column].iloc[0], float | np.ndarray):
            left, right = (np.array(frame[column].tolist()) for frame in (before, after))
            np.testing.assert_allclose(left, right, atol=2e-6, err_msg=column)
        else:
            assert before[column].astype(str).tolist() == after[column].astype(str).tolist(), column


def test_all_probabilities_give_the_rows_of_the_direct_run(
    direct: rb.EvaluatedRun, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_text("\n".join(NAMES))
    command = ["evaluate", "--predictions", str(asked / "elsewhere.parquet"), "--out"]
    assert main([*command, str(tmp_path / "runs"), "--classes", str(classes), "--json"]) == 0
    (summary,) = json.loads(capsys.readouterr().out)["summary"]
    (wanted,) = Analysis(direct).figures.summary
    for name in ("perturbed_accuracy", "consistency_low", "divergence", "ssim", "condition_ece"):
        assert summary[name] == pytest.approx(wanted[name], abs=1e-5), name
    (folder,) = (tmp_path / "runs").iterdir()
    found = rb.open_run(folder)
    same(direct, found)
    shown = found.picture(str(direct.frame()["image"].iloc[0]))
    assert shown.digest == direct.frame()["framed_digest"].iloc[0], "shown as it was asked"
    assert found.frame()["image_digest"].tolist() == direct.frame()["image_digest"].tolist()
    assert rb.choose(found).sentences[0] == "elsewhere: perturbed accuracy 0.0%."
    written = found.report(tmp_path / "report.html")[0].read_text()
    assert "class 3" in written
    assert "data:image/webp" in written


def test_every_form_of_predictions_is_read(
    direct: rb.EvaluatedRun, table: pd.DataFrame, tmp_path: Path
) -> None:
    whole = np.array(table["probabilities"].tolist())
    order = np.argsort(-whole, axis=1)[:, :6]
    best = np.take_along_axis(whole, order, axis=1)
    bare = table.drop(columns="probabilities")
    columns = pd.DataFrame({f"p{at}": whole[:, at] for at in range(10)})
    pd.concat([bare, columns], axis=1).to_csv(tmp_path / "columns.csv", index=False)
    listed = bare.assign(classes=order.tolist(), probabilities=best.tolist())
    listed.to_json(tmp_path / "listed.jsonl", orient="records", lines=True)
    first = bare.assign(prediction=order[:, 0], confidence=best[:, 0])
    first.to_parquet(tmp_path / "first.parquet")
    same(direct, rb.evaluate_predictions(tmp_path / "columns.csv", classes=NAMES))
    partly = {*FEATURES, "divergence", "retained_probability", "confidence_change"}
    same(direct, rb.evaluate_predictions(tmp_path / "listed.jsonl", classes=NAMES), but=partly)
    few = {*partly, *direct.frame(None).columns[direct.frame(None).columns.str.contains("5")]}
    same(direct, rb.evaluate_predictions(tmp_path / "first.parquet", classes=NAMES), but=few)


def test_classes_alone_give_every_figure_that_needs_no_confidence(
    direct: rb.EvaluatedRun, table: pd.DataFrame, tmp_path: Path
) -> None:
    best = [NAMES[int(np.argmax(each))] for each in table["probabilities"]]
    labels = [NAMES[at] for at in table["label"]]
    bare = table[["image", "condition"]].assign(prediction=best, label=labels, model="theirs")
    found = rb.evaluate_predictions(bare, out=tmp_path / "runs")
    (told,), (wanted,) = Analysis(found).figures.summary, Analysis(direct).figures.summary
    for name in ("clean_accuracy", "perturbed_accuracy", "consistency", "drop_low"):
        assert told[name] == pytest.approx(wanted[name]), name
    assert told["condition_ece"] is None
    report.write(report.of_run(found), tmp_path / "report.html")
    assert "class 3" in (tmp_path / "report.html").read_text()
    copy = Path(shutil.copytree(found.folder, tmp_path / "others"))
    assert Analysis(runs.load(copy)).figures.summary == [told]
    with pytest.raises(RunError, match="a table"):
        runs.reevaluation_plan(found.manifest)


@pytest.mark.parametrize(
    ("listed", "classes", "expected"),
    [
        ([[0], [1], [2], [3]], 10, None),
        ([[0, 1, 2]] * 4, 10, None),
        ([[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [0, 1, 2, 3, 4], [0, 1, 2]], 10, None),
        ([[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]], 10, 0.5),
        ([[0, 1, 2]] * 4, 3, 1.0),
    ],
)
def test_a_top_5_needs_five_classes_or_all(
    listed: list[list[int]], classes: int, expected: float | None, tmp_path: Path
) -> None:
    """Of lists that are shorter, the true class can only be missing where the model is wrong."""
    names = [f"class {at}" for at in range(classes)]
    shares = [[1 / (2 + at) for at in range(len(each))] for each in listed]
    frame = animals(*"cdcd").assign(
        classes=pd.Series(listed), probabilities=pd.Series(shares), label=[0, 2, 0, 2]
    )
    found = rb.evaluate_predictions(frame, classes=names)
    (summary,) = Analysis(found).figures.summary
    assert summary["clean_accuracy_top5"] == expected
    assert (summary["perturbed_accuracy_top5"] is None) is (expected is None)


def animals(*found: object, **columns: object) -> pd.DataFrame:
    """Two images under fog, with the predictions ``found``."""
    told = {"image": [*"abab"], "condition": ["clean", "clean", "fog=0.6", "fog=0.6"]}
    return pd.DataFrame({**told, "prediction": list(found), **columns})


def test_other_classes_of_the_same_name_spoil_no_run(tmp_path: Path) -> None:
    """Two systems may have one name."""
    texts = animals("cat", "dog", "cat", "cat", model="theirs of animals")
    indices = texts.assign(prediction=[0, 1, 0, 0])
    with pytest.raises(rb.RobustnessError, match="'cat' is not one of the 2 classes"):
        rb.evaluate_predictions(texts, classes=["good", "bad"])
    with pytest.raises(rb.RobustnessError, match="not a class"):
        rb.evaluate_predictions(indices.assign(label="cat"), classes=["good", "bad"])
    first = rb.evaluate_predictions(texts, classes=["cat", "dog"])
    assert models.class_name("theirs of animals", 1) == "dog", "what was refused is not remembered"
    for classes in (["good", "bad"], ["cat", "dog"]):
        again = rb.evaluate_predictions(indices, classes=classes)
        assert again.manifest.classes == {"theirs of animals": classes}
        assert again.frame()["top1"].tolist() == first.frame()["top1"].tolist() == [0, 0]
        assert again.report(tmp_path / "report.md")
    assert models.class_name("theirs of animals", 1) == "1", "no wrong name"


HOSTILE = ["=cmd|' /C calc'!A0", "-a\x1b[2J.png"]


def test_no_name_is_a_formula_or_an_escape_in_tables_and_terminals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = animals(*"cdcc").assign(image=HOSTILE * 2, label=HOSTILE[0])
    cells = frame.map(csv_cell)
    cells.to_csv(tmp_path / "predicted.csv", index=False)
    command = ["evaluate", "--predictions", str(tmp_path / "predicted.csv"), "--out", str(tmp_path)]
    classes = tmp_path / "classes.txt"
    classes.write_text(f"c\nd\n{HOSTILE[0]}")
    assert main([*command, "--classes", str(classes)]) == 0
    (folder,) = (file.parent for file in tmp_path.glob("*/manifest.json"))
    assert main(["failures", str(folder), "--where", "model=predicted"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    found = rb.open_run(folder)
    assert sorted(found.frame()["image"].unique()) == sorted(HOSTILE), "as they were"
    api.failing_images(found, to=tmp_path / "cases.csv")
    found.report(tmp_path / "report.csv")
    for name in ("cases.csv", "report.csv"):
        text = (tmp_path / name).read_text()
        assert "\x1b" not in text
        rows = list(csv.DictReader(io.StringIO(text)))
        assert {from_csv_cell(row["image"]) for row in rows} == set(HOSTILE)
        assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "-a"))]


BAD = {
    "no image": (lambda t: t.drop(columns="image"), "columns image"),
    "no original": (lambda t: t[t["condition"] != "clean"], "originals"),
    "no predictions": (lambda t: t.drop(columns="probabilities"), "expected a column"),
    "twice": (lambda t: pd.concat([t, t[:2]]), "2 repeated rows"),
    "two labels": (lambda t: t.assign(label=range(len(t))), "two labels"),
    "strange condition": (lambda t: t.replace({"condition": {"fog=0.6": "?"}}), "condition"),
    "logits": (lambda t: t.assign(probabilities=[[3.0, -1.0]] * len(t)), "softmax"),
    "top classes": (lambda t: t.assign(probabilities=[[0.3, 0.1]] * len(t)), "sum"),
    "ragged": (
        lambda t: t.assign(probabilities=[[1.0], *[[0.5, 0.5]] * (len(t) - 1)]),
        "the same number",
    ),
    "few classes": (lambda t: t.assign(probabilities=[[0.5, 0.5]] * len(t)), "10 probabilities"),
    "words": (lambda t: t.assign(probabilities="many"), "a list such as"),
    "stranger": (lambda t: t.drop(columns="probabilities").assign(prediction="dog"), "'dog'"),
    "a bad fit": (lambda t: t.assign(fit="stretch"), "stretch"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_ends_in_a_sentence(name: str, table: pd.DataFrame) -> None:
    change: Any
    change, expected = BAD[name]
    with pytest.raises(rb.RobustnessError, match=expected) as caught:
        rb.evaluate_predictions(change(table), classes=NAMES)
    assert "\n" not in str(caught.value)


DEEP = "[" * 100_000 + "]" * 100_000
ODD: dict[str, tuple[dict[str, Any], str]] = {
    "probabilities as words": ({"classes": [["a"]] * 4, "probabilities": [["x"]] * 4}, "numbers"),
    "nested": ({"probabilities": [[[0.5], [0.5]]] * 4}, "numbers from 0 to 1 in probabilities"),
    "deep": ({"probabilities": [DEEP] * 4}, "a list such as"),
    "one class": ({"p0": [1.0] * 4}, "two or more, got one"),
    "confidence with gaps": ({"prediction": [*"cdcd"], "confidence": [1, 1, None, 1]}, "got 1 w"),
    "confidence in percent": (
        {"prediction": [*"cdcd"], "confidence": 97},
        "confidence from 0 to 1",
    ),
    "large index": ({"prediction": [0, 1, 0, 10**12]}, "below 1,000,000"),
    "image with gaps": ({"prediction": [*"cdcd"], "image": [*"ab", None, "b"]}, "value of image"),
    "several kinds": ({"prediction": [1, "a", 2.0, 3]}, "one kind of value"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_values_end_in_a_sentence(name: str) -> None:
    columns, expected = ODD[name]
    frame = animals(*"cdcd").drop(columns="prediction").assign(**columns)
    with pytest.raises(ParameterError, match=expected) as caught:
        rb.evaluate_predictions(frame)
    assert "softmax" not in str(caught.value)


def test_a_table_of_gaps_takes_no_memory() -> None:
    """Of 3,000 images, conditions and models each, the places would take 200 GiB."""
    numbers = [str(at) for at in range(3_000)]
    conditions = ["clean", *(f"fog={at / 3_000}" for at in range(1, 3_000))]
    frame = pd.DataFrame({"image": numbers, "model": numbers, "condition": conditions})
    with pytest.raises(ParameterError, match=r"27,000,000,000 in all, got 3,000"):
        rb.evaluate_predictions(frame.assign(prediction="cat"))


@pytest.mark.parametrize("content", [b"", b"image,condition,p0\n", b"\xff\xfe\0", b"PAR1 PAR1"])
@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl", "txt"])
def test_a_damaged_file_ends_in_a_sentence(content: bytes, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"table.{suffix}"
    file.write_bytes(content)
    with pytest.raises(ParameterError, match=r"expected|Expected"):
        rb.evaluate_predictions(file)
    file.unlink()
    with pytest.raises(ParameterError, match=r"Expected .* which does not exist"):
        rb.evaluate_predictions(file)


def test_options_of_a_request_are_refused(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--predictions", str(asked / "elsewhere.parquet")]
    assert main([*command, "--models", "SqueezeNet", "--resume"]) == 2
    assert main(["evaluate"]) == 2
    assert main(["evaluate", "samples", "--classes", "imagenet"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "--models, --resume" in first
    assert "SOURCE" in second
    assert "--predictions" in third


def test_a_source_without_the_images_of_the_table_is_refused(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "samples", "--predictions", str(asked / "elsewhere.parquet")]) == 2
    assert "named as in the table" in capsys.readouterr().err
