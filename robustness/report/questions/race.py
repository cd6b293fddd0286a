"""A race among the models of a run, or for a gate: its outcome, with bounds that hold at the end.

Plain means and intervals are left out: a race ends when they look best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustness.base.text import counted
from robustness.charts import run_results
from robustness.charts.tables import Table
from robustness.evaluation.condition import named
from robustness.evaluation.random_order import FEW
from robustness.report.blocks import Block, Text, Titled
from robustness.report.questions.question import COMPARE, Question, Tables
from robustness.report.wording import model
from robustness.runs import Run, racing
from robustness.statistics.racing import GATE

_RULE = (
    "Bounds hold whenever the race ends (95%): confidence sequences by betting (Waudby-Smith and "
    "Ramdas 2024) at 2.5%, and one test once all images are asked, at 2.5%. Comparisons share "
    "these (Bonferroni)."
)
_QUANTITIES = {"accuracy": "perturbed_accuracy", "consistency": "consistency"}
_LIMITS = {"consistent": "consistency", "correct": "accuracy", "drop": "accuracy lost"}


def _answers(run: Run) -> list[tuple[str, str]]:
    outcome = run.raced or {}
    question = "Is the budget met?" if outcome["goal"] == GATE else "Which model is best?"
    return [(question, " ".join(sentences(run)))]


def sentences(run: Run) -> list[str]:
    """How the race ``run`` ended, or where it stands."""
    return racing.sentences(run.raced or {}, run.manifest.dataset.pictures)


def basis(run: Run) -> str:
    """What the race ``run`` rests on."""
    outcome = run.raced or {}
    spec = run.manifest.spec
    per_image = min(FEW, len(spec.conditions))
    drawn = "all" if per_image == len(spec.conditions) else f"{per_image} of"
    pictures = run.manifest.dataset.pictures - racing.skipped(outcome)
    every = pictures * (1 + len(spec.conditions)) * len(spec.models)
    units = "" if outcome["unit"] == "image" else f" from {counted(outcome['units'], 'class')}"
    return (
        f"{counted(run.images, 'image')}{units} in random order, each under {drawn} "
        f"{counted(len(spec.conditions), 'condition')}: {run.forward_passes:,} of "
        f"{counted(every, 'forward pass')}."
    )


def cautions(run: Run) -> list[str]:
    """Which images do not count, besides unreadable ones."""
    skipped = {"that copy another": run.copies, "without a label": run.manifest.dataset.unlabelled}
    return [f"Not counted: {counted(n, 'image')} {why}." for why, n in skipped.items() if n]


def _blocks(run: Run) -> list[Block]:
    outcome = run.raced or {}
    blocks: list[Block] = [Text("The bounds hold whenever the race ends.", _RULE), *tables(run)]
    if outcome["decisions"]:
        decided = [
            f"{', '.join(map(model, step['decided']))} after {counted(step['images'], 'image')}"
            for step in outcome["decisions"]
            if step["decided"]
        ]
        blocks.append(Text(f"Decided: {'; '.join(decided)}."))
    return blocks


def tables(run: Run) -> list[Titled]:
    """The models and their differences, or the limits of a gate; [] for other runs."""
    outcome = run.raced
    if outcome is None:
        return []
    if outcome["goal"] == GATE:
        return [_limits(outcome["limits"])]
    title = run_results.QUANTITIES[_QUANTITIES[outcome["quantity"]]]
    scores = [
        (model(name), "worse" if name in outcome["worse"] else _first(outcome), _percent(*bounds))
        for name, bounds in outcome["scores"].items()
    ]
    gaps = [
        (model(gap["better"]), model(gap["worse"]), _points(gap["low"], gap["high"]))
        for gap in outcome["differences"]
    ]
    return [
        Titled("Models", Table(("Model", "Outcome", f"{title}, 95% bounds"), scores)),
        Titled("Differences in points", Table(("Model", "Minus", "95% bounds"), gaps)),
    ]


def _first(outcome: Mapping[str, Any]) -> str:
    if len(outcome["best"]) == 1:
        return "best"
    return "tied" if outcome["settled"] else "undecided"


def _limits(limits: Sequence[Mapping[str, Any]]) -> Titled:
    rows = [
        (
            limit["outcome"],
            model(limit["model"]),
            named(limit["conditions"][0]) if limit["conditions"] else "all conditions",
            _LIMITS[limit["quantity"]],
            f"{limit['wanted']:.1%}",
            _percent(limit["low"], limit["high"]),
        )
        for limit in limits
    ]
    head = ("Outcome", "Model", "Condition", "Figure", "Limit", "95% bounds")
    return Titled("Limits", Table(head, rows))


def _percent(low: float, high: float) -> str:
    return f"{low:.1%} to {high:.1%}"


def _points(low: float, high: float) -> str:
    return " to ".join(f"{round(100 * bound, 1) + 0.0:+.1f}" for bound in (low, high))


def _figures(run: Run) -> Tables:
    outcome = run.raced or {}
    return {key: outcome[key] for key in ("differences", "limits") if key in outcome}


RACE = Question(
    "race",
    "Race",
    _blocks,
    figures=lambda of: of.run,
    race=True,
    answers=_answers,
    brief=tables,
    tables=_figures,
    view=COMPARE,
)
