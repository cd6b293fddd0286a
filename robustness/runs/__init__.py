"""Runs over datasets: planned, performed, saved, listed and opened again; compared."""

from robustness.runs import imported_predictions
from robustness.runs.bin import BIN, binned, deleted, restore, to_bin
from robustness.runs.compare import Comparison, compare
from robustness.runs.manifest import FILE as MANIFEST_FILE
from robustness.runs.manifest import FINISHED, UNFINISHED, Manifest
from robustness.runs.match_request_and_answer import (
    MatchRequest,
    read_answer,
    read_first_answer,
    read_labels,
    write_labels,
)
from robustness.runs.notes import MAX_TITLE
from robustness.runs.planning import Plan, plan, reevaluation_plan, replan
from robustness.runs.row_differences import RowComparison
from robustness.runs.run import UPLOADS, Run
from robustness.runs.run_folders_and_opening import (
    Listed,
    delete,
    find,
    find_match,
    folder_of,
    listed,
    listing,
    load,
    owner_of,
    place,
    title_of,
    written,
)
from robustness.runs.run_progress import Progress, read_progress
from robustness.runs.run_writer_and_continuation import reopen, start

__all__ = [
    "BIN",
    "FINISHED",
    "MANIFEST_FILE",
    "MAX_TITLE",
    "UNFINISHED",
    "UPLOADS",
    "Comparison",
    "Listed",
    "Manifest",
    "MatchRequest",
    "Plan",
    "Progress",
    "RowComparison",
    "Run",
    "binned",
    "compare",
    "delete",
    "deleted",
    "find",
    "find_match",
    "folder_of",
    "imported_predictions",
    "listed",
    "listing",
    "load",
    "owner_of",
    "place",
    "plan",
    "read_answer",
    "read_first_answer",
    "read_labels",
    "read_progress",
    "reevaluation_plan",
    "reopen",
    "replan",
    "restore",
    "start",
    "title_of",
    "to_bin",
    "write_labels",
    "written",
]
