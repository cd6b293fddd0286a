"""What answering only above a threshold of confidence saves."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.charts.failures import risk_coverage
from robustness.charts.tables import Column, Table, figure, with_interval
from robustness.evaluation.condition import perturbation_label
from robustness.report.blocks import Block, Chart, Chooser, Columns, Text, Titled
from robustness.report.questions.question import Question
from robustness.report.wording import model
from robustness.runs.failures import Failures
from robustness.statistics.abstaining import ABSTAINING_RULE, THRESHOLDS


def _blocks(figures: Failures) -> list[Block]:
    if not figures.risk_coverage:
        return []
    errors = "Errors" if figures.quantity == "perturbed_accuracy" else "Changed predictions"
    chart = Chart(
        "Risk against coverage",
        risk_coverage(figures.risk_coverage, errors),
        f"{errors} among the answered images over the share of images answered; the table below "
        "holds the numbers at some thresholds.",
        "The most confident predictions are on the left.",
    )
    options = {f"{at:g}": f"{at:.0%}" for at in THRESHOLDS}
    choice = Chooser(
        "Threshold",
        "abstain_below",
        options,
        lambda at: _at_threshold(figures, float(at)),
        printed=[f"{THRESHOLDS[1]:g}"],
        first=f"{THRESHOLDS[1]:g}",
    )
    area = Titled("Area under the curve (lower is better)", Table.of(figures.risk_coverage, _AREA))
    rule = Text("A threshold withholds predictions of low confidence.", ABSTAINING_RULE)
    return [Columns([[chart], [area]]), rule, choice]


def _at_threshold(figures: Failures, at: float) -> list[Block]:
    mine = [entry for entry in figures.confidence if entry["threshold"] == at]
    whole = [entry for entry in mine if not entry["perturbation"]]
    each = [entry for entry in mine if entry["perturbation"]]
    labelled = figures.quantity == "perturbed_accuracy"
    errors, good = ("Errors", "Correct") if labelled else ("Changed predictions", "Unchanged")
    saved = [
        *_COVERED,
        (f"{errors} avoided", figure("avoided", ".1%")),
        (f"{good} predictions withheld", figure("lost", ".1%")),
    ]
    return [
        Titled(f"Abstaining below {at:.0%}", Table.of(whole, saved[1:])),
        Titled(f"Abstaining below {at:.0%} under each perturbation", Table.of(each, saved), True),
    ]


_AREA: Sequence[Column] = (
    ("Model", lambda entry: model(entry["model"])),
    ("Area", figure("area", ".3f")),
)
_COVERED: Sequence[Column] = (
    ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
    ("Model", lambda entry: model(entry["model"])),
    ("Coverage", lambda entry: with_interval(entry, "coverage")),
    ("Risk without", figure("risk_all", ".1%")),
    ("Risk with", figure("risk", ".1%")),
)


CONFIDENCE = Question(
    "confidence",
    "Confidence",
    _blocks,
    "what answering only above a threshold saves",
    figures=lambda of: of.run.failures,
    tables=lambda figures: {
        "abstaining": figures.confidence,
        "risk_coverage": figures.risk_coverage,
    },
    command="failures",
)
