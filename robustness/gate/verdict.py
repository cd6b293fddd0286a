"""The verdict on one limit of a budget, and all those on a run."""

from __future__ import annotations

from dataclasses import dataclass

from robustness import statistics
from robustness.base.text import counted, share
from robustness.gate.budget import ATTACK, BREAKING, Budget
from robustness.runs.run import Run

KEPT, BROKEN, NOT_SHOWN = "kept", "broken", "not shown"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One limit on one model and condition; without ``perturbation``, on all conditions together.

    ``where`` describes the condition. ``value`` is the figure, with its bounds ``low`` and ``high``
    (None with too few images). A breaking strength covers all strengths, so its ``condition`` is
    None; ``value`` and ``high`` are None if no strength of the run breaks the model. What a model
    accepts without a safe threshold has no figure. ``of`` names the figure as ``statistics`` does;
    for ``max_regression`` it is the robust accuracy under attack on labelled images, otherwise the
    consistency.
    """

    model: str
    where: str = "all conditions"
    condition: str | None = None
    perturbation: str | None = None
    strength: float | None = None
    limit: str
    wanted: float
    value: float | None
    low: float | None
    high: float | None
    outcome: str
    images: int
    of: str = "consistency"

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
        if self.limit == BREAKING:
            low, high = ("none" if x is None else f"{x:g}" for x in (self.low, self.high))
            return f"breaks at {low}" if low == high else f"breaks at {low} to {high}"
        if self.value is None:
            return "no threshold"
        of = " of robust accuracy" if self.of == "robust_accuracy" else ""
        if self.low is None or self.high is None:
            return f"{share(self.value)}{of} (fewer than {statistics.FEWEST} images: no interval)"
        return f"{share(self.value)}{of} ({share(self.low)} to {share(self.high)})"


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
