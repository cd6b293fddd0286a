"""The verdict on one limit of a budget, and all those on a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustness import statistics
from robustness.base.text import FigureText, counted, figure_text
from robustness.charts.tables import flat, in_brackets
from robustness.gate.budget import ATTACK, BREAKING, REGRESSIONS, Budget
from robustness.runs.run import Run
from robustness.statistics.thresholds import SUITE

KEPT, BROKEN, NOT_SHOWN = "kept", "broken", "not shown"


@dataclass(frozen=True)
class Verdict:
    """One limit on one model and condition; without ``perturbation``, on all conditions together.

    ``where`` describes the condition. ``value`` is the figure, with its bounds ``low`` and ``high``
    (None with too few images). A breaking strength covers all strengths, so its ``condition`` is
    None; ``value`` and ``high`` are None if no strength of the run breaks the model. What a model
    accepts without a safe threshold has no figure. ``of`` names the figure as ``statistics`` does;
    for ``max_regression`` it is the robust accuracy under attack on labelled images, otherwise the
    consistency. ``max_error`` is what a threshold promises, for limits on accepted predictions.
    """

    model: str
    where: str
    condition: str | None
    perturbation: str | None
    strength: float | None
    limit: str
    wanted: float
    value: float | None
    low: float | None
    high: float | None
    outcome: str
    images: int
    of: str = "consistency"
    max_error: float | None = None

    @property
    def sentence(self) -> str:
        """The figure and the limit."""
        if self.limit == BREAKING:
            return f"{self.figure_text}; wanted: not below {self.limit_text}"
        sign = "at least" if self.limit.startswith("min") else "at most"
        pictures = counted(self.images, "image")
        if self.limit == ATTACK:
            pictures += " with a prediction to break"
        return f"{self.figure_text} on {pictures}; wanted: {sign} {self.limit_text}"

    @property
    def limit_text(self) -> str:
        """The limit in the unit of the figure: a strength, or a percentage."""
        return f"{self.wanted:g}" if self.limit == BREAKING else f"{100 * self.wanted:g}%"

    @property
    def figure_text(self) -> str:
        """The figure with its interval."""
        of: dict[str, Any] = vars(self)
        if self.limit == BREAKING:
            ends = {f"breaking_{end}": of[end] for end in ("low", "high")}
            low, high = (figure_text({**of, **ends}, end, "g") or "none" for end in ends)
            span = low if low == high else f"{low} to {high}"
            return FigureText(f"breaks at {span}", low, high)
        if self.value is None:
            return "no threshold"
        if self.max_error is not None:
            of = {**of, "promise": SUITE, "condition": SUITE}
        name = f"{self.of}_loss" if self.limit in REGRESSIONS else self.of
        of = flat(of, name, of)
        value, bounds = figure_text(of, name, ".1%"), in_brackets(of, name)
        what = " of robust accuracy" if self.of == "robust_accuracy" else ""
        unknown = f" (fewer than {statistics.FEWEST} images: no interval)"
        return FigureText(f"{value}{what}{bounds or unknown}", value, bounds)


@dataclass(frozen=True)
class Check:
    """The verdicts on a run; ``broken`` are those that fail the gate.

    ``notes`` say what hardened models were trained on.
    """

    run: Run
    budget: Budget
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def broken(self) -> list[Verdict]:
        failing = {BROKEN, NOT_SHOWN} if self.budget.unsure_fails else {BROKEN}
        return [verdict for verdict in self.verdicts if verdict.outcome in failing]

    @property
    def passed(self) -> bool:
        return not self.broken
