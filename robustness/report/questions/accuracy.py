"""Accuracy and calibration, and the corruption error beside published models."""

from __future__ import annotations

from robustness import models, statistics
from robustness.charts import accuracy_tables, model_scores, run_results, tables
from robustness.charts.tables import Column, Entry, Table, figure
from robustness.report.blocks import Block, Chart, Chooser, Columns, Text, Titled
from robustness.report.questions.question import LABELS, TRUST, Question
from robustness.report.wording import model
from robustness.statistics import Figures
from robustness.statistics.effective_robustness import published_errors


def _blocks(figures: Figures) -> list[Block]:
    labelled = {e["model"]: e for e in figures.summary if e["clean_accuracy"] is not None}
    choice = Chooser(
        "Reliability of",
        "reliability_of",
        {name: models.label(name) for name in labelled},
        lambda name: _reliability(figures, name, labelled[name]),
        printed=list(labelled),
        listed=True,
    )
    entries = list(labelled.values())
    return [
        Titled("Top-1 and top-5 accuracy", accuracy_tables.accuracy(entries)),
        Titled("Expected calibration error (ECE)", accuracy_tables.calibration(entries)),
        Columns([[choice], [Text(accuracy_tables.CALIBRATION_NOTE)]]),
    ]


def _reliability(figures: Figures, name: str, entry: Entry) -> list[Block]:
    bins = [row for row in figures.reliability if row["model"] == name]
    if not bins:
        return []
    before, after = (
        tables.with_interval(entry, f"{kind}_ece", ".3f") for kind in ("clean", "perturbed")
    )
    chart = Chart(
        f"Reliability of {model(name)}",
        run_results.reliability_diagram(bins),
        "Accuracy over confidence, original and perturbed. Expected calibration error: "
        f"{before} original, {after} perturbed.",
        "Below the diagonal: overconfident.",
    )
    return [chart]


ACCURACY = Question(
    "accuracy",
    "Accuracy",
    _blocks,
    "top-1, top-5 and calibration",
    needs=(LABELS,),
    view=TRUST,
)


def _errors(figures: Figures) -> list[Block]:
    """Corruption errors against AlexNet; [] unless a corruption has all severities."""
    if not figures.corruption_errors:
        return []
    blocks: list[Block] = [
        Text(
            "100 is AlexNet's error; lower is better. Relative: the error added to that on the "
            "originals."
        )
    ]
    for note, alike in run_results.grouped(figures.corruption_errors, "note").items():
        table = accuracy_tables.corruption_errors(alike)
        blocks += [Text(f"{note}."), Titled("Corruption error (CE), 95% intervals", table)]
    run = [entry["model"] for entry in figures.corruption_errors]
    literature = statistics.published(list(dict.fromkeys([*run, *models.REGISTRY.names])))
    columns: list[Column] = [
        ("Model", lambda row: models.label(row["model"])),
        ("mCE", figure("mce", ".1f")),
        ("Relative mCE", figure("relative_mce", ".1f")),
    ]
    sources = "; ".join(dict.fromkeys(row["source"] for row in literature[1:]))
    published = Titled("Published, on the JPEG files of ImageNet-C", Table.of(literature, columns))
    notes = [Text(f"Sources: {sources}.")] if sources else []
    return [*blocks, *_against_published(figures), published, *notes]


def _against_published(figures: Figures) -> list[Block]:
    """mCE against the error on the originals, for models with every corruption of ImageNet-C."""
    every = len(statistics.imagenet_c.ALEXNET_ERRORS)
    accuracy = {entry["model"]: entry["clean_accuracy"] for entry in figures.summary}
    whole = [e for e in figures.corruption_errors if len(e["corruptions"]) == every]
    if not whole:
        return []
    protocol = whole[-1]["note"]  # that of the published files, where the run has it
    mine = [{**e, "error": 1 - accuracy[e["model"]]} for e in whole if e["note"] == protocol]
    errors = published_errors()
    chart = Chart(
        "mCE against the error on the originals",
        model_scores.published(mine, errors),
        "Mean corruption error of each model against its error on the originals, beside published "
        "models.",
        "Grey: measured elsewhere, on ImageNet's validation set ("
        f"{'; '.join(dict.fromkeys(row['source'] for row in errors))}). {protocol}.",
    )
    return [chart]


CORRUPTION_ERRORS = Question(
    "corruption_errors",
    "ImageNet-C corruption error",
    _errors,
    "beside published models",
    needs=(LABELS,),
    tables=lambda figures: {"corruption_errors": figures.corruption_errors},
    view=TRUST,
)
