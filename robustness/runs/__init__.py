"""Runs over datasets: planned, performed, saved, listed and opened again; compared."""

from __future__ import annotations

from robustness.runs import (
    imported,
    ray,  # noqa: F401  (registers the engine)
)
from robustness.runs.analysis import Analysis
from robustness.runs.comparison import Comparison, RowComparison, compare
from robustness.runs.folder import (
    Listed,
    delete,
    find,
    find_match,
    folder_of,
    listed,
    listing,
    load,
    owner_of,
    path_by_id,
    read_task,
    title_of,
    written,
)
from robustness.runs.keeping import BIN, binned, deleted, restore, to_bin
from robustness.runs.manifest import FILE as MANIFEST_FILE
from robustness.runs.manifest import FINISHED, UNFINISHED, Manifest
from robustness.runs.match import (
    MatchRequest,
    read_first_answer,
    read_labels,
    write_labels,
)
from robustness.runs.notes import MAX_TITLE
from robustness.runs.planning import Plan, plan, reevaluation_plan, replan
from robustness.runs.run import UPLOADS, Run
from robustness.runs.task import Progress, TaskRequest, read_progress
from robustness.runs.training import TrainingRequest, last_trained, trainings_of
from robustness.runs.writer import reopen, start

__all__ = [
    "BIN",
    "FINISHED",
    "MANIFEST_FILE",
    "MAX_TITLE",
    "UNFINISHED",
    "UPLOADS",
    "Analysis",
    "Comparison",
    "Listed",
    "Manifest",
    "MatchRequest",
    "Plan",
    "Progress",
    "RowComparison",
    "Run",
    "TaskRequest",
    "TrainingRequest",
    "binned",
    "compare",
    "delete",
    "deleted",
    "find",
    "find_match",
    "folder_of",
    "imported",
    "last_trained",
    "listed",
    "listing",
    "load",
    "owner_of",
    "path_by_id",
    "plan",
    "read_first_answer",
    "read_labels",
    "read_progress",
    "read_task",
    "reevaluation_plan",
    "reopen",
    "replan",
    "restore",
    "start",
    "title_of",
    "to_bin",
    "trainings_of",
    "write_labels",
    "written",
]
