"""Download of a model's weights on a page: button, progress and Cancel."""

from __future__ import annotations

import streamlit as st

from robustness import models
from robustness.base.permissions import Action
from robustness.base.progress import MEGABYTES, Pace
from robustness.models.weights.fetch import download
from robustness.models.weights.weight_files import find_whole, lacks_package, size_text
from robustness.ui.computation.progress import Work
from robustness.ui.page import boundary
from robustness.ui.session import access


def download_button(record: models.ModelRecord) -> None:
    """Draw a button that fetches the published weights of ``record``, unless they are here.

    There is none for a model that needs a package first. During the download, progress, rate, time
    left and a Cancel button follow.
    """
    weights = record.weights
    if not weights.url or lacks_package(record) or find_whole(weights) is not None:
        return
    work = Work(f"download of {record.name}", record.name)
    st.button(
        f"Download {size_text(record)}",
        icon=":material/download:",
        on_click=_ask,
        args=(record, work),
        **access.allowed(
            Action.DOWNLOAD_WEIGHTS,
            key=f"download_{record.name}",
            thing=record.name,
            help=f"Fetches the published ImageNet weights of {record.label}.",
        ),
    )
    if work.requested:
        with boundary():
            _fetch(record, work)
    elif work.cancelled:
        st.info("Download cancelled.", icon=":material/block:")


def _ask(record: models.ModelRecord, work: Work) -> None:
    if not access.refused(Action.DOWNLOAD_WEIGHTS, thing=record.name):
        work.ask()


def _fetch(record: models.ModelRecord, work: Work) -> None:
    access.require(Action.DOWNLOAD_WEIGHTS, thing=record.name)
    pace = Pace(MEGABYTES)
    with work.bar(f"Connecting for {record.label} …") as show:

        def note(done: int, total: int) -> None:
            pace.note(done, total)
            show(done / total if total else 0.0, pace.text)

        download(record.name, note)
    st.rerun()
