"""The methods and limits that reports state, of what was really used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from robustness.attacks import NORMS, AttackSpec
from robustness.attacks import REGISTRY as ATTACKS
from robustness.charts.tables import Table
from robustness.evaluation.condition import Condition
from robustness.perturbations import REGISTRY
from robustness.report import method_notes
from robustness.report.content import Block, Text, Titled
from robustness.report.wording import counted


def methods(conditions: Iterable[Condition], notes: Sequence[tuple[str, str]]) -> list[Block]:
    """How the rows came about: the picture, what ``conditions`` did to it, the metrics.

    ``notes`` are (title, text) on what was worked out from the rows.
    """
    asked = list(conditions)
    attacks = [attack for c in asked for attack in c.attacks]
    names = dict.fromkeys(name for c in asked for name in c.perturbations)
    return [
        Text(method_notes.STUDY_IMAGE),
        *(_perturbations(list(names)) if names else ()),
        *(_attacks(attacks) if attacks else ()),
        Text(method_notes.FEATURES),
        Titled("The metrics", as_table(method_notes.metric_formulas())),
        *(Text(f"{title}. {text}") for title, text in notes),
        Text(f"Sources. {method_notes.SOURCES}"),
    ]


def _perturbations(names: Sequence[str]) -> list[Block]:
    used = method_notes.perturbations(REGISTRY[name] for name in names)
    table = as_table(used.drop(columns=["Family", "Acts on", "Study setting", "Random"]))
    return [Text(method_notes.STRENGTHS), Titled("The perturbations", table)]


def _attacks(specs: Sequence[AttackSpec]) -> list[Block]:
    names = dict.fromkeys(spec.name for spec in specs)
    known = method_notes.attacks(ATTACKS[name] for name in names)
    allowed = Table(
        ("Attack", "Measured by", "Epsilon, its strength", "Effort"),
        [
            (spec.record.label, NORMS[spec.norm].label, spec.size_text, _effort(spec))
            for spec in dict.fromkeys(specs)
        ],
    )
    return [
        *(Text(text) for text in method_notes.ATTACKS),
        Titled("The attacks", as_table(known.drop(columns=["Target", "Steps", "Measured by"]))),
        Titled("What they were allowed", allowed),
    ]


def _effort(spec: AttackSpec) -> str:
    restarts = f", {counted(spec.restarts, 'restart')}" if spec.restarts > 1 else ""
    return f"{counted(spec.steps, 'step')}{restarts}"


def as_table(frame: pd.DataFrame) -> Table:
    """``frame`` as text; nothing for what is not known."""
    rows = [
        tuple("" if pd.isna(cell) else _text(cell) for cell in row)
        for row in frame.itertuples(index=False, name=None)
    ]
    return Table(tuple(map(str, frame.columns)), rows)


def _text(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)
