"""What can be done with a run: rename, tag, pin, delete, restore."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from robustness import runs
from robustness.base.permission_policy_and_check import Action
from robustness.base.text import counted, plain, visible
from robustness.report.questions import RunFigures
from robustness.report.questions.safe_threshold import THRESHOLD, ThresholdInUse, certified
from robustness.runs import MAX_TITLE, Listed, jobs, notes, retention_and_storage_limits
from robustness.runs.bin import DAY
from robustness.ui.computation import job_controls
from robustness.ui.evaluations import run_table_and_selection
from robustness.ui.session import access
from robustness.ui.session.error_boundary import do
from robustness.ui.session.runs_folder_and_links import accept_from, accepted_from


def manage(entry: Listed) -> None:
    """Draw the fields and buttons for the run of ``entry``."""
    name = entry.folder.name
    st.text_input("Title", value=entry.title, key=f"title {name}", max_chars=MAX_TITLE)
    st.text_input(
        "Tags",
        value=", ".join(entry.tags),
        key=f"tags {name}",
        max_chars=notes.MAX_TAGS,
        help="Separated by commas.",
    )
    st.text_area("Note", value=entry.note, key=f"note {name}", max_chars=notes.MAX_NOTE)
    st.button(
        "Save",
        on_click=do,
        args=(_describe, entry),
        **access.allowed(Action.RENAME, entry.owner, key=f"rename {name}", thing=name),
    )
    what = "match" if entry.match else "run"
    if not entry.match:
        is_pinned = notes.baseline(entry.folder.parent) == name
        st.button(
            "Unpin baseline" if is_pinned else "Pin as baseline",
            icon=":material/keep:",
            on_click=do,
            args=(_pin, entry, "" if is_pinned else name),
            **access.allowed(
                Action.PIN,
                key=f"pin {name}",
                thing=name,
                help="Everyone's comparisons start from this run.",
            ),
        )
    st.divider()
    days = counted(retention_and_storage_limits.bin_days(), "day")
    sure = st.checkbox(f"Confirm deletion; the bin keeps the {what} for {days}", key=f"sure {name}")
    if refused := access.refusal(Action.DELETE, entry.owner):
        st.caption(plain(refused))
    st.button(
        f"Delete this {what}",
        icon=":material/delete:",
        on_click=do,
        args=(_delete, entry),
        **access.allowed(
            Action.DELETE, entry.owner, key=f"delete {name}", thing=name, disabled=not sure
        ),
    )


def _describe(entry: Listed) -> str:
    name = entry.folder.name
    access.require(Action.RENAME, runs.owner_of(entry.folder), name)
    texts = {what: str(st.session_state[f"{what} {name}"]) for what in ("title", "tags", "note")}
    notes.update(entry.folder, **texts)
    return f"Saved {runs.title_of(entry.folder)}."


def _pin(entry: Listed, name: str) -> str:
    access.require(Action.PIN, thing=entry.folder.name)
    notes.set_baseline(entry.folder.parent, name)
    return f"{entry.title} is {'the' if name else 'no longer the'} baseline."


def acceptance_button(of: RunFigures) -> None:
    """Draw the button that uses the safe thresholds of the run on One image, or ends their use."""
    thresholds = {
        name: threshold
        for name, threshold in certified(of.run, of.answer(THRESHOLD)).items()
        if threshold is not None
    }
    in_use = bool(thresholds) and accepted_from() == thresholds
    st.button(
        "Stop using" if in_use else "Use on One image",
        key="accept from",
        icon=":material/verified_user:",
        on_click=do,
        args=(_accept_from, {} if in_use else thresholds),
        disabled=not thresholds,
        help="Live then says which predictions would be rejected, in this browser tab.",
    )
    if not thresholds:
        st.caption("No model of this run has a safe threshold.")


def _accept_from(thresholds: Mapping[str, ThresholdInUse]) -> str:
    accept_from(thresholds)
    return f"One image {'uses' if thresholds else 'no longer uses'} these thresholds."


def _delete(entry: Listed) -> str:
    access.require(Action.DELETE, runs.owner_of(entry.folder), entry.folder.name)
    if jobs.is_queued(entry.folder):
        job_controls.require_cancel(entry.folder)
    runs.to_bin(entry.folder, access.me())
    run_table_and_selection.choose([])
    return f"Moved {entry.title} ({entry.folder.name}) to the bin."


def show_bin(folder: Path) -> None:
    """Draw the runs in the bin of ``folder``, each with a button; nothing if it is empty."""
    entries = [
        entry
        for entry in runs.deleted(folder)
        if not access.refusal(Action.RESTORE, entry.entry.owner)
    ]
    if not entries:
        return
    with st.expander(f"Bin: {counted(len(entries), 'run')}", icon=":material/delete:"):
        for entry in entries:
            with st.container(horizontal=True, vertical_alignment="center"):
                name = entry.entry.folder.name
                said = f"{visible(entry.entry.title or name)} ({name})"
                if entry.when is None:
                    said += ", date of deletion unknown; stays here"
                else:
                    left = max(
                        0.0,
                        retention_and_storage_limits.bin_days() - (time.time() - entry.when) / DAY,
                    )
                    left_text = counted(round(left), "day") if left >= 1 else "less than a day"
                    by = f" by {visible(entry.by)}" if "@" in entry.by else ""
                    said += f", deleted{by}; gone in {left_text}"
                st.caption(plain(said), width="stretch")
                st.button(
                    "Bring back",
                    key=f"restore {name}",
                    icon=":material/restore_from_trash:",
                    on_click=do,
                    args=(_restore, folder, name),
                )


def _restore(folder: Path, name: str) -> str:
    access.require(Action.RESTORE, runs.owner_of(runs.binned(folder, name)), name)
    return f"Restored {runs.restore(folder, name).name}."
