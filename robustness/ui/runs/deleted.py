"""The bin of the Runs page: deleted runs that can be restored."""

from __future__ import annotations

import time
from pathlib import Path

import streamlit as st

from robustness import runs
from robustness.base.access import Action
from robustness.base.text import counted, plain, visible
from robustness.runs import Deleted, keeping
from robustness.runs.bin import DAY
from robustness.ui.runs import done
from robustness.ui.session import access


def show(folder: Path) -> None:
    """Draw the runs in the bin of ``folder``, each with a button; nothing if it is empty."""
    found = [
        entry
        for entry in runs.deleted(folder)
        if not access.refusal(Action.RESTORE, entry.entry.owner)
    ]
    if not found:
        return
    with st.expander(f"Bin: {counted(len(found), 'run')}", icon=":material/delete:"):
        for entry in found:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.caption(plain(_said(entry)), width="stretch")
                name = entry.entry.folder.name
                st.button(
                    "Bring back",
                    key=f"restore {name}",
                    icon=":material/restore_from_trash:",
                    on_click=done.do,
                    args=(_restore, folder, name),
                )


def _said(entry: Deleted) -> str:
    left = max(0.0, keeping.bin_days() - (time.time() - entry.when) / DAY)
    title = visible(entry.entry.title or entry.entry.folder.name)
    by = f" by {visible(entry.by)}" if "@" in entry.by else ""
    return f"{title} ({entry.entry.folder.name}), deleted{by}; gone in {_time(left)}"


def _time(days: float) -> str:
    return counted(round(days), "day") if days >= 1 else "less than a day"


def _restore(folder: Path, name: str) -> str:
    access.require(Action.RESTORE, runs.owner_of(runs.binned(folder, name)), name)
    return f"Restored {runs.restore(folder, name).name}."
