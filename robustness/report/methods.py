"""The methods and limits that reports state, of what was really used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from robustness import method_notes
from robustness.attacks import REGISTRY as ATTACKS
from robustness.perturbations import REGISTRY
from robustness.report.content import Block, Text, Titled
from robustness.result_tables import Table
from robustness.types import Condition

_COLUMNS = ["Perturbation", "Parameter", "At strength 0.2", "At strength 1", "ImageNet-C", "Source"]


def methods(conditions: Iterable[Condition], notes: Sequence[tuple[str, str]]) -> list[Block]:
    """How the rows came about: the picture, what ``conditions`` did to it, the metrics.

    ``notes`` are (title, text) on what was worked out from the rows.
    """
    names = dict.fromkeys(name for condition in conditions for name, _ in condition.steps)
    used = method_notes.perturbations(REGISTRY[name] for name in names if name not in ATTACKS)
    attacks = method_notes.attacks(ATTACKS[name] for name in names if name in ATTACKS)
    return [
        Text(method_notes.STUDY_IMAGE),
        Text(method_notes.STRENGTHS),
        *([] if used.empty else [Titled("The perturbations", as_table(used[_COLUMNS]))]),
        *([] if attacks.empty else [Titled("The attacks", as_table(attacks))]),
        Text(method_notes.FEATURES),
        Titled("The metrics", as_table(method_notes.metric_formulas())),
        *(Text(f"{title}. {text}") for title, text in notes),
        Text(f"Sources. {method_notes.SOURCES}"),
    ]


def as_table(frame: pd.DataFrame) -> Table:
    """``frame`` as text; nothing for what is not known."""
    rows = [
        tuple("" if pd.isna(cell) else _text(cell) for cell in row)
        for row in frame.itertuples(index=False, name=None)
    ]
    return Table(tuple(map(str, frame.columns)), rows)


def _text(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)
