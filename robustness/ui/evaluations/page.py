"""The page from top to bottom: new evaluation, table, answer or comparison, bin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from robustness import runs
from robustness.base.text import counted
from robustness.runs import Listed, MatchRequest, TrainingRequest, keeping
from robustness.ui import jobs
from robustness.ui.evaluations import comparison, form, match, presentation, table, train
from robustness.ui.evaluations import run as evaluation_run
from robustness.ui.frame import boundary
from robustness.ui.session import runs_folder, show_what_is_no_run
from robustness.ui.shared import opened_run


def introduction() -> str:
    """A sentence on what the page is for; "" while a run is open alone, which needs the room."""
    if not table.is_listed(opens_form=bool(st.session_state.get(table.FORM))):
        return ""
    return "Evaluate models on many images: which to choose, where they fail, and what changed."


def show() -> None:
    """Draw the page from top to bottom."""
    presentation.frame()
    folder = runs_folder()
    keeping.tidy(folder)
    entries = runs.listing(folder)
    listed = {entry.folder.name: entry for entry in entries if not entry.reason}
    names = table.chosen()
    has_runs = bool(listed or names)
    opens_form = form.is_open(has_runs)
    shown = {name: entry for name, entry in listed.items() if not train.refusal(entry)}
    shows_table = bool(shown) and table.is_listed(opens_form)
    searched = ""
    with st.container(horizontal=True, vertical_alignment="center", key="runs-tools"):
        form.button(has_runs)
        if names and not opens_form:
            table.list_button(len(shown))
            if len(names) == 1 and names[0] in shown:
                entry = shown[names[0]]
                is_active = not entry.finished and jobs.is_active(entry.folder)
                st.markdown(table.title(entry, is_active=is_active))
        if shows_table:
            searched = st.text_input(
                "Search",
                key="search",
                bind="query-params",
                placeholder="title, tag, model or perturbation",
                icon=":material/search:",
                label_visibility="collapsed",
            )
    if opens_form:
        form.form()
    if shows_table:
        _draw_table(folder, shown, searched)
    if names and not opens_form:  # the form takes the place of an answer
        _draw_answer(names, listed)
    table.show_bin(folder)
    show_what_is_no_run(entries)


def _draw_table(folder: Path, listed: Mapping[str, Listed], searched: str) -> None:
    """Draw the table of the runs in which all words of ``searched`` are found."""
    matches = table.matching(listed, searched)
    if matches:
        table.show(folder, matches)
    total = counted(len(listed), "run")
    if len(matches) != len(listed):
        total = f"{len(matches):,} of {total}"
    st.caption(
        f"{total}. Click a title for its results; tick two or more to compare them.",
        help="On a keyboard: arrow keys move, Shift+Space ticks a run.",
    )


def _draw_answer(names: Sequence[str], listed: Mapping[str, Listed]) -> None:
    """Draw what the link names: a comparison of runs, a match, a training, or a run."""
    if len(names) > 1:
        comparison.show(names, {name: entry for name, entry in listed.items() if entry.manifest})
        return
    entry = listed.get(names[0])
    with boundary():
        if entry is not None and isinstance(entry.record, MatchRequest):
            match.show(entry, entry.record)
            return
        if entry is not None and isinstance(entry.record, TrainingRequest):
            train.show_training(entry, entry.record)
            return
        run = opened_run(names[0])
        evaluation_run.show_state(run)
        if run.images or not jobs.is_active(run.folder):
            evaluation_run.show(run, runs.listed(run.folder))
        evaluation_run.about(run)
