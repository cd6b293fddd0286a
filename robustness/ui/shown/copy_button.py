"""A button that opens the current check as texts to copy, each of which reproduces it."""

from __future__ import annotations

import streamlit as st

from robustness.evaluation.request import Request
from robustness.pictures.picture import Picture
from robustness.report.copy_as import COMMAND, LINK, TOML, copies
from robustness.ui.work.memo import is_sample

_LANGUAGES = {LINK: None, COMMAND: "bash", TOML: "toml"}


def copy_button(spec: Request, picture: Picture, truth: str | None) -> None:
    """Draw the button; ``spec`` has one condition, and ``truth`` is the true class."""
    sample = picture.name if is_sample(picture) else None
    with st.popover("Copy as", icon=":material/content_copy:"):
        if sample is None:
            st.caption("Replace the file name with its path: links cannot include uploads.")
        for title, text in copies(spec, picture.name, sample=sample, truth=truth).items():
            if title == LINK:  # to this page, as this browser has opened it
                text = f"{(st.context.url or '').partition('?')[0].rstrip('/')}/{text}"
            st.markdown(f"**{title}**")
            st.code(text, language=_LANGUAGES.get(title, "python"), wrap_lines=True)
