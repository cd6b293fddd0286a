"""The limits that a release must meet: a loss since a baseline, or the budget of a file."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from robustness import gate
from robustness.base.errors import ParameterError
from robustness.base.permissions import Action
from robustness.base.text import plain
from robustness.gate.budget import Rule
from robustness.runs import Run, find
from robustness.ui.evaluations import run_table
from robustness.ui.session import access
from robustness.ui.session.inputs import link_number
from robustness.ui.session.run_link import baseline_id, runs_folder, set_baseline

_FILE, _UPLOADER = "budget file", "budget"
_ORIGIN = Path("the limits of this page")


def limits_input() -> None:
    """Draw the baseline, two limits, and the upload of a budget, which replaces them."""
    numbers = {
        "max_loss": "Max loss of consistency, points",
        "min_consistency": "Min consistency, %",
    }
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _baseline_input()
        for key, label in numbers.items():
            st.number_input(
                label, 0.0, 100.0, None, key=key, bind="query-params", placeholder="no limit"
            )
    refused = access.refusal(Action.UPLOAD)
    with st.expander("Budget file", icon=":material/upload_file:"):
        st.file_uploader(
            "TOML",
            type="toml",
            key=_UPLOADER,
            on_change=_take,
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
        return gate.budget_of(data, name)
    rules = {
        "max_regression": _number("max_loss"),
        "min_consistency": _number("min_consistency"),
    }
    shares = {name: limit / 100 for name, limit in rules.items() if limit is not None}
    limits = [Rule.model_validate({name: share}) for name, share in shares.items()]
    return gate.Budget(_ORIGIN, tuple(limits)) if limits else None


def baseline(budget: gate.Budget) -> Run | None:
    """The baseline, if ``budget`` compares with one; raises ``ParameterError`` without one."""
    if not budget.compares:
        return None
    folder = runs_folder()
    if not (name := baseline_id(folder)):
        raise ParameterError(
            f"Expected a baseline for {budget.path}, which limits a loss; got none. Choose one "
            "under Limits, or pin one under Manage."
        )
    return find(folder, name)


def _number(key: str) -> float | None:
    """The limit ``key``: a control that is not drawn is still in the link."""
    value: float | None = st.session_state.get(key)
    return link_number(st.query_params.get(key, ""), 0, 100) if value is None else value


def _take() -> None:
    file = st.session_state[_UPLOADER]
    if file is None:
        st.session_state.pop(_FILE, None)
    else:
        st.session_state[_FILE] = file.name, file.getvalue()


def _baseline_input() -> None:
    folder = runs_folder()
    titles = run_table.comparable(folder)
    if not titles:
        st.caption("A limit on losses needs a baseline: first evaluate the current release.")
        return
    first = baseline_id(folder)
    st.session_state["limits baseline"] = first if first in titles else None
    st.selectbox(
        "Baseline",
        list(titles),
        format_func=titles.__getitem__,
        key="limits baseline",
        index=None,
        placeholder="Choose the evaluation of the current release",
        on_change=lambda: set_baseline(st.session_state["limits baseline"] or ""),
    )
