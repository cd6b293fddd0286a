"""Present mode of the Live page, and the stories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from robustness.base.text import plain
from robustness.pictures.fitting import DEFAULT_FIT
from robustness.pictures.picture import Picture
from robustness.ui.live.stories import STORIES
from robustness.ui.session.run_link import page_link
from robustness.ui.work.memo import is_sample

_PRESENT = "present"
_STYLE = Path(__file__).with_name("present.css")


def presenting() -> bool:
    """Whether the link asks for Present mode."""
    return str(st.query_params.get(_PRESENT)) == "true"


def frame() -> None:
    """Draw the exit of Present mode and its style, in a container that keeps the elements below."""
    with st.container(key="presenting"):
        if presenting():
            st.html(_STYLE)
            st.button("Leave", key="leave", type="tertiary", on_click=_leave, shortcut="Esc")


def _leave() -> None:
    st.query_params.pop(_PRESENT, None)


def _present() -> None:
    st.query_params[_PRESENT] = "true"


def buttons() -> None:
    """Draw the Stories menu and the Present button."""
    # A new key closes the menu after a choice: open, it would cover the page.
    key = f"stories {st.query_params.get('story')}"
    with st.popover("Stories", icon=":material/auto_stories:", key=key):
        st.caption("Short demonstrations with the four bundled models.")
        for story in STORIES:
            page_link(story.page, story.title, ":material/play_circle:", story.link)
    st.button(
        "Present",
        icon=":material/present_to_all:",
        key="present",
        on_click=_present,
        help="Large type for an audience: images, predictions and sliders only. Escape ends it.",
    )


def show_story(picture: Picture, names: Sequence[str], seed: int, subject: str) -> None:
    """Draw what to watch, if the link names a story and the page still shows it.

    ``subject`` is what the page shows, in the form of ``Story.subject``.
    """
    story = next((one for one in STORIES if one.name == st.query_params.get("story")), None)
    if story is None or not (
        (picture.name, picture.fit) == (story.sample, DEFAULT_FIT)
        and is_sample(picture)
        and set(story.query["models"]) <= {*names}
        and (seed, subject) == (0, story.subject)
    ):
        st.empty()  # holds the place, so that the elements below keep theirs
    else:
        st.info(f"**{plain(story.title)}.** {plain(story.watch)}", icon=":material/auto_stories:")
