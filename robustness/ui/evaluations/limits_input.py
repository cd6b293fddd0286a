"""The limits that a release must meet: a loss since a baseline, or the budget of a file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import streamlit as st

from robustness import gate
from robustness.base.errors import ParameterError
from robustness.base.permission_policy_and_check import Action
from robustness.base.text import plain
from robustness.evaluation.perturbation_and_attack_conditions import Condition, pool_profiles
from robustness.evaluation.request import Request
from robustness.gate.budget_rules import Rule
from robustness.runs import Run, find, listing
from robustness.ui.evaluations import run_table_and_selection
from robustness.ui.session import access
from robustness.ui.session.runs_folder_and_links import baseline_id, runs_folder, set_baseline

_FILE, _UPLOADER = "budget file", "budget"
_ORIGIN = Path("the limits of this page")


def limits_input(
    names: Collection[str], conditions: Collection[Condition], source: str | None, run_id: str = ""
) -> None:
    """Draw the baseline, two limits, and the upload of a budget, which replaces them.

    The others say what is checked: its models, conditions and source, and its id once it has one.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _baseline_input(names, conditions, source, run_id)
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


def _baseline_input(
    names: Collection[str], conditions: Collection[Condition], source: str | None, run_id: str
) -> None:
    folder = runs_folder()
    effects = {condition.effect for condition in pool_profiles(conditions)}

    def cannot(spec: Request) -> bool:
        """Whether a run of ``spec`` shares no model and condition with what is checked."""
        shared = {condition.effect for condition in spec.pooled_conditions} & effects
        return not (shared and {*spec.model_names} & {*names})

    order = {
        entry.folder.name: (cannot(entry.manifest.spec), entry.manifest.dataset.source != source)
        for entry in listing(folder)
        if entry.manifest and entry.folder.name != run_id
    }
    titles = {
        name: title
        for name, title in run_table_and_selection.comparable(folder).items()
        if name in order
    }
    if not titles:
        st.caption("A limit on losses needs a baseline: first evaluate the current release.")
        return
    first = baseline_id(folder)
    st.session_state["limits baseline"] = first if first in titles else None
    last = sum(order[name][0] for name in titles)
    st.selectbox(
        "Baseline",
        sorted(titles, key=order.__getitem__),
        format_func=titles.__getitem__,
        key="limits baseline",
        index=None,
        placeholder="Choose the evaluation of the current release",
        on_change=lambda: set_baseline(st.session_state["limits baseline"] or ""),
        help="Runs of the same images come first."
        + (f" The last {last} share no model and condition with this one." if last else ""),
    )
