"""What an evaluation returns: a run with its figures as frames, its report, and its looks."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.runs import Run

if TYPE_CHECKING:
    import pandas as pd


class EvaluatedRun(Run):
    """A run with its tables; ``frame()`` has one row per measurement. Notebooks display it."""

    @classmethod
    def of(cls, run: Run) -> EvaluatedRun:
        return cls(**{field.name: getattr(run, field.name) for field in fields(run)})

    def summary(self) -> pd.DataFrame:
        """One row per model, best first: ``statistics.summary``, with 95% intervals."""
        return _framed(self.figures().summary)

    def by_condition(self) -> pd.DataFrame:
        """One row per model and condition: the columns of ``statistics.by_perturbation``."""
        return _framed(self.figures().by_perturbation)

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
        from robustness.report import external_stores

        return external_stores.log_mlflow(self)

    def _repr_html_(self) -> str:
        """The answers, the table of models and the map of the report, as static HTML."""
        if not self.images:
            return "<p>No image was evaluated.</p>"
        from robustness import report
        from robustness.charts import bands
        from robustness.report.blocks import Map

        summary = report.of_run(self)
        parts = [f"<p>{html.escape(sentence)}</p>" for sentence in summary.answer]
        drawn, ranking, *_ = summary.brief
        assert isinstance(drawn, Map)
        assert isinstance(ranking, report.Titled)
        parts.append(_table(ranking.table.head, ranking.table.rows))
        parts.append(f"<style>{bands.style()}</style>{drawn.drawing.html}")
        return "\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def row(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _framed(entries: list[dict[str, Any]] | list[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(entries)
