"""Runs over datasets: planned, performed, saved, listed and opened again."""

from robustness.runs.manifest import FINISHED, UNFINISHED, Manifest
from robustness.runs.session import Plan, Progress, Session, plan, start
from robustness.runs.store import Listed, Run, delete, find, listing, load

__all__ = [
    "FINISHED",
    "UNFINISHED",
    "Listed",
    "Manifest",
    "Plan",
    "Progress",
    "Run",
    "Session",
    "delete",
    "find",
    "listing",
    "load",
    "plan",
    "start",
]
