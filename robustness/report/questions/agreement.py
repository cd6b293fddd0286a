"""Whether models fail on the same images."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.charts.run_failures import failing_alone
from robustness.charts.tables import Column, Table, figure, in_points, with_interval
from robustness.report.blocks import Block, Chart, Text, Titled
from robustness.report.questions.question import COMPARE, TWO_MODELS, Question
from robustness.report.wording import model
from robustness.runs.failures import Failures

_FAILS = {
    "perturbed_accuracy": "A failure is an incorrect prediction; only labelled images count.",
    "consistency": "A failure is a changed prediction.",
}
_COUNTED = (
    "An image counts in a column if this happens under at least one condition, so it can count in "
    "several columns."
)
_ATTACKS = "Attacks are left out: each model has its own attacked image."


def _blocks(figures: Failures) -> list[Block]:
    if not figures.pairs:
        return []
    alone = [
        (f"{model(a)} fails,<br>{model(b)} does not", {"n_images": count, "selection": text})
        for entry in figures.pairs
        for a, b, count, text in (
            (entry["model"], entry["other"], entry["model_only"], entry["model_selection"]),
            (entry["other"], entry["model"], entry["other_only"], entry["other_selection"]),
        )
    ]
    chart = Chart(
        "Images on which only one model fails",
        failing_alone(alone),
        "Images that one model of each pair fails on and the other does not.",
        link="against",
    )
    table = Titled("Do they fail together?", Table.of(figures.pairs, _PAIR))
    about = Text(f"{_FAILS[figures.quantity]} {_COUNTED}", _ATTACKS)
    blocks: list[Block] = [chart, table, about]
    if figures.majority:
        blocks.append(Titled("What a majority would do", Table.of(figures.majority, _MAJORITY)))
    return blocks


_PAIR: Sequence[Column] = (
    ("Models", lambda entry: f"{model(entry['model'])} and {model(entry['other'])}"),
    ("Images", figure("n_images", ",")),
    ("First alone fails", figure("model_only", ",")),
    ("Second alone fails", figure("other_only", ",")),
    ("Both fail", figure("both", ",")),
)
_MAJORITY: Sequence[Column] = (
    ("Models", figure("n_models", "")),
    ("Majority", lambda entry: with_interval(entry, "rate")),
    ("Best model", lambda entry: model(entry["best"])),
    ("Its rate", figure("best_rate", ".1%")),
    ("Majority minus best, points", lambda entry: in_points(entry, "difference")),
)


AGREEMENT = Question(
    "agreement",
    "Agreement",
    _blocks,
    "where one model fails and another does not",
    figures=lambda of: of.run.failures,
    needs=(TWO_MODELS,),
    link="against",
    tables=lambda figures: {"agreement": figures.pairs, "majority": figures.majority},
    command="failures",
    view=COMPARE,
)
