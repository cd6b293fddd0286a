"""Results logged to MLflow, read back by MLflow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robustness as rb
from robustness.cli.main import main

CONDITIONS = ["fog=0.6", "brightness=0.4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> rb.EvaluatedRun:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    out = tmp_path_factory.mktemp("runs")
    images = (pixels, ["tabby", "tench", "espresso"] * 2)
    return rb.evaluate(images, models=["SqueezeNet"], conditions=CONDITIONS, side=64, out=out)


def test_mlflow_has_the_figures_and_the_report(
    run: rb.EvaluatedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow: Any = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow-skinny has no database
    mlflow.set_tracking_uri((tmp_path / "tracked").as_uri())
    logged = mlflow.get_run(run.log_mlflow())
    assert logged.data.params["model"] == "SqueezeNet"
    wanted = run.summary().iloc[0]
    for name in ("perturbed_accuracy", "consistency", "clean_accuracy_low"):
        assert logged.data.metrics[name] == pytest.approx(wanted[name])
    by = run.by_condition().set_index("condition")
    foggy = logged.data.metrics["perturbed_accuracy  Fog effect 0.6"]
    assert foggy == pytest.approx(by.loc["fog=0.6", "perturbed_accuracy"])
    names = {each.path for each in mlflow.MlflowClient().list_artifacts(logged.info.run_id)}
    assert names == {"manifest.json", "report.html"}


def test_without_mlflow_a_sentence_says_what_to_install(
    run: rb.EvaluatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(rb.RobustnessError, match="pip install mlflow-skinny"):
        run.log_mlflow()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ([], "pip install mlflow-skinny"),
        (["--plan"], "either --plan or --log-mlflow, got both"),
    ],
)
def test_what_cannot_be_logged_is_refused_before_the_run(
    more: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    out = tmp_path / "runs"
    assert main(["evaluate", "samples", "--log-mlflow", "--out", str(out), *more]) != 0
    assert sentence in capsys.readouterr().err
    assert not out.exists()
