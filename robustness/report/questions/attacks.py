"""What stays correct under every attack."""

from __future__ import annotations

from robustness.charts import label_tables, tables
from robustness.report.blocks import Block, Text, Titled
from robustness.report.questions.question import ATTACKS, Question
from robustness.statistics import Figures


def _blocks(found: Figures) -> list[Block]:
    table = Titled("Robust accuracy", label_tables.robust_accuracy(found.robust_accuracy))
    blocks: list[Block] = [table, Text(label_tables.ROBUST_NOTE)]
    if pairs := found.pairs_under_attack:
        blocks.append(Titled("Differences in robust accuracy, in points", tables.pairs(pairs)))
    return blocks


UNDER_ATTACK = Question(
    "attacks",
    "Attacks",
    lambda of: of.statistics,
    _blocks,
    "what is correct under every attack",
    needs=(ATTACKS,),
    tables=lambda found: {"robust_accuracy": found.robust_accuracy},
)
