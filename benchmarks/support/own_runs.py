"""Runs that were made or copied by hand, for which this installation would else not vouch."""

from __future__ import annotations

from pathlib import Path

from robustness import runs
from robustness.runs import run_registration_and_origin


def adopt(folder: Path) -> Path:
    """List the run in ``folder`` among those that this installation began; returns ``folder``."""
    run_registration_and_origin.register(folder, (folder / runs.MANIFEST_FILE).read_bytes())
    return folder


def adopt_all(folder: Path) -> Path:
    """As ``adopt`` for every run in ``folder``."""
    for manifest in folder.glob(f"*/{runs.MANIFEST_FILE}"):
        adopt(manifest.parent)
    return folder
