"""Runs in processes of their own: the queue, and the supervisor that starts and watches them."""

from robustness.runs.jobs.queue import (
    HARDENED,
    HARDENING,
    asker,
    cancel,
    end_hardening,
    harden,
    is_hardening,
    is_queued,
    last_served,
    match,
    read_queue,
    resume,
    stop_reason,
    submit,
    work_off,
)
from robustness.runs.jobs.supervisor import Supervisor, end_all, supervise

__all__ = [
    "HARDENED",
    "HARDENING",
    "Supervisor",
    "asker",
    "cancel",
    "end_all",
    "end_hardening",
    "harden",
    "is_hardening",
    "is_queued",
    "last_served",
    "match",
    "read_queue",
    "resume",
    "stop_reason",
    "submit",
    "supervise",
    "work_off",
]
