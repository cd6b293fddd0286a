"""How the figures are made: ``methods.md``, for the Reference page, reports and documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from robustness.attacks import NORMS, AttackSpec
from robustness.base.text import counted
from robustness.charts.tables import Table
from robustness.evaluation.condition import Condition
from robustness.perturbations import REGISTRY
from robustness.report import method_tables
from robustness.report.blocks import Printed, Text, Titled

MANY_IMAGES = (
    "Rates",
    "Intervals",
    "Comparing models",
    "Ranks",
    "More images",
    "Calibration",
    "Corruption error",
)
"""The notes of a run over many images."""


@cache
def sections() -> Mapping[str, str]:
    """The Markdown of each section by its heading."""
    text = Path(__file__).with_name("methods.md").read_text(encoding="utf-8")
    return _split("## ", text)


@cache
def _notes() -> Mapping[str, str]:
    parts = (_split("### ", text) for text in sections().values())
    return {title: text for part in parts for title, text in part.items()}


def _split(mark: str, text: str) -> Mapping[str, str]:
    parts = re.split(rf"^{mark}(.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))


def note(title: str) -> str:
    """The paragraph under the third-level heading ``title``."""
    return " ".join(_notes()[title].split())


def limits() -> list[str]:
    """The limits of every result."""
    parts = re.split(r"^- ", sections()["Limits"], flags=re.MULTILINE)[1:]
    return [" ".join(part.split()) for part in parts]


def blocks(conditions: Iterable[Condition], notes: Sequence[str]) -> list[Printed]:
    """The methods of a report: study image, ``conditions``, metrics, and ``notes`` by title."""
    chosen = list(conditions)
    specs = [attack for c in chosen for attack in c.attacks]
    names = dict.fromkeys(name for c in chosen for name in c.perturbations)
    return [
        Text(note("From photo to study image")),
        *(_perturbations(list(names)) if names else ()),
        *(_attacks(specs) if specs else ()),
        Text(note("Features")),
        Titled("Metrics", as_table(method_tables.metric_formulas())),
        *(Text(f"{title}. {note(title)}") for title in notes),
        Text(f"Sources. {' '.join(sections()['Sources'].split())}"),
    ]


def _perturbations(names: Sequence[str]) -> list[Printed]:
    used = method_tables.perturbations(REGISTRY[name] for name in names)
    table = as_table(used.drop(columns=["Family", "Acts on", "Study setting", "Random"]))
    return [Text(note("Strength")), Titled("Perturbations", table)]


def _attacks(specs: Sequence[AttackSpec]) -> list[Printed]:
    rows = method_tables.attacks({spec.name: spec.record for spec in specs}.values())
    allowed = Table(
        ("Attack", "Measured by", "Epsilon (strength)", "Effort"),
        [
            (spec.record.label, NORMS[spec.norm].label, spec.size_text, effort(spec))
            for spec in dict.fromkeys(specs)
        ],
    )
    return [
        Text(note("Size and objective")),
        Text(note("Judging an attack")),
        Titled("Attacks", as_table(rows.drop(columns=["Target", "Steps", "Measured by"]))),
        Titled("Attack budgets", allowed),
    ]


def effort(spec: AttackSpec) -> str:
    """Steps and restarts of an attack, in words."""
    restarts = f", {counted(spec.restarts, 'restart')}" if spec.restarts > 1 else ""
    return f"{counted(spec.steps, 'step')}{restarts}"


def as_table(frame: pd.DataFrame) -> Table:
    """``frame`` as text; empty for unknown values."""
    rows = [
        tuple("" if pd.isna(cell) else _text(cell) for cell in row)
        for row in frame.itertuples(index=False, name=None)
    ]
    return Table(tuple(map(str, frame.columns)), rows)


def _text(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)
