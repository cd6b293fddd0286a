"""The choice of models, with the download of those whose weights are missing; and the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, plain
from robustness.models.weights import size_text, state_text
from robustness.perturbations import MAX_SEED
from robustness.ui.kit.downloads import download_button
from robustness.ui.kit.inputs import keep, restore


def sidebar_input() -> tuple[tuple[str, ...], int]:
    """The models to ask and the seed, chosen in the sidebar."""
    with st.sidebar:
        st.divider()
        return _model_input(), _seed_input()


def ask_for_a_model() -> None:
    """Says that none is chosen."""
    st.info("Choose at least one model in the sidebar.", icon=":material/model_training:")


def require_models(names: Sequence[str]) -> None:
    """Asks for a model and ends the page where there is none among ``names``."""
    if not names:
        ask_for_a_model()
        st.stop()


def _model_input() -> tuple[str, ...]:
    """The models to ask; those without weights are listed with their reason and a download."""
    states = {record.name: models.state(record) for record in models.REGISTRY}
    ready = [name for name, state in states.items() if state.ready]
    if not ready:
        st.error(plain("; ".join(state.reason for state in states.values())))
        st.stop()
    default = list(models.default_names())
    _say_what_the_link_cannot_have(states)
    restore("models", default)
    chosen = st.multiselect(
        "Models",
        ready,
        default=default,
        key="models",
        on_change=st.session_state.pop,
        args=("refused models", None),
        bind="query-params",
        placeholder="Choose at least one model",
    )
    keep("models", chosen)
    missing = [record for record in models.REGISTRY if not states[record.name].ready]
    if missing:
        with st.expander(f"{counted(len(missing), 'model')} not ready", icon=":material/download:"):
            st.caption("Nothing is put in their place. Their published files can be fetched here.")
            for record in missing:
                state = states[record.name]
                text = state_text(record, state)
                st.markdown(f"**{plain(record.label)}** · {text}, {size_text(record)}")
                if state.path or not isinstance(record.weights, models.PublishedFile):
                    st.caption(plain(state.reason))
                download_button(record)
    return tuple(chosen)


def _say_what_the_link_cannot_have(states: Mapping[str, models.WeightsState]) -> None:
    """Names each model of the link that cannot run here, until another choice is made."""
    asked = [name for name in st.query_params.get_all("models") if name]
    refused = [name for name in asked if name not in states or not states[name].ready]
    if refused:  # said again on the next runs, when the link has been mended
        st.session_state["refused models"] = refused
    for name in st.session_state.get("refused models", []):
        try:
            models.require(models.REGISTRY[name])
        except RobustnessError as error:
            st.warning(plain(f"Asked for by the link: {error}"), icon=":material/link_off:")


def _seed_input() -> int:
    """The seed of the random perturbations."""
    restore("seed", 0)
    seed = st.number_input(
        "Seed",
        min_value=0,
        max_value=MAX_SEED,
        step=1,
        key="seed",
        bind="query-params",
        help="The same seed gives the same noise, here and on the command line.",
    )
    keep("seed", seed)
    return int(seed)
