"""A button that opens what is on screen as texts to copy: each gives the same answers elsewhere."""

from __future__ import annotations

import streamlit as st

from robustness.evaluation.spec import RunSpec
from robustness.pictures.samples import REGISTRY as SAMPLES
from robustness.report.copy_as import COMMAND, LINK, PYTHON, TOML, copies

_LANGUAGES = {LINK: None, COMMAND: "bash", PYTHON: "python", TOML: "toml"}


def copy_button(spec: RunSpec, picture_name: str) -> None:
    """Draws the button; ``spec`` has one condition, and ``picture_name`` may be a sample's."""
    sample = picture_name if picture_name in SAMPLES else None
    with st.popover("Copy as", icon=":material/content_copy:"):
        if sample is None:
            st.caption("In place of the file's name put where it lies; a link cannot carry it.")
        for title, text in copies(spec, picture_name, sample=sample).items():
            st.markdown(f"**{title}**")
            st.code(text, language=_LANGUAGES[title], wrap_lines=True)
