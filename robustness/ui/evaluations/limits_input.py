"""The limits that a release must meet: a loss since a baseline, or the budget of a file."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from robustness import gate
from robustness.base.errors import ParameterError
from robustness.base.permission_policy_and_check import Action
from robustness.base.text import plain
from robustness.gate.budget_rules import Rule
from robustness.runs import Run, find
from robustness.ui.evaluations import run_table_and_selection
from robustness.ui.session import access
from robustness.ui.session.runs_folder_and_links import baseline_id, runs_folder, set_baseline

_FILE, _UPLOADER = "budget file", "budget"
_ORIGIN = Path("the limits of this page")


def limits_input(run_id: str = "") -> None:
    """Draw the baseline, two limits, and the upload of a budget, which replaces them.

    ``run_id`` is that of the run that is checked, once it has one.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _baseline_input(run_id)
        for key, label in run_table_and_selection.LIMITS.items():
            st.number_input(
                label, 0.0, 100.0, None, key=key, bind="query-params", placeholder="no limit"
            )
    refused = access.refusal(Action.UPLOAD)
    with st.expander("Budget file", icon=":material/upload_file:"):
        st.file_uploader(
            "TOML",
            type="toml",
            key=_UPLOADER,
            on_change=_take_file,
            disabled=bool(refused),
            help=refused or "Replaces the limits, as in *robustness check*. Not in the link.",
        )
    if _FILE in st.session_state:
        name, _ = st.session_state[_FILE]
        st.button(
            f"Remove {plain(name)}",
            icon=":material/close:",
            on_click=st.session_state.pop,
            args=(_FILE, None),
        )


def budget() -> gate.Budget | None:
    """The limits of this session, if any; raises ``ParameterError`` for an invalid file."""
    if _FILE in st.session_state and not access.refusal(Action.UPLOAD):
        name, data = st.session_state[_FILE]
        return gate.read_budget(Path(name), data)
    rules = {
        "max_regression": st.session_state.get("max_loss"),
        "min_consistency": st.session_state.get("min_consistency"),
    }
    shares = {name: limit / 100 for name, limit in rules.items() if limit is not None}
    limits = [Rule.model_validate({name: share}) for name, share in shares.items()]
    return gate.Budget(_ORIGIN, tuple(limits)) if limits else None


def is_uploaded() -> bool:
    """Whether the limits are those of a file."""
    return _FILE in st.session_state


def baseline(budget: gate.Budget) -> Run | None:
    """The baseline, if ``budget`` compares with one; raises ``ParameterError`` without one."""
    if not budget.compares:
        return None
    folder = runs_folder()
    if not (name := baseline_id(folder)):
        raise ParameterError("Choose a baseline under Limits to check losses.")
    return find(folder, name)


def _take_file() -> None:
    file = st.session_state[_UPLOADER]
    if file is None:
        st.session_state.pop(_FILE, None)
    else:
        st.session_state[_FILE] = file.name, file.getvalue()


def _baseline_input(run_id: str) -> None:
    folder = runs_folder()
    titles = run_table_and_selection.comparable(folder)
    titles.pop(run_id, None)
    if not titles:
        st.caption("A limit on losses needs a baseline: first evaluate the current release.")
        return
    first = baseline_id(folder)
    st.session_state["limits baseline"] = first if first in titles else None
    st.selectbox(
        "Baseline",
        titles,
        format_func=titles.__getitem__,
        key="limits baseline",
        index=None,
        placeholder="Choose a run",
        on_change=lambda: set_baseline(st.session_state["limits baseline"] or ""),
    )
