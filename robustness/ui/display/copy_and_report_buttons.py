"""Buttons that copy the current check as text, and that download a result's report."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from robustness.evaluation.request import Request
from robustness.pictures.framed_picture import Picture
from robustness.report import FORMATS, Report
from robustness.report.copy_as_link_or_code import (
    COMMAND,
    LINK,
    PYTHON,
    TOML,
    WRITTEN,
    reproduction_texts,
)
from robustness.report.formats import Format, Write, rendered
from robustness.ui.computation.shared_results import is_sample

_LANGUAGES = {LINK: None, COMMAND: "bash", WRITTEN: "bash", PYTHON: "python", TOML: "toml"}


def copy_button(spec: Request, picture: Picture, truth: str | None) -> None:
    """Draw the button; ``spec`` has one condition, and ``truth`` is the true class."""
    sample = picture.name if is_sample(picture) else None
    with st.popover("Copy as", icon=":material/content_copy:"):
        if sample is None:
            st.caption("Replace the file name with its path: links cannot include uploads.")
        for title, text in reproduction_texts(
            spec, picture.name, sample=sample, truth=truth
        ).items():
            if title == LINK:  # to this page, as this browser has opened it
                text = f"{(st.context.url or '').partition('?')[0].rstrip('/')}/{text}"
            st.markdown(f"**{title}**")
            st.code(text, language=_LANGUAGES[title], wrap_lines=True)


def report_button(build: Callable[[], Report], name: str) -> None:
    """Draw the button of the HTML, and those of the other formats in a popover.

    ``name`` is the files' name without a suffix.
    A click calls ``build`` outside of the page's thread; the page does not rerun.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "report"

    def button(format: Format, label: str, suffix: str, write: Write) -> None:
        is_first = format is first
        st.download_button(
            "Report" if is_first else label,
            partial(_file, build, write),
            f"{stem}{suffix}",
            format.mime,
            key=f"report {label}",
            icon=f":material/{format.icon}:",
            on_click="ignore",
            help="One HTML file; opens offline. For a PDF, print it." if is_first else None,
            width="content" if is_first else "stretch",
        )

    first, *others = (format for format in FORMATS.values() if not format.needs_browser)
    with st.container(horizontal=True, vertical_alignment="center", width="content", gap="xsmall"):
        button(first, first.label, first.suffix, first.write)
        with st.popover("Other formats"), st.container(key="report-formats", gap="small"):
            for format in others:
                button(format, format.label, format.suffix, format.write)
                if format.companion is not None:
                    label = f"Columns of the {format.label}"
                    button(format, label, format.companion_suffix, format.companion)


def _file(build: Callable[[], Report], write: Write) -> bytes:
    return rendered(build(), write, datetime.now(UTC))
