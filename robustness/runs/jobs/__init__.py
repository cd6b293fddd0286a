"""Runs in processes of their own: the queue, and the keeper that starts and watches them."""

from robustness.runs.jobs.keeper import Keeper, end_all, keep
from robustness.runs.jobs.queue import (
    ask,
    cancel,
    is_ordered,
    last_served,
    orders,
    submit,
    why_it_stopped,
    work_off,
)

__all__ = [
    "Keeper",
    "ask",
    "cancel",
    "end_all",
    "is_ordered",
    "keep",
    "last_served",
    "orders",
    "submit",
    "why_it_stopped",
    "work_off",
]
