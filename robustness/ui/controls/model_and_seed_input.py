"""The choice of models and the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.permission_policy_and_check import Action
from robustness.base.text import counted, plain
from robustness.perturbations.perturbation import MAX_SEED
from robustness.ui.session import access
from robustness.ui.session.choice_controls_and_link import keep_in_link, warn_of_link
from robustness.ui.session.error_boundary import sentence
from robustness.ui.session.runs_folder_and_links import page_link


def sidebar_input() -> tuple[tuple[str, ...], int]:
    """Draw the choice of models and the seed in the sidebar; returns both."""
    with st.sidebar:
        st.divider()
        names, seed = model_input(), seed_input()
        st.button(
            "Another draw",
            icon=":material/casino:",
            on_click=_take_next_seed,
            help="Random perturbations take the next seed.",
        )
        return names, seed


def _take_next_seed() -> None:
    st.session_state["seed"] = (st.session_state.get("seed", 0) + 1) % (MAX_SEED + 1)


def require_models(names: Sequence[str]) -> None:
    """Stop the page with a hint if ``names`` is empty.

    Raises ``AccessError`` if this session may not measure.
    """
    access.require(Action.MEASURE)
    if not names:
        st.info("Choose at least one model in the sidebar.", icon=":material/model_training:")
        st.stop()


def model_input() -> tuple[str, ...]:
    """Draw the choice of models, with the way to get more."""
    states = {record.name: models.state(record) for record in models.REGISTRY}
    ready = [name for name, state in states.items() if state.ready]
    if not ready:
        st.error(plain("; ".join(state.reason for state in states.values())))
        st.stop()
    default = list(models.default_names())
    for name in filter(None, st.query_params.get_all("models")):  # those that cannot run here
        try:
            models.require(models.REGISTRY[name])
        except RobustnessError as error:
            warn_of_link("models", name, sentence(error).removesuffix("."))
    # A label that is also the label or name of another model gives way to the name.
    used = Counter(text for record in models.REGISTRY for text in {record.name, record.label})
    texts = {
        record.name: record.label if used[record.label] == 1 else record.name
        for record in models.REGISTRY
    }
    options = {name: texts[name] for name in ready}
    keep_in_link("models", options, default, warns=False, goes_along=True)
    chosen = st.multiselect(
        "Models",
        ready,
        format_func=texts.__getitem__,
        key="models",
        placeholder="Choose at least one model",
    )
    if missing := len(states) - len(ready):
        label, query = f"Get {counted(missing, 'more model')}", {"view": "weights"}
        page_link("pages/models.py", label, ":material/download:", query)
    return tuple(chosen)


def seed_input() -> int:
    """Draw the seed of the random perturbations."""
    state, last = st.session_state, st.session_state.get("kept seed", 0)
    if last and state.get("arrived") and "seed" not in st.query_params:
        state["seed"], st.query_params["seed"] = last, str(last)
    seed = st.number_input(
        "Seed",
        min_value=0,
        max_value=MAX_SEED,
        step=1,
        key="seed",
        bind="query-params",
        help="The same seed gives the same noise, here and on the command line.",
    )
    state["kept seed"] = seed
    return int(seed)
