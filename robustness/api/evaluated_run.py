"""Saved runs: opened, summed up, reported, checked and chosen from."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from robustness import runs
from robustness.api.argument_checks import checked_call
from robustness.base.files_and_locks import write_file
from robustness.hardening import check_name
from robustness.runs import (
    Comparison,
    Run,
    case_selection_export,
    row_selection,
    temperature_scaling,
)
from robustness.runs import embedding_map as maps
from robustness.runs.failures_and_class_changes import Failures
from robustness.runs.remedy_figures_and_models import remedy_figures
from robustness.statistics import Criteria, ModelChoice
from robustness.statistics.choice_criteria_and_cost import MARGIN
from robustness.statistics.safe_confidence_thresholds import MAX_ERROR

if TYPE_CHECKING:
    from robustness import gate


class EvaluatedRun(Run):
    """A run with its tables; ``frame()`` has one row per measurement. Notebooks display it."""

    @classmethod
    def of(cls, run: Run) -> EvaluatedRun:
        return cls(**{field.name: getattr(run, field.name) for field in fields(run)})

    def summary(self) -> pd.DataFrame:
        """One row per model, best first: ``Figures.summary``, with 95% intervals."""
        return pd.DataFrame(self.figures().summary)

    def by_condition(self) -> pd.DataFrame:
        """One row per model and condition: the columns of ``Figures.by_perturbation``."""
        return pd.DataFrame(self.figures().by_perturbation)

    def report(self, to: str | PathLike[str]) -> list[Path]:
        """Write the report in the format of the suffix of ``to``; return the files written.

        The suffix is .html, .pdf, .csv, .parquet, .json or .md. Raises ``ParameterError`` for
        another one and where the file cannot be written, ``RunError`` for a run without rows.
        """
        from robustness import report

        report.format_of(Path(to))  # now rather than after all the work
        return report.write(report.of_run(self), Path(to))

    def log_mlflow(self) -> str:
        """Log each model to the active experiment of MLflow; return the ids of its runs.

        Raises ``ParameterError`` if MLflow is not installed.
        """
        from robustness.report import mlflow_export

        return mlflow_export.log_mlflow(self)

    def _repr_html_(self) -> str:
        """The answers, the table of models and the map of the report, as static HTML."""
        if not self.images:
            return "<p>No image was evaluated.</p>"
        from robustness import report
        from robustness.charts import band_and_map_drawing
        from robustness.report.blocks import Map

        summary = report.of_run(self)
        parts = [f"<p>{html.escape(sentence)}</p>" for sentence in summary.answer]
        drawn, ranking, *_ = summary.brief
        assert isinstance(drawn, Map)
        assert isinstance(ranking, report.Titled)
        parts.append(_html_table(ranking.table.head, *ranking.table.rows))
        parts.append(f"<style>{band_and_map_drawing.style()}</style>{drawn.drawing.html}")
        return "\n".join(parts)


def _html_table(*rows: Iterable[str]) -> str:
    """The first of ``rows`` is the head."""
    tags = ("th", *("td" for _ in rows[1:]))
    lines = [
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        for tag, row in zip(tags, rows, strict=True)
    ]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


compare = checked_call(runs.compare)


@checked_call
def open_run(folder: str | PathLike[str]) -> EvaluatedRun:
    """The finished run in ``folder``; raises ``RunError`` where there is none."""
    return EvaluatedRun.of(runs.load(Path(folder)))


@checked_call
def report(run: Run | Comparison, to: str | PathLike[str]) -> list[Path]:
    """Write the report of ``run``, or of what ``compare`` returns: see ``EvaluatedRun.report``."""
    if isinstance(run, Run):
        return EvaluatedRun.of(run).report(to)
    from robustness import report

    report.format_of(Path(to))  # now rather than after all the work
    return report.write(report.of_comparison(run), Path(to))


@checked_call
def check(run: Run, budget: str | PathLike[str], *, baseline: Run | None = None) -> gate.Check:
    """Holds ``run`` against the budget in a TOML file; ``.passed`` and ``.broken`` say how it went.

    ``baseline`` is the run that limits of regression compare with. Raises ``ParameterError`` for a
    budget that cannot be checked.
    """
    from robustness import gate  # with the reports, which are slow to import

    return gate.check(gate.read_budget(Path(budget)), run, baseline)


@checked_call
def failures(run: Run) -> Failures:
    """Where and why the models of ``run`` fail: tables as lists of dictionaries."""
    return run.failures


@checked_call
def gains(run: Run) -> list[dict[str, Any]]:
    """What each remedy that ``run`` tried gains, by model and condition; [] without remedies.

    Keys: those of ``remedy_gains.Gain``, and ``milliseconds`` that the remedy adds for one image,
    None if unknown. Shares are in [0, 1].
    """
    return remedy_figures(run).as_rows()


@checked_call
def safe_threshold(
    run: Run,
    max_error: float = MAX_ERROR,
    *,
    each_condition: bool = False,
    groups: str | Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """From which confidence at most ``max_error`` of the accepted predictions are wrong.

    The promise holds with a certainty of 95% over all conditions of ``run`` together, or in
    ``each_condition``; attacks are left out. ``groups`` names by image what belongs together, such
    as frames of one video, or is a pattern whose match in an image's name does. ``models`` has an
    entry per model: ``threshold`` (None if none passed), ``accepted`` and ``error`` by condition,
    and what else ``safe_thresholds`` of ``statistics`` tells. Without labels a changed prediction
    counts as wrong. Raises ``ParameterError`` for a share that is none.
    """
    from robustness.report.questions import RunFigures
    from robustness.report.questions.safe_threshold import THRESHOLD, document, groups_of

    options = {
        "max_error": max_error,
        "each_condition": each_condition,
        "groups": groups_of(run, groups),
    }
    return document(RunFigures(run, options=options).answer(THRESHOLD))


@checked_call
def failing_images(
    run: Run, where: str = "", *, to: str | PathLike[str] | None = None, most: int = 1000
) -> list[dict[str, Any]]:
    """The images of a selection, failures first, each once with its worst measurement.

    ``where`` is a text such as ``"model=SqueezeNet&slice=brightness:..0.2"``; every table of
    ``failures`` has one in its ``selection``. ``to`` also writes them, to a ``.csv`` or to a
    ``.zip`` with the images. At most ``most`` are returned. Raises ``ParameterError`` for a
    selection that the run does not have, and for a file that cannot be written.
    """
    chosen = row_selection.RowSelection.parse(where, run.manifest.spec)
    if to is not None:
        write_file(Path(to), case_selection_export.exported(run, chosen, Path(to).suffix.lower()))
    return case_selection_export.cases(run, chosen, most)


@checked_call
def embedding_map(run: Run, where: str, *, images: int = maps.IMAGES) -> maps.EmbeddingMap:
    """The features of some images, original and perturbed, in the plane of their main components.

    ``where`` is a selection of one model and one condition, such as
    ``"model=SqueezeNet&condition=fog=0.6"``. The model predicts the images again; the map is kept
    beside the run, for its page and its report. Raises as ``runs.embedding_map`` does.
    """
    chosen = row_selection.RowSelection.parse(where, run.manifest.spec)
    return maps.embedding_map(run, chosen, images)


@checked_call
def calibrate(
    run: Run,
    model: str,
    *,
    name: str = "",
    note: Callable[[int, int], object] = lambda _done, _total: None,
) -> temperature_scaling.Calibration:
    """Fit the temperature of ``model`` on half of the labelled originals of ``run``.

    The model predicts the originals again. The other half judges it, and certifies thresholds of
    the calibrated model, which is added as ``name`` if one is given. ``note`` receives how many
    originals are done of how many. Raises ``ParameterError`` with
    fewer than 100 labelled originals, and as ``runs.temperature_scaling.calibrate`` does.
    """
    if name:
        check_name(name)
    calibration = temperature_scaling.calibrate(run, model, note)
    if name:
        temperature_scaling.add_calibrated(calibration, name)
    return calibration


@checked_call
def choose(
    run: Run | Sequence[Run],
    *,
    weights: Mapping[str, float] | None = None,
    min_accuracy: float | None = None,
    max_latency_ms: float | None = None,
    max_megabytes: float | None = None,
    margin: float = MARGIN,
    budget: str | PathLike[str] | None = None,
    baseline: Run | None = None,
    remedies: bool = False,
) -> ModelChoice:
    """The model of ``run`` to ship, or the tied ones; ``.sentences`` say it.

    Several runs count on the images and conditions that all have.
    ``weights`` are by perturbation or risk, such as ``{"low light": 3, "others": 0}``. Models below
    ``min_accuracy`` (a share), above ``max_latency_ms`` (milliseconds an image) or
    ``max_megabytes``, or that break a limit of the gate's file ``budget`` are ruled out; its
    limits on regression compare with ``baseline``. A difference below ``margin`` (a share) is a
    tie. With ``remedies`` each model behind each remedy that ``run`` tried is a candidate, too,
    with the limits on the model. Raises ``ParameterError`` for criteria that the run cannot
    answer.
    """
    from robustness import gate
    from robustness.report.questions import candidates_and_choice

    criteria = Criteria(weights or {}, min_accuracy, max_latency_ms, max_megabytes, margin)
    several = [run] if isinstance(run, Run) else list(run)
    rule_out = None
    if budget is not None:
        limits = gate.read_budget(Path(budget))
        rule_out = gate.rule_out(limits, several, baseline, remedies=remedies)
    return candidates_and_choice.choose(several, criteria, rule_out, remedies=remedies)
