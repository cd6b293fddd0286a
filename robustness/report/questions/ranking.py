"""Which models are better, by any rate, and which differences are significant."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustness import statistics
from robustness.charts import differences, model_scores, run_results, tables
from robustness.charts.tables import Entry
from robustness.report.blocks import Block, Chart, Chooser, Sortable, Text, Titled
from robustness.report.questions.question import COMPARE, Question, Tables
from robustness.statistics import Figures

_MEANING = {
    "consistency": "Consistency: share of perturbed images with the prediction of the original.",
    "perturbed_accuracy": "Perturbed accuracy: share of perturbed images predicted correctly.",
    "robust_accuracy": (
        "Robust accuracy: share of labelled images that stay correct under every attack, averaged "
        "over epsilons and norms."
    ),
}


def _blocks(figures: Figures) -> list[Block]:
    return [
        Chooser(
            "Rank by",
            "rank_by",
            run_results.titles(figures.quantities),
            lambda quantity: _ranked(figures, quantity),
            printed=[figures.ranked_by],
            first=figures.ranked_by,
        )
    ]


def _ranked(figures: Figures, quantity: str) -> list[Block]:
    ranked, pairs = figures.ranking(quantity), figures.pairs(quantity)
    title = run_results.QUANTITIES[quantity]
    chart = Chart(
        title,
        model_scores.ranking(pd.DataFrame(ranked), quantity, title),
        f"{title} of each model with its 95% interval; the table below holds the numbers.",
    )
    note = Text(f"{_MEANING[quantity]} {statistics.RANK_RULE}", statistics.INTERVAL_RULE)
    table = Titled(f"Models by {title.lower()}", tables.ranking(ranked, quantity))
    return [chart, note, table, *(_pairs(figures, quantity, pairs) if pairs else [])]


def _pairs(figures: Figures, quantity: str, pairs: Sequence[Entry]) -> list[Block]:
    chart = Chart(
        "Differences between models",
        differences.pair_differences(pairs),
        "Difference of each pair of models with its interval; the table below holds the numbers.",
    )
    title = "Each pair under each condition (McNemar's test)"
    return [
        chart,
        Text(statistics.TEST_SUMMARY, statistics.TEST_RULE),
        Titled("Differences in points", tables.pairs(pairs)),
        Sortable(title, lambda: tables.tests(figures.tests(quantity))),
    ]


def _brief(figures: Figures) -> list[Titled | Text]:
    ranked, pairs = figures.ranking(), figures.pairs()
    brief: list[Titled | Text] = [Titled("Ranking", tables.ranking(ranked, figures.ranked_by))]
    if pairs:
        what = run_results.QUANTITIES[pairs[0]["quantity"]].lower()
        brief.append(Titled(f"Differences in {what}, in points", tables.pairs(pairs)))
        brief.append(Text(statistics.TEST_SUMMARY))
    if figures.robust_accuracy:
        robust = tables.robust_accuracy(figures.robust_accuracy)
        brief.append(Titled("Robust accuracy", robust))
    return brief


def _tables(figures: Figures) -> Tables:
    return {"summary": figures.summary, "compare": figures.pairs()}


RANKING = Question(
    "ranking",
    "Ranking",
    _blocks,
    "which differences between models are significant",
    brief=_brief,
    tables=_tables,
    view=COMPARE,
)
