"""The page from top to bottom: new evaluation, table, answer or comparison, bin."""

from __future__ import annotations

import streamlit as st

from robustness import runs
from robustness.base.text import counted
from robustness.runs import keeping
from robustness.ui import jobs
from robustness.ui.evaluations import comparison, form, match, presentation, table
from robustness.ui.evaluations import run as evaluation_run
from robustness.ui.frame import boundary
from robustness.ui.session import runs_folder, show_what_is_no_run
from robustness.ui.shared import opened_run


def introduction() -> str:
    """What the page is for; "" while a run is open alone, which needs the room."""
    if not table.is_listed(opens_form=bool(st.session_state.get(table.FORM))):
        return ""
    return "Evaluate models on many images: which to choose, where they fail, and what changed."


def show() -> None:
    """Draw the page."""
    presentation.frame()
    folder = runs_folder()
    keeping.tidy(folder)
    entries = runs.listing(folder)
    listed = {entry.folder.name: entry for entry in entries if not entry.reason}
    names = table.chosen()
    opens_form = form.is_open(bool(listed or names))
    lists = table.is_listed(opens_form)
    with st.container(horizontal=True, vertical_alignment="center", key="runs-tools"):
        form.button(bool(listed or names))
        if names and not opens_form:
            table.list_button(len(listed))
            entry = listed.get(names[0]) if len(names) == 1 else None
            if entry:
                is_active = not entry.finished and jobs.is_active(entry.folder)
                st.markdown(table.title(entry, is_active=is_active))
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
        form.form()
    if lists and listed:
        matches = table.matching(listed, text)
        if matches:
            table.show(folder, matches)
        count = counted(len(listed), "run")
        total = count if len(matches) == len(listed) else f"{len(matches):,} of {count}"
        st.caption(
            f"{total}. Click a title for its results; tick two or more to compare them.",
            help="On a keyboard: arrow keys move, Shift+Space ticks a run.",
        )
    if opens_form:
        pass  # the form takes the place of an answer
    elif len(names) > 1:
        comparison.show(names, {name: e for name, e in listed.items() if e.manifest})
    elif names and (entry := listed.get(names[0])) and entry.match:
        with boundary():
            match.show(entry, entry.match)
    elif names:
        with boundary():
            run = opened_run(names[0])
            evaluation_run.show_state(run)
            if run.images or not jobs.is_active(run.folder):
                evaluation_run.show(run, runs.listed(run.folder))
            evaluation_run.about(run)
    table.show_bin(folder)
    show_what_is_no_run(entries)
