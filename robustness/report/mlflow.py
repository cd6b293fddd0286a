"""A run where people keep results: MLflow."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from robustness import report
from robustness.base.errors import ParameterError, RunError
from robustness.measure.condition import short
from robustness.runs import MANIFEST_FILE, Run
from robustness.statistics import Figures

_SHARES = ("perturbed_accuracy", "consistency")
_RATES = (*_SHARES, "clean_accuracy", "robust_accuracy")


def log_mlflow(run: Run) -> str:
    """Log each model of ``run`` to MLflow as a run of the active experiment; return the ids.

    Parameters are what was asked, metrics the rates with their bounds and the accuracy or
    consistency under each condition; the manifest and the HTML report are artifacts. Raises
    ``ParameterError`` if MLflow is not installed or lacks what its place for results needs,
    ``RunError`` if it cannot be reached, and for a run without rows.
    """
    mlflow = ready_mlflow()
    if not run.images:
        raise RunError(f"The run {run.id} has no rows: there is nothing to report.")
    figures = run.figures()
    try:
        return ", ".join(_log(mlflow, run, figures, name) for name in run.manifest.spec.model_names)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise RunError(f"The run {run.id} cannot be logged to MLflow: {error}") from error


def ready_mlflow() -> Any:
    """The module ``mlflow``.

    Raises ``ParameterError`` if it is not installed, or lacks what its place for results needs.
    """
    try:
        import mlflow
    except ImportError as error:
        raise ParameterError(
            "Logging to MLflow needs a package: run 'pip install mlflow-skinny'."
        ) from error
    try:
        mlflow.MlflowClient()
    except mlflow.exceptions.MlflowException as error:
        raise ParameterError(
            f"This MLflow cannot keep results in {mlflow.get_tracking_uri()}: set "
            "MLFLOW_TRACKING_URI to the address of your server, or run 'pip install mlflow'."
        ) from error
    return mlflow


def _log(mlflow: Any, run: Run, figures: Figures, name: str) -> str:
    """Log the model ``name`` of ``run``; return the id."""
    spec = run.manifest.spec
    parameters = {
        "model": name,
        "dataset": run.title,
        "images": run.images,
        "conditions": len(spec.pooled_conditions),
        "seed": spec.seed,
        "preprocessing": spec.framing_of(name).text,
        "robustness": run.manifest.versions.get("robustness", ""),
    }
    metrics = _metrics(figures, name)
    with (
        mlflow.start_run(run_name=f"{run.id} {name}") as active,
        tempfile.TemporaryDirectory() as folder,
    ):
        mlflow.log_params(parameters)
        for key, value in metrics.items():  # a batch holds a thousand at most
            mlflow.log_metric(key, float(value))
        mlflow.log_artifact(str(run.folder / MANIFEST_FILE))
        for path in report.write(report.of_run(run), Path(folder) / "report.html"):
            mlflow.log_artifact(str(path))
        return str(active.info.run_id)


def _metrics(figures: Figures, name: str) -> dict[str, float]:
    """The rates of a model with their bounds, and its accuracy or consistency by condition."""
    summary = next(entry for entry in figures.summary if entry["model"] == name)
    metrics = {}
    for rate in _RATES:
        for key in (rate, f"{rate}_low", f"{rate}_high"):
            if summary[key] is not None:
                metrics[key] = summary[key]
    for entry in figures.by_perturbation:
        known = [quantity for quantity in _SHARES if entry.get(quantity) is not None]
        if entry["model"] == name and known:
            title = f"{known[0]}, {short(entry['condition'])}"
            allowed = re.sub(r"[^\w./ -]", " ", title)[:250]  # what MLflow takes
            metrics[allowed] = entry[known[0]]
    return metrics
