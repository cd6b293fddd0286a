"""A gate for pipelines: checks a run against the limits of a budget."""

from __future__ import annotations

from robustness.gate.gate import (
    BREAKING,
    BROKEN,
    KEPT,
    LIMITS,
    NOT_SHOWN,
    Budget,
    Check,
    as_dict,
    check,
    exclusions,
    headline,
    junit,
    markdown,
    read_budget,
    rule_out,
)

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
