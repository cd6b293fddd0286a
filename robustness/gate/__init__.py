"""A gate for pipelines: checks a run against the limits of a budget."""

from __future__ import annotations

from robustness.gate.budget import BREAKING, LIMITS, Budget, described, read_budget, titled
from robustness.gate.formats import as_dict, headline, junit, markdown
from robustness.gate.gate import Check, check, exclusions, rule_out
from robustness.statistics.limits import BROKEN, KEPT, NOT_SHOWN, UNTESTED

__all__ = [
    "BREAKING",
    "BROKEN",
    "KEPT",
    "LIMITS",
    "NOT_SHOWN",
    "UNTESTED",
    "Budget",
    "Check",
    "as_dict",
    "check",
    "described",
    "exclusions",
    "headline",
    "junit",
    "markdown",
    "read_budget",
    "rule_out",
    "titled",
]
