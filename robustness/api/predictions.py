"""Predictions of another system, evaluated without a model."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustness.api.argument_checks import checked_call
from robustness.api.evaluation import performed
from robustness.api.result import EvaluatedRun
from robustness.api.sources import opened
from robustness.base.errors import ParameterError
from robustness.datasets.predictions import Predictions, read_predictions
from robustness.runs import imported_predictions

if TYPE_CHECKING:
    import pandas as pd


@checked_call
def evaluate_predictions(
    table: Any,
    source: Any = None,
    *,
    classes: Any = None,
    out: str | PathLike[str] | None = None,
) -> EvaluatedRun:
    """Evaluate the predictions that another system made of exported images; no model runs.

    ``table`` is a file (.csv, .parquet or .jsonl) or a frame with the rows of ``images.csv``, as
    ``export`` writes it, and one of these: ``prediction`` (the class) with ``confidence``;
    ``classes`` and ``probabilities``, lists of the top classes; ``probabilities`` of all classes;
    or a column ``p0``, ``p1``, ... for each class. A column ``model`` names several models.
    ``classes`` says what indices mean: "imagenet", a file with one class per line, or a list of
    names. ``source`` has the images to show where the table names no files. Without ``out`` nothing
    is kept. Raises ``ParameterError`` for a table that cannot be used.
    """
    predictions = _from_table(table)
    dataset = None if source is None else opened(source, classes)
    plan = imported_predictions.plan_predictions(
        predictions, source=dataset, classes=imported_predictions.class_names(classes)
    )
    run = performed(plan, out, imported_predictions.ENGINE)
    if dataset is not None:
        run.dataset = dataset
    elif not isinstance(table, str | PathLike):
        run.dataset = predictions  # it cannot be opened by name
    return run


def _from_table(table: Any) -> Predictions:
    if isinstance(table, str | PathLike):
        return read_predictions(Path(table))
    if not (hasattr(table, "columns") and hasattr(table, "reset_index")):
        raise ParameterError(
            f"Expected a table of predictions, as a file or a frame, got {type(table).__name__}."
        )
    try:
        frame: pd.DataFrame = table.reset_index(drop=True)
        arrow_table = pa.Table.from_pandas(frame, preserve_index=False)
    except (TypeError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ParameterError(
            f"Expected a frame with distinct columns of one kind of value each: {reason}."
        ) from error
    return Predictions(arrow_table, "python:predictions", "predictions", Path.cwd(), "predictions")
