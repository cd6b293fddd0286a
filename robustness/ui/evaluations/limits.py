"""The limits that a release must meet: a loss since a baseline, or the budget of a file."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

import streamlit as st

from robustness import gate
from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.roles import Action
from robustness.base.text import plain
from robustness.gate.budget import Rule
from robustness.runs import Run, find, notes, owner_of
from robustness.ui import session
from robustness.ui.evaluations import table
from robustness.ui.evaluations.table import BASELINE, LIMITS, LIMITS_TAKEN, change_link
from robustness.ui.session import (
    baseline_id,
    do,
    last_written,
    link_number,
    runs_folder,
    set_baseline,
    set_number,
)

_FILE = "budget file"
"""Key of the session: name and bytes of the budget that was uploaded, which the uploader loses."""

_UPLOADER = "budget"
_BASELINE_INPUT = "limits baseline"
_ORIGIN = Path("the limits of this page")


def take_limits(folder: Path) -> None:
    """Have the page take the limits of the run in ``folder`` when this run is opened.

    They are those in the link if it has any, otherwise those that are stored with the run.
    """
    if st.session_state.get(LIMITS_TAKEN) == folder.name:
        return
    st.session_state[LIMITS_TAKEN] = folder.name
    link = st.query_params
    stored = notes.read(folder)
    values: dict[str, float | None] = {}
    if any(key in link for key in (BASELINE, *LIMITS)):
        for key in LIMITS:
            values[key] = link_number(link.get(key, ""), 0, 100)
    else:
        for name, limit in stored.limits.items():
            values[name] = limit
    for key in LIMITS:
        value = values.get(key)
        # What the link has in place of a number is taken out of it.
        if value is not None or key in link:
            set_number(key, value)
    if stored.baseline and BASELINE not in link:
        link[BASELINE] = stored.baseline


def store_limits(folder: Path) -> None:
    """Store the limits of the page with the run in ``folder``, if this session may do that.

    Without that permission they are in the link of this visitor alone.
    """
    if session.refusal(Action.LIMIT, owner_of(folder)):
        return
    session.require(Action.LIMIT, owner_of(folder), folder.name)
    limits = {}
    for key in LIMITS:
        limit = st.session_state.get(key)
        if limit is not None:
            limits[key] = limit
    notes.update(folder, limits=limits, baseline=_baseline_id() if limits else "")


def limits_input(folder: Path | None = None, *, score: str = "") -> None:
    """Draw the baseline, two limits, and the upload of a budget, which replaces them.

    Changes are stored with the run in ``folder``; None in the form of a run that is not begun. A
    run of a ``score`` in place of predictions limits its mean, and has no consistency.
    """
    save = None if folder is None else partial(do, store_limits, folder)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _baseline_input(folder)
        for key, label in LIMITS.items():
            if key == ("min_consistency" if score else "min_score"):
                continue
            if key == "min_score":
                label = f"Min perturbed {plain(score)}, %"
            st.number_input(
                label,
                min_value=0.0,
                max_value=100.0,
                value=None,
                key=key,
                bind="query-params",
                placeholder="no limit",
                on_change=save,
            )
    if folder is not None:
        if session.refusal(Action.LIMIT, owner_of(folder)):
            st.caption("Your changes are in your link alone.")
        else:
            st.caption("Stored with the run and its link.")
    _budget_input()


def _budget_input() -> None:
    """Draw the upload of a budget, and the button that removes it."""
    refused = session.refusal(Action.UPLOAD)
    with st.expander("Budget file", icon=":material/upload_file:"):
        st.file_uploader(
            "TOML",
            type="toml",
            key=_UPLOADER,
            on_change=_take_file,
            disabled=bool(refused),
            help=refused
            or "Or a domain. Replaces the limits, as in *robustness check*. Not in the link.",
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
    """The budget of the uploaded file, or of the two limits; None without any limit.

    Raises ``ParameterError`` for an invalid file.
    """
    if _FILE in st.session_state and not session.refusal(Action.UPLOAD):
        name, data = st.session_state[_FILE]
        return gate.read_budget(Path(name), data)
    percentages = {
        "max_regression": st.session_state.get("max_loss"),
        "min_consistency": st.session_state.get("min_consistency"),
        "min_accuracy": st.session_state.get("min_score"),
    }
    rules = []
    for name, percentage in percentages.items():
        if percentage is not None:
            rules.append(Rule.model_validate({name: percentage / 100}))
    if not rules:
        return None
    return gate.Budget(_ORIGIN, tuple(rules))


def is_uploaded() -> bool:
    """Whether the limits are those of a file."""
    return _FILE in st.session_state


def baseline(budget: gate.Budget) -> Run | None:
    """The run that ``budget`` compares with; None for a budget that compares with none.

    Raises ``ParameterError`` where no baseline is chosen.
    """
    if not budget.compares:
        return None
    name = _baseline_id()
    if not name:
        raise ParameterError("Choose a baseline under Limits to check losses.")
    if st.query_params.get(BASELINE) != name:
        st.query_params[BASELINE] = name  # the default, too: another may be pinned some day
    return find(runs_folder(), name)


def _baseline_id() -> str:
    """The id of the run that the link compares with, by default that of all comparisons.

    It is "" where neither is set.
    """
    folder = runs_folder()
    name = st.query_params.get(BASELINE)
    if name:
        with contextlib.suppress(RobustnessError):  # the link may say anything
            if last_written(folder, name):
                return name
    return baseline_id(folder)


def _take_file() -> None:
    file = st.session_state[_UPLOADER]
    if file is None:
        st.session_state.pop(_FILE, None)
    else:
        st.session_state[_FILE] = file.name, file.getvalue()


def _baseline_input(folder: Path | None) -> None:
    """Draw the choice of a finished run, other than that in ``folder``, as the baseline."""
    titles = table.comparable(runs_folder())
    if folder is not None:
        titles.pop(folder.name, None)
    if not titles:
        st.caption("A limit on losses needs a baseline: first evaluate the current release.")
        return
    baseline = _baseline_id()
    st.session_state[_BASELINE_INPUT] = baseline if baseline in titles else None
    st.selectbox(
        "Baseline",
        titles,
        format_func=titles.__getitem__,
        key=_BASELINE_INPUT,
        index=None,
        placeholder="Choose a run",
        on_change=do,
        args=(_take_baseline, folder),
    )


def _take_baseline(folder: Path | None) -> None:
    name = st.session_state[_BASELINE_INPUT] or ""
    set_baseline(name)
    change_link({BASELINE: name})
    if folder is not None:
        store_limits(folder)
