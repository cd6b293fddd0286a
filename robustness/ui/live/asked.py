"""What the Live page shows: a picture under a condition, and what the models answer to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.evaluation.condition import NOTHING, Condition
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.spec import RunSpec, make_spec
from robustness.pictures.picture import Picture
from robustness.ui.kit import components, memo, results
from robustness.ui.kit.html import Html, html

Answer = Measurement | RobustnessError


class Asked(NamedTuple):
    """A picture under a condition, and the models asked about it."""

    picture: Picture
    condition: Condition
    models: tuple[str, ...]
    seed: int
    truth: str | None = None
    """The class that the picture shows, if somebody has said it."""

    @property
    def of_whom(self) -> tuple[str, ...]:
        """The picture and the models."""
        return (self.picture.digest, str(self.truth), *self.models)

    @property
    def id(self) -> str:
        """Tells it from all else that may be shown."""
        return " ".join([*self.of_whom, self.condition.id, str(self.seed)])

    @property
    def spec(self) -> RunSpec:
        return make_spec(self.models, [self.condition], seed=self.seed, fit=self.picture.fit)

    @property
    def what(self) -> str:
        """The condition in words."""
        return NOTHING if self.condition.idle else self.condition.label

    def change(self) -> memo.Change:
        """The picture under the condition."""
        return memo.change(self.picture, self.condition, self.seed)

    def answers(self, altered: memo.Change, who: str | None = None) -> Iterator[tuple[str, Answer]]:
        """Has all models asked from now on, in turns of ``who``; each answer as it comes."""
        return memo.answers(self.spec, self.picture, self.models, altered, who)


def shown(asked: Asked, found: Mapping[str, Answer], note: str = "") -> components.Answers:
    """The headline, the verdicts and a card a model, as far as they are ``found``."""
    rows = {name: row for name, row in found.items() if isinstance(row, Measurement)}
    return components.Answers(
        headline=_headline(asked, list(rows.values())),
        verdicts=_verdicts(asked, rows),
        cards=[_card(name, found.get(name), asked.truth) for name in asked.models],
        note=note,
    )


def _card(name: str, row: Answer | None, truth: str | None) -> Html:
    if isinstance(row, Measurement):
        return results.card(row, truth=truth)
    text = "Asking …" if row is None else str(row)
    return html("card_without", label=models.label(name), text=text, failed=row is not None)


def _headline(asked: Asked, rows: Sequence[Measurement]) -> Html:
    """The answer in a sentence."""
    total = len(asked.models)
    kept = sum(row.consistent for row in rows)
    if len(rows) < total or not total:
        several = "s" if total != 1 else ""
        text = f"Asking {total} model{several}: {len(rows)} answered, {kept} kept"
    elif 0 < kept < total:
        text = f"{kept} of {total} models keep their answer"
    elif total > 1:
        text = f"All {total} models {'keep' if kept else 'change'} their answer"
    else:
        text = f"The model {'keeps' if kept else 'changes'} its answer"
    right = sum(models.class_name(row.model, row.top1) == asked.truth for row in rows)
    truth = "" if asked.truth is None or len(rows) < total else f"; {right} of {total} right"
    return results.headline(f"{text} under {asked.what}{truth}.")


def _verdicts(asked: Asked, answered: Mapping[str, Measurement]) -> Html:
    """One line a model: what became of its answer, and what it sees now."""
    lines = []
    for name in asked.models:
        row = answered.get(name)
        verdict = row and results.verdict(row, asked.truth)
        lines.append((models.label(name), row, verdict, row and models.class_name(name, row.top1)))
    return html("verdicts", lines=lines)
