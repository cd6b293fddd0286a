"""The choice of models, and the download of those whose weights are missing."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from robustness import models
from robustness.errors import DownloadError, RobustnessError
from robustness.models.download import download
from robustness.models.weights import megabytes
from robustness.ui.state import keep, restore
from robustness.ui.text import plain


def model_input() -> tuple[str, ...]:
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
        with st.expander(f"{len(missing)} models without weights", icon=":material/download:"):
            st.caption("Nothing is put in their place. Their published files can be fetched here.")
            for record in missing:
                _missing_model(record, states[record.name])
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


def _missing_model(record: models.ModelRecord, state: models.WeightsState) -> None:
    st.markdown(
        f"**{record.label}** · {'damaged' if state.path else 'weights missing'}, "
        f"{megabytes(record.weights.size)}"
    )
    if state.path or not isinstance(record.weights, models.PublishedFile):
        st.caption(plain(state.reason))
    if isinstance(record.weights, models.PublishedFile) and st.button(
        f"Download {megabytes(record.weights.size)}",
        key=f"download_{record.name}",
        icon=":material/download:",
        help=f"Fetches the official ImageNet weights of {record.label}.",
    ):
        _fetch(record)


def _fetch(record: models.ModelRecord) -> None:
    bar = st.progress(0.0, text=f"Connecting for {record.label} …")
    # Pressing it reruns the page, which stops the download; nothing half-fetched is kept.
    cancel = st.empty()
    cancel.button("Cancel", key=f"cancel_{record.name}")

    def show(done: int, total: int) -> None:
        bar.progress(min(1.0, done / total), text=f"{megabytes(done)} of {megabytes(total)}")

    try:
        download(record.name, show)
    except DownloadError as error:
        bar.empty()
        cancel.empty()
        st.error(plain(str(error)))
    else:
        st.rerun()
