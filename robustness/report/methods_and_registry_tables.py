"""How figures are made: ``methods.md``, ``glossary.md`` and tables of the registries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from robustness import metrics
from robustness.attacks import NORMS, Attack, AttackSpec
from robustness.base.text import counted
from robustness.charts.ranking_and_condition_tables import Table
from robustness.evaluation.perturbation_and_attack_conditions import Condition
from robustness.models import REGISTRY as MODELS
from robustness.perturbations import REGISTRY, Perturbation
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


def _split(mark: str, text: str) -> Mapping[str, str]:
    parts = re.split(rf"^{mark}(.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))


def glossary() -> list[tuple[str, str]]:
    """(term, what it means) in reading order, with every registered metric."""
    text = Path(__file__).with_name("glossary.md").read_text(encoding="utf-8")
    terms: list[tuple[str, str]] = []
    for term, meaning in _split("## ", text).items():
        own = [metric for metric in metrics.REGISTRY if metric.subject == term]
        terms += [(metric.label, metric.meaning or metric.formula) for metric in own]
        terms += [] if own else [(term, " ".join(meaning.split()))]
    return terms


def note(title: str) -> str:
    """The paragraph under the third-level heading ``title``."""
    notes = (_split("### ", text).get(title) for text in sections().values())
    return " ".join(next(filter(None, notes)).split())


def limits() -> list[str]:
    """The limits of every result."""
    parts = re.split(r"^- ", sections()["Limits"], flags=re.MULTILINE)[1:]
    return [" ".join(part.split()) for part in parts]


def blocks(conditions: Iterable[Condition], notes: Sequence[str]) -> list[Printed]:
    """The methods of a report: study image, ``conditions``, metrics, and ``notes`` by title."""
    chosen = list(conditions)
    specs = [attack for c in chosen for attack in c.attacks]
    names = dict.fromkeys(name for c in chosen for name in c.perturbations)
    used = perturbation_table(REGISTRY[name] for name in names)
    used = used.drop(columns=["Family", "Acts on", "Study setting", "Random"], errors="ignore")
    return [
        Text(note("From photo to study image")),
        *([Text(note("Strength")), Titled("Perturbations", as_table(used))] if names else ()),
        *(_attacks(specs) if specs else ()),
        Text(note("Features")),
        Titled("Metrics", as_table(metric_table())),
        *(Text(f"{title}. {note(title)}") for title in notes),
        Text(f"Sources. {' '.join(sections()['Sources'].split())}"),
    ]


def _attacks(specs: Sequence[AttackSpec]) -> list[Printed]:
    rows = attack_table({spec.name: spec.record for spec in specs}.values())
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

    def text(cell: Any) -> str:
        return "" if pd.isna(cell) else f"{cell:g}" if isinstance(cell, float) else str(cell)

    rows = [tuple(map(text, row)) for row in frame.itertuples(index=False, name=None)]
    return Table(tuple(map(str, frame.columns)), rows)


def perturbation_table(records: Iterable[Perturbation]) -> pd.DataFrame:
    """One row for each of ``records``."""
    return pd.DataFrame(
        [
            {
                "Perturbation": record.label,
                "Family": record.family,
                "Stands for": record.risk,
                "Acts on": record.stage.name.lower(),
                "Parameter": record.parameter,
                "At strength 0.2": record.value_text(0.2),
                "At strength 1": record.value_text(1.0),
                "Study setting": ""
                if record.study_strength is None
                else record.value_text(record.study_strength),
                "ImageNet-C": record.imagenet_c or "none",
                "Random": "yes" if record.random else "no",
                "Source": record.source,
            }
            for record in records
        ]
    )


def fit_table() -> pd.DataFrame:
    """Accuracy of each model by fit and side, where measured."""
    return pd.DataFrame(
        [
            {
                "Model": record.label,
                "Crop, 224 px": f"{fits.crop:.1f}%",
                "Squash, 224 px": f"{fits.squash:.1f}%",
                "Letterbox, 224 px": f"{fits.letterbox:.1f}%",
                "Own size": record.input_text,
                "Crop, own size": f"{fits.own:.1f}%",
            }
            for record in MODELS
            if (fits := record.fits) is not None
        ]
    )


def metric_table() -> pd.DataFrame:
    """Every metric with its formula."""
    return pd.DataFrame(
        [
            {
                "Metric": metric.label,
                "Compares": metric.subject,
                "Formula": metric.formula,
                "Better": "higher" if metric.higher_is_better else "lower",
            }
            for metric in metrics.REGISTRY
        ]
    )


def attack_table(records: Iterable[Attack]) -> pd.DataFrame:
    """One row for each of the attacks ``records``."""
    return pd.DataFrame(
        [
            {
                "Attack": record.label,
                "Sees": "gradients" if record.white_box else "predictions only",
                "Measured by": ", ".join(NORMS[norm].label for norm in record.norms),
                "Target": "can aim" if record.targeted else "none",
                "Steps": record.steps,
                "Formula": record.formula,
                "Source": record.source,
            }
            for record in records
        ]
    )
