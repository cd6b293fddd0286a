"""The download of a model's weights on a page: a button, how far it is, and a way to stop it."""

from __future__ import annotations

import streamlit as st

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.pace import MEGABYTES, Pace
from robustness.models.fetching.download import download
from robustness.models.weights import find_whole, size_text
from robustness.ui.kit.text import plain


def download_button(record: models.ModelRecord) -> None:
    """A button that fetches the published weights of ``record``; none where they are here.

    While they come it is followed by the bytes, their rate, the time left and a way to stop.
    """
    if not isinstance(record.weights, models.PublishedFile | models.Preset):
        return
    if find_whole(record.weights) is not None:
        return
    cancelled = _cancelled(record.name)
    asked = st.button(
        f"Download {size_text(record)}",
        key=f"download_{record.name}",
        icon=":material/download:",
        help=f"Fetches the published ImageNet weights of {record.label}.",
        on_click=st.session_state.pop,
        args=(cancelled, None),
    )
    if asked:
        _fetch(record)
    elif st.session_state.get(cancelled):
        st.info(
            "Cancelled. What has arrived is kept and continued next time.",
            icon=":material/block:",
        )


def _cancelled(name: str) -> str:
    return f"cancelled download {name}"


def _fetch(record: models.ModelRecord) -> None:
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, text=f"Connecting for {record.label} …")
        # Pressing it reruns the page, which stops this run the next time that the bar is drawn.
        st.button(
            "Cancel",
            key=f"cancel_{record.name}",
            on_click=st.session_state.update,
            args=({_cancelled(record.name): True},),
        )
    pace = Pace(MEGABYTES)

    def show(done: int, total: int) -> None:
        pace.note(done, total)
        bar.progress(min(1.0, done / total) if total else 0.0, text=pace.text)

    try:
        download(record.name, show)
    except RobustnessError as error:
        place.empty()
        st.error(plain(str(error)))
    else:
        st.rerun()
