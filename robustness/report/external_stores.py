"""A run where people keep results: MLflow."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustness import report
from robustness.base.errors import ParameterError, RunError
from robustness.evaluation.condition import short
from robustness.runs import MANIFEST_FILE, Run

_Entry = tuple[str, Mapping[str, Any]]
_RATES = ("clean_accuracy", "perturbed_accuracy", "consistency", "robust_accuracy")


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
    entries = {name: list(_entries(run, name)) for name in run.manifest.spec.model_names}
    try:
        return ", ".join(_logged(mlflow, run, *entry) for entry in entries.items())
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


def _logged(mlflow: Any, run: Run, name: str, entries: Sequence[_Entry]) -> str:
    spec = run.manifest.spec
    with (
        mlflow.start_run(run_name=f"{run.id} {name}") as active,
        tempfile.TemporaryDirectory() as to,
    ):
        mlflow.log_params(
            {
                "model": name,
                "dataset": run.title,
                "images": run.images,
                "conditions": len(spec.pooled_conditions),
                "seed": spec.seed,
                "preprocessing": spec.framing_of(name).text,
                "robustness": run.manifest.versions.get("robustness", ""),
            }
        )
        (_, whole), *conditions = entries
        bounds = {
            f"{key}_{side}": whole[f"{key}_{side}"]
            for key, _ in _figures(whole)
            for side in ("low", "high")
            if whole[f"{key}_{side}"] is not None
        }
        mlflow.log_metrics({**dict(_figures(whole)), **bounds})
        for where, entry in conditions:
            figures = dict(_figures(entry))
            key = next((k for k in ("perturbed_accuracy", "consistency") if k in figures), None)
            if key is not None:
                mlflow.log_metric(_metric_name(f"{key}{where}"), figures[key])
        mlflow.log_artifact(str(run.folder / MANIFEST_FILE))
        for path in report.write(report.of_run(run), Path(to) / "report.html"):
            mlflow.log_artifact(str(path))
        return str(active.info.run_id)


def _metric_name(text: str) -> str:
    """``text`` with the characters that MLflow allows."""
    return re.sub(r"[^\w./ -]", " ", text)[:250]


def _entries(run: Run, name: str) -> Iterator[_Entry]:
    """("", the model's entry), then (", CONDITION", its entry under the condition)."""
    figures = run.figures()
    yield "", next(entry for entry in figures.summary if entry["model"] == name)
    for entry in figures.by_perturbation:
        if entry["model"] == name:
            yield f", {short(entry['condition'])}", entry


def _figures(entry: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key in _RATES:
        if entry.get(key) is not None:
            yield key, float(entry[key])
