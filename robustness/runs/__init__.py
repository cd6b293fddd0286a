"""Runs over datasets: planned, performed, saved, listed and opened again; compared, replayed."""

from robustness.runs import imported_predictions
from robustness.runs.bin import BIN, Deleted, binned, deleted, empty_bin, restore, to_bin
from robustness.runs.compare import Comparison, compare
from robustness.runs.manifest import FILE as MANIFEST_FILE
from robustness.runs.manifest import FINISHED, UNFINISHED, Manifest
from robustness.runs.notes import MAX_TITLE
from robustness.runs.planning import Plan, plan, replan
from robustness.runs.progress import Progress, read_progress
from robustness.runs.replay import DIFFERENT, IDENTICAL, ROUNDED, Replay, replay
from robustness.runs.run import UPLOADS, Run
from robustness.runs.run_archive import export_run, folder_of, import_run, write_archive
from robustness.runs.store import (
    Listed,
    delete,
    find,
    listed,
    listing,
    load,
    owner_of,
    place,
    title_of,
)
from robustness.runs.writer import RunWriter, reopen, start

__all__ = [
    "BIN",
    "DIFFERENT",
    "FINISHED",
    "IDENTICAL",
    "MANIFEST_FILE",
    "MAX_TITLE",
    "ROUNDED",
    "UNFINISHED",
    "UPLOADS",
    "Comparison",
    "Deleted",
    "Listed",
    "Manifest",
    "Plan",
    "Progress",
    "Replay",
    "Run",
    "RunWriter",
    "binned",
    "compare",
    "delete",
    "deleted",
    "empty_bin",
    "export_run",
    "find",
    "folder_of",
    "import_run",
    "imported_predictions",
    "listed",
    "listing",
    "load",
    "owner_of",
    "place",
    "plan",
    "read_progress",
    "reopen",
    "replan",
    "replay",
    "restore",
    "start",
    "title_of",
    "to_bin",
    "write_archive",
]
