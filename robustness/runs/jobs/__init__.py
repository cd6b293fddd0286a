"""Runs that are worked on in processes of their own: asked for, in turn, watched and stopped."""

from robustness.runs.jobs.aside import ASIDE
from robustness.runs.jobs.keeper import Keeper, end_all, keep
from robustness.runs.jobs.queue import (
    ask,
    cancel,
    in_turn,
    is_ordered,
    last_served,
    orders,
    submit,
    why_it_stopped,
    work_off,
)

__all__ = [
    "ASIDE",
    "Keeper",
    "ask",
    "cancel",
    "end_all",
    "in_turn",
    "is_ordered",
    "keep",
    "last_served",
    "orders",
    "submit",
    "why_it_stopped",
    "work_off",
]
