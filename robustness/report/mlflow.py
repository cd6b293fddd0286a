"""Logging of a saved run to MLflow."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from robustness import report
from robustness.base.errors import ParameterError, RunError
from robustness.measure.condition import short
from robustness.runs import MANIFEST_FILE, Analysis, Run
from robustness.statistics import Figures

_CONDITION_RATES = ("perturbed_accuracy", "consistency")
"""Rates of a condition. The first that is known is logged."""

_RATES = (*_CONDITION_RATES, "clean_accuracy", "robust_accuracy")

_LONGEST_KEY = 250
"""Characters that MLflow accepts in the key of a metric."""


def log_mlflow(run: Run) -> str:
    """Log each model of ``run`` as an MLflow run of the active experiment.

    Parameters are the settings of the evaluation. Metrics are the rates with their bounds, and the
    accuracy or consistency under each condition. Artifacts are the manifest and the HTML report.

    Returns the ids of the MLflow runs, separated by commas. Raises ``ParameterError`` if MLflow is
    not installed or cannot use its tracking URI, and ``RunError`` if logging fails or ``run`` has
    no rows.
    """
    mlflow = ready_mlflow()
    if not run.images:
        raise RunError(f"The run {run.id} has no rows: there is nothing to report.")
    figures = Analysis(run).figures
    ids = []
    try:
        for name in run.manifest.spec.model_names:
            ids.append(_log(mlflow, run, figures, name))
        return ", ".join(ids)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise RunError(f"The run {run.id} cannot be logged to MLflow: {error}") from error


def ready_mlflow() -> Any:
    """Import MLflow, check that it can use its tracking URI, and return the module.

    Raises ``ParameterError`` if it is not installed, or lacks a package that the URI needs.
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


def _log(mlflow: Any, run: Run, figures: Figures, model_name: str) -> str:
    """Log one model of ``run`` and return the id of its MLflow run."""
    spec = run.manifest.spec
    parameters = {
        "model": model_name,
        "dataset": run.title,
        "images": run.images,
        "conditions": len(spec.pooled_conditions),
        "seed": spec.seed,
        "preprocessing": spec.framing_of(model_name).text,
        "robustness": run.manifest.versions.get("robustness", ""),
    }
    metrics = _metrics(figures, model_name)
    with (
        mlflow.start_run(run_name=f"{run.id} {model_name}") as active,
        tempfile.TemporaryDirectory() as folder,
    ):
        mlflow.log_params(parameters)
        # One by one, since log_metrics accepts a thousand at most.
        for key, value in metrics.items():
            mlflow.log_metric(key, float(value))
        mlflow.log_artifact(str(run.folder / MANIFEST_FILE))
        for path in report.write(report.of_run(run), Path(folder) / "report.html"):
            mlflow.log_artifact(str(path))
        return str(active.info.run_id)


def _metrics(figures: Figures, model_name: str) -> dict[str, float]:
    """Return the rates of a model with their bounds, and its accuracy or consistency by condition.

    Rates that are unknown are left out.
    """
    summary = next(entry for entry in figures.summary if entry["model"] == model_name)
    metrics = {}
    for rate in _RATES:
        for key in (rate, f"{rate}_low", f"{rate}_high"):
            if summary[key] is not None:
                metrics[key] = summary[key]
    for entry in figures.by_perturbation:
        if entry["model"] != model_name:
            continue
        for rate in _CONDITION_RATES:
            value = entry.get(rate)
            if value is not None:
                metrics[_metric_key(f"{rate}, {short(entry['condition'])}")] = value
                break
    return metrics


def _metric_key(text: str) -> str:
    """Replace the characters that MLflow refuses in a key, and cut ``text`` to its longest key."""
    return re.sub(r"[^\w./ -]", " ", text)[:_LONGEST_KEY]
