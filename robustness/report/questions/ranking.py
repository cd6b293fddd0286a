"""Which models are better, by any rate, and which differences are significant."""

from __future__ import annotations

from robustness import statistics
from robustness.charts import (
    model_scores,
    ranking_and_condition_tables,
    run_quantities_and_reliability,
)
from robustness.report.blocks import Block, Chart, Chooser, Text, Titled
from robustness.report.questions.question_and_figures import COMPARE, Question
from robustness.statistics import Figures

_MEANING = {
    "consistency": (
        "Consistency: share of perturbed images with the prediction of the original; under attack, "
        "of those with a prediction to break."
    ),
    "perturbed_accuracy": "Perturbed accuracy: share of perturbed images predicted correctly.",
    "robust_accuracy": (
        "Robust accuracy: share of labelled images that stay correct under every attack, averaged "
        "over epsilons and norms."
    ),
}


def _ranked(figures: Figures, quantity: str) -> list[Block]:
    ranked, pairs = figures.ranking(quantity), figures.pairs(quantity)
    title = run_quantities_and_reliability.QUANTITIES[quantity]
    chart = Chart(
        title,
        model_scores.ranking(ranked, quantity, title),
        f"{title} of each model with its 95% interval; the table below holds the numbers.",
    )
    note = Text(f"{_MEANING[quantity]} {statistics.RANK_RULE}", statistics.INTERVAL_RULE)
    table = Titled(
        f"Models by {title.lower()}", ranking_and_condition_tables.ranking(ranked, quantity)
    )
    if not pairs:
        return [chart, note, table]
    rule = Text(statistics.TEST_SUMMARY, statistics.TEST_RULE)
    in_points = Titled("Differences in points", ranking_and_condition_tables.pairs(pairs))
    return [chart, note, table, rule, in_points]


def _brief(figures: Figures) -> list[Titled | Text]:
    ranked, pairs = figures.ranking(), figures.pairs()
    brief: list[Titled | Text] = [
        Titled("Ranking", ranking_and_condition_tables.ranking(ranked, figures.ranked_by))
    ]
    if pairs:
        what = run_quantities_and_reliability.QUANTITIES[pairs[0]["quantity"]].lower()
        brief.append(
            Titled(f"Differences in {what}, in points", ranking_and_condition_tables.pairs(pairs))
        )
        brief.append(Text(statistics.TEST_SUMMARY))
    if figures.robust_accuracy:
        robust = ranking_and_condition_tables.robust_accuracy(figures.robust_accuracy)
        brief.append(Titled("Robust accuracy", robust))
    return brief


RANKING = Question(
    "ranking",
    "Ranking",
    lambda figures: [
        Chooser(
            "Rank by",
            "rank_by",
            run_quantities_and_reliability.titles(figures.quantities),
            lambda quantity: _ranked(figures, quantity),
            printed=[figures.ranked_by],
            first=figures.ranked_by,
        )
    ],
    "which differences between models are significant",
    brief=_brief,
    tables=lambda figures: {"summary": figures.summary, "compare": figures.pairs()},
    view=COMPARE,
)
