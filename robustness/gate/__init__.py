"""A gate for pipelines: checks a run against the limits of a budget."""

from robustness.gate.budget_rules import BREAKING, LIMITS, Budget, read_budget
from robustness.gate.budget_verdicts import (
    BROKEN,
    KEPT,
    NOT_SHOWN,
    Check,
    check,
    exclusions,
    rule_out,
)
from robustness.gate.output_formats import as_dict, headline, junit, markdown

__all__ = [
    "BREAKING",
    "BROKEN",
    "KEPT",
    "LIMITS",
    "NOT_SHOWN",
    "Budget",
    "Check",
    "as_dict",
    "check",
    "exclusions",
    "headline",
    "junit",
    "markdown",
    "read_budget",
    "rule_out",
]
