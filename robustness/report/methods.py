"""How figures are made: ``methods.md``, ``glossary.md`` and tables of the registries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from robustness import metrics
from robustness.attacks import NORMS, Attack, AttackSpec
from robustness.base.text import counted
from robustness.measure.condition import Condition
from robustness.models import REGISTRY as MODELS
from robustness.perturbations import REGISTRY
from robustness.report.blocks import Printed, Text, Titled
from robustness.report.tables import Column, Table

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
    columns: list[Column] = [
        ("Perturbation", lambda record: record.label),
        ("Stands for", lambda record: record.risk),
        ("Parameter", lambda record: record.parameter),
        ("At strength 0.2", lambda record: record.value_text(0.2)),
        ("At strength 1", lambda record: record.value_text(1.0)),
        ("ImageNet-C", lambda record: record.imagenet_c or "none"),
        ("Source", lambda record: record.source),
    ]
    used = Table.of(map(REGISTRY.__getitem__, names), columns)
    return [
        Text(note("From photo to study image")),
        *([Text(note("Strength")), Titled("Perturbations", used)] if names else ()),
        *(_attacks(specs) if specs else ()),
        Text(note("Features")),
        Titled("Metrics", metric_table()),
        *(Text(f"{title}. {note(title)}") for title in notes),
        Text(f"Sources. {' '.join(sections()['Sources'].split())}"),
    ]


def _attacks(specs: Sequence[AttackSpec]) -> list[Printed]:
    rows = attack_table({spec.name: spec.record for spec in specs}.values(), settings=())
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
        Titled("Attacks", rows),
        Titled("Attack budgets", allowed),
    ]


def effort(spec: AttackSpec) -> str:
    """Steps and restarts of an attack, in words."""
    restarts = f", {counted(spec.restarts, 'restart')}" if spec.restarts > 1 else ""
    return f"{counted(spec.steps, 'step')}{restarts}"


def fit_table() -> Table:
    """Accuracy of each model by fit and side, where measured."""
    columns: list[Column] = [
        ("Model", lambda record: record.label),
        ("Crop, 224 px", lambda record: f"{record.fits.crop:.1f}%"),
        ("Squash, 224 px", lambda record: f"{record.fits.squash:.1f}%"),
        ("Letterbox, 224 px", lambda record: f"{record.fits.letterbox:.1f}%"),
        ("Own size", lambda record: record.input_text),
        ("Crop, own size", lambda record: f"{record.fits.own:.1f}%"),
    ]
    return Table.of([record for record in MODELS if record.fits is not None], columns)


def metric_table() -> Table:
    """Every metric with its formula."""
    columns: list[Column] = [
        ("Metric", lambda metric: metric.label),
        ("Compares", lambda metric: metric.subject),
        ("Formula", lambda metric: metric.formula),
        ("Better", lambda metric: "higher" if metric.higher_is_better else "lower"),
    ]
    return Table.of(metrics.REGISTRY, columns)


_SETTINGS: Sequence[Column] = (
    ("Measured by", lambda record: ", ".join(NORMS[norm].label for norm in record.norms)),
    ("Target", lambda record: "can aim" if record.targeted else "none"),
    ("Steps", lambda record: str(record.steps)),
)
"""What an attack can be set to, and its steps by default."""


def attack_table(records: Iterable[Attack], settings: Sequence[Column] = _SETTINGS) -> Table:
    """One row for each of the attacks ``records``, with their ``settings``."""
    columns: list[Column] = [
        ("Attack", lambda record: record.label),
        ("Sees", lambda record: "gradients" if record.white_box else "predictions only"),
        *settings,
        ("Formula", lambda record: record.formula),
        ("Source", lambda record: record.source),
    ]
    return Table.of(records, columns)
