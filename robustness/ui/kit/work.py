"""Long work on a page: what is being done, how far it is, and a way to stop it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import streamlit as st

from robustness.base.errors import RobustnessError
from robustness.ui.kit.text import plain

Item = TypeVar("Item")


def shown(items: Iterable[Item], total: int, what: str, key: str) -> Iterator[Item]:
    """Passes on ``items`` while a bar says how many of ``total`` have come.

    The button beside the bar reruns the page, which stops the script between two items. ``key``
    names the work, so that other work is not taken for cancelled too. An error for the user ends
    the page in its sentence.
    """
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        bar = st.progress(0.0, text=f"{what}: loading the models …")
        st.button("Cancel", key=f"cancel {what}", on_click=_cancel, args=(what, key))
    try:
        for done, item in enumerate(items, start=1):
            bar.progress(min(1.0, done / total), text=f"{what}: {done} of {total}")
            yield item
    except RobustnessError as error:  # a model of the user's may turn out unusable
        place.error(plain(str(error)), icon=":material/error:")
        st.stop()
    place.empty()


def _cancel(what: str, key: str) -> None:
    st.session_state[f"cancelled {what}"] = key


def was_cancelled(what: str, key: str) -> bool:
    """Whether the work ``key`` was cancelled; says so, with a button to start again."""
    if st.session_state.get(f"cancelled {what}") != key:
        return False
    st.warning("Cancelled. Nothing was lost; start again when you like.", icon=":material/block:")
    st.button("Start again", on_click=st.session_state.pop, args=(f"cancelled {what}", None))
    return True
