"""The page from top to bottom: new evaluation, table, answer or comparison, bin."""

from __future__ import annotations

import streamlit as st

from robustness import runs
from robustness.base.text import counted
from robustness.runs import retention_and_storage_limits
from robustness.ui.computation import job_controls
from robustness.ui.computation.shared_results import opened_run
from robustness.ui.evaluations import (
    comparison_view,
    match_form_and_view,
    new_evaluation_form_and_preview,
    presentation,
    run_actions_and_bin,
    run_table_and_selection,
    run_view,
)
from robustness.ui.page_frame import boundary
from robustness.ui.session.runs_folder_and_links import runs_folder, show_what_is_no_run


def introduction() -> str:
    """What the page is for; "" while a run is open alone, which needs the room."""
    if not run_table_and_selection.is_listed(
        opens_form=bool(st.session_state.get(run_table_and_selection.FORM))
    ):
        return ""
    return "Evaluate models on many images: which to choose, where they fail, and what changed."


def show() -> None:
    """Draw the page."""
    presentation.frame()
    folder = runs_folder()
    retention_and_storage_limits.tidy(folder)
    entries = runs.listing(folder)
    listed = {entry.folder.name: entry for entry in entries if not entry.reason}
    names = run_table_and_selection.chosen()
    opens_form = new_evaluation_form_and_preview.is_open(bool(listed or names))
    lists = run_table_and_selection.is_listed(opens_form)
    with st.container(horizontal=True, vertical_alignment="center", key="runs-tools"):
        new_evaluation_form_and_preview.button(bool(listed or names))
        if names and not opens_form:
            run_table_and_selection.list_button(len(listed))
            if len(names) == 1 and names[0] in listed:
                st.markdown(run_table_and_selection.title(listed[names[0]]))
        text = ""
        if lists and listed:
            text = st.text_input(
                "Search",
                key="search",
                bind="query-params",
                placeholder="title, tag, model or perturbation",
                icon=":material/search:",
                label_visibility="collapsed",
            )
    if opens_form:
        new_evaluation_form_and_preview.form()
    if lists and listed:
        matches = run_table_and_selection.matching(listed, text)
        if matches:
            run_table_and_selection.show(folder, matches)
        count = counted(len(listed), "run")
        total = count if len(matches) == len(listed) else f"{len(matches):,} of {count}"
        st.caption(
            f"{total}. Click a title for its results; tick two or more to compare them.",
            help="On a keyboard: arrow keys move, Shift+Space ticks a run.",
        )
    if opens_form:
        pass  # the form takes the place of an answer
    elif len(names) > 1:
        comparison_view.show(names, {name: e for name, e in listed.items() if e.manifest})
    elif names and (entry := listed.get(names[0])) and entry.match:
        with boundary():
            match_form_and_view.show(entry, entry.match)
    elif names:
        with boundary():
            run = opened_run(names[0])
            run_view.show_state(run)
            if run.images or not job_controls.is_active(run.folder):
                run_view.show(run, runs.listed(run.folder))
            run_view.about(run)
    run_actions_and_bin.show_bin(folder)
    show_what_is_no_run(entries)
