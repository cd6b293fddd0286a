"""How figures are made: the texts ``methods.md`` and ``glossary.md``, and tables of registries."""

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
"""The titles of the notes in the report of a run over many images."""

DOMAIN = "Domain"
"""The title of the note in the report of a run of a domain."""

_OF_CLASSES = {"Rates", "Calibration", "Corruption error"}
"""The titles of the notes on predictions of classes, which a run of scores does not have."""


@cache
def sections() -> Mapping[str, str]:
    """Return the sections of ``methods.md`` as Markdown, by heading."""
    text = Path(__file__).with_name("methods.md").read_text(encoding="utf-8")
    return _split("## ", text)


def _split(mark: str, text: str) -> Mapping[str, str]:
    """Split Markdown at the headings that begin with ``mark``; return the texts by heading."""
    # The group in the pattern keeps the headings: they and their texts alternate after the part
    # before the first heading.
    _, *headings_and_texts = re.split(rf"^{mark}(.+)$", text, flags=re.MULTILINE)
    headings = headings_and_texts[::2]
    texts = [part.strip() for part in headings_and_texts[1::2]]
    return dict(zip(headings, texts, strict=True))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def glossary() -> list[tuple[str, str]]:
    """Return pairs of a term and its meaning in reading order, with every registered metric."""
    text = Path(__file__).with_name("glossary.md").read_text(encoding="utf-8")
    terms: list[tuple[str, str]] = []
    for term, meaning in _split("## ", text).items():
        # The subject of some metrics is no term of its own: these metrics take its place.
        metrics_of_term = [metric for metric in metrics.REGISTRY if metric.subject == term]
        for metric in metrics_of_term:
            terms.append((metric.label, metric.meaning or metric.formula))
        if not metrics_of_term:
            terms.append((term, _one_line(meaning)))
    return terms


def note(title: str) -> str:
    """Return the paragraph of ``methods.md`` under the third-level heading ``title``.

    Raises ``KeyError`` if there is none.
    """
    for text in sections().values():
        paragraph = _split("### ", text).get(title)
        if paragraph:
            return _one_line(paragraph)
    raise KeyError(title)


def limits(*, has_scores: bool = False) -> list[str]:
    """Return the sentences on what no result can show, or none of predictions or of scores."""
    texts = _split("### ", sections()["Limits"])
    own_limits = "Of scores" if has_scores else "Of predictions"
    sentences = []
    for title in ("Of all results", own_limits):
        _, *items = re.split(r"^- ", texts[title], flags=re.MULTILINE)
        sentences += [_one_line(item) for item in items]
    return sentences


def blocks(
    conditions: Iterable[Condition], notes: Sequence[str], *, has_scores: bool = False
) -> list[Printed]:
    """Return the methods of a report: images, ``conditions``, metrics, and ``notes`` by title.

    A run that ``has_scores`` in place of predictions has the notes on these instead of those on
    classes and features.
    """
    perturbations: list[str] = []
    attacks: list[AttackSpec] = []
    for condition in conditions:
        perturbations += condition.perturbations
        attacks += condition.attacks
    parts: list[Printed] = [Text(note("From photo to study image"))]
    if perturbations:
        table = _perturbation_table(perturbations)
        parts += [Text(note("Strength")), Titled("Perturbations", table)]
    if attacks:
        parts += _attack_blocks(attacks)
    if has_scores:
        of_images = [metric for metric in metrics.REGISTRY if metric.subject == metrics.PICTURE]
        parts.append(Titled("Metrics", metric_table(of_images)))
        notes = ["Scores", *(title for title in notes if title not in _OF_CLASSES)]
    else:
        parts += [Text(note("Features")), Titled("Metrics", metric_table())]
    for title in notes:
        parts.append(Text(f"{title}. {note(title)}"))
    parts.append(Text(f"Sources. {_one_line(sections()['Sources'])}"))
    return parts


def _perturbation_table(names: Sequence[str]) -> Table:
    columns: list[Column] = [
        ("Perturbation", lambda record: record.label),
        ("Stands for", lambda record: record.risk),
        ("Parameter", lambda record: record.parameter),
        ("At strength 0.2", lambda record: record.value_text(0.2)),
        ("At strength 1", lambda record: record.value_text(1.0)),
        ("ImageNet-C", lambda record: record.imagenet_c or "none"),
        ("Source", lambda record: record.source),
    ]
    records = [REGISTRY[name] for name in dict.fromkeys(names)]
    return Table.of(records, columns)


def _attack_blocks(specs: Sequence[AttackSpec]) -> list[Printed]:
    records = {spec.name: spec.record for spec in specs}
    budget_columns: list[Column] = [
        ("Attack", lambda spec: spec.record.label),
        ("Measured by", lambda spec: NORMS[spec.norm].label),
        ("Epsilon (strength)", lambda spec: spec.size_text),
        ("Effort", effort),
    ]
    return [
        Text(note("Size and objective")),
        Text(note("Judging an attack")),
        Titled("Attacks", attack_table(records.values(), settings=())),
        Titled("Attack budgets", Table.of(dict.fromkeys(specs), budget_columns)),
    ]


def effort(spec: AttackSpec) -> str:
    """Return the steps and restarts of an attack, such as "20 steps, 2 restarts"."""
    steps = counted(spec.steps, "step")
    if spec.restarts <= 1:
        return steps
    return f"{steps}, {counted(spec.restarts, 'restart')}"


def fit_table() -> Table:
    """Return the table of accuracies by fit and side, for the models where they were measured."""
    columns: list[Column] = [
        ("Model", lambda record: record.label),
        ("Crop, 224 px", lambda record: f"{record.fits.crop:.1f}%"),
        ("Squash, 224 px", lambda record: f"{record.fits.squash:.1f}%"),
        ("Letterbox, 224 px", lambda record: f"{record.fits.letterbox:.1f}%"),
        ("Own size", lambda record: record.input_text),
        ("Crop, own size", lambda record: f"{record.fits.own:.1f}%"),
    ]
    return Table.of([record for record in MODELS if record.fits is not None], columns)


def metric_table(shown: Iterable[metrics.Metric] = metrics.REGISTRY) -> Table:
    """Return the table of the metrics ``shown``, by default all, with their formulas."""
    columns: list[Column] = [
        ("Metric", lambda metric: metric.label),
        ("Compares", lambda metric: metric.subject),
        ("Formula", lambda metric: metric.formula),
        ("Better", lambda metric: "higher" if metric.higher_is_better else "lower"),
    ]
    return Table.of(shown, columns)


_SETTINGS: Sequence[Column] = (
    ("Measured by", lambda record: ", ".join(NORMS[norm].label for norm in record.norms)),
    ("Target", lambda record: "can aim" if record.targeted else "none"),
    ("Steps", lambda record: str(record.steps)),
)
"""Columns of the settings that an attack takes, and of its default number of steps."""


def attack_table(records: Iterable[Attack], settings: Sequence[Column] = _SETTINGS) -> Table:
    """Return the table of the attacks ``records``, with the columns ``settings`` among others."""
    columns: list[Column] = [
        ("Attack", lambda record: record.label),
        ("Sees", lambda record: "gradients" if record.white_box else "predictions only"),
        *settings,
        ("Formula", lambda record: record.formula),
        ("Source", lambda record: record.source),
    ]
    return Table.of(records, columns)
