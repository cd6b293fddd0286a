"""Which models are better, by any rate, and which differences are significant."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustness import statistics
from robustness.charts import dataset, differences, label_tables, scorecard, tables
from robustness.charts.tables import Entry
from robustness.report.blocks import Beside, Block, Chart, Chooser, Sortable, Text, Titled
from robustness.report.questions.question import Question, Tables
from robustness.statistics import Figures

_MEANING = {
    "consistency": "Consistency: share of perturbed images with the prediction of the original.",
    "perturbed_accuracy": "Accuracy: share of perturbed, labelled images predicted correctly.",
    "robust_accuracy": (
        "Robust accuracy: share of labelled images that stay correct under every attack, averaged "
        "over epsilons and norms."
    ),
}


def _blocks(found: Figures) -> list[Block]:
    return [
        Chooser(
            "Rank by",
            "rank_by",
            dataset.titles(found.quantities),
            lambda quantity: _ranked(found, quantity),
            printed=[found.ranked_by],
            first=found.ranked_by,
        )
    ]


def _ranked(found: Figures, quantity: str) -> list[Block]:
    ranked, pairs = found.ranking(quantity), found.pairs(quantity)
    title = dataset.QUANTITIES[quantity]
    chart = Chart(
        title,
        scorecard.ranking(pd.DataFrame(ranked), quantity, title),
        f"{title} of each model with its 95% interval; the table below holds the numbers.",
    )
    note = Text(f"{_MEANING[quantity]} {statistics.RANK_RULE}", statistics.INTERVAL_RULE)
    table = Titled(f"Models by {title.lower()}", tables.ranking(ranked, quantity))
    return [Beside([chart], [note]), table, *(_pairs(found, quantity, pairs) if pairs else [])]


def _pairs(found: Figures, quantity: str, pairs: Sequence[Entry]) -> list[Block]:
    chart = Chart(
        "Differences between models",
        differences.pair_differences(pairs),
        "Difference of each pair of models with its interval; the table below holds the numbers.",
    )
    each = "Each pair under each condition (McNemar's test)"
    return [
        Beside([chart], [Text(statistics.TEST_SUMMARY, statistics.TEST_RULE)]),
        Titled("Differences in points", tables.pairs(pairs)),
        Sortable(each, lambda: tables.tests(found.tests(quantity))),
    ]


def _brief(found: Figures) -> list[Titled | Text]:
    ranked, pairs = found.ranking(), found.pairs()
    brief: list[Titled | Text] = [Titled("Ranking", tables.ranking(ranked, found.ranked_by))]
    if pairs:
        what = dataset.QUANTITIES[pairs[0]["quantity"]].lower()
        brief.append(Titled(f"Differences in {what}, in points", tables.pairs(pairs)))
    if found.robust_accuracy:
        robust = label_tables.robust_accuracy(found.robust_accuracy)
        brief.append(Titled("Robust accuracy", robust))
    return brief


def _tables(found: Figures) -> Tables:
    return {"summary": found.summary, "compare": found.pairs()}


RANKING = Question(
    "ranking",
    "Ranking",
    lambda of: of.statistics,
    _blocks,
    "which differences between models are significant",
    brief=_brief,
    tables=_tables,
)
