"""A gate for pipelines: checks a run against the limits of a budget."""

from robustness.runs.gate.budget import LIMITS, Budget, budget_of, read_budget
from robustness.runs.gate.documents import as_dict, headline, junit, markdown
from robustness.runs.gate.raced import race_limits
from robustness.runs.gate.verdict import BROKEN, KEPT, NOT_SHOWN, Check
from robustness.runs.gate.verdicts import check, part

__all__ = [
    "BROKEN",
    "KEPT",
    "LIMITS",
    "NOT_SHOWN",
    "Budget",
    "Check",
    "as_dict",
    "budget_of",
    "check",
    "headline",
    "junit",
    "markdown",
    "part",
    "race_limits",
    "read_budget",
]
