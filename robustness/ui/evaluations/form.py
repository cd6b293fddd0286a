"""The form of a new run: what it will read, its size, and the start button."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import streamlit as st

from robustness import models, runs
from robustness.base.errors import ImageError, LabelError, ParameterError
from robustness.base.roles import Action
from robustness.base.text import counted, plain, some
from robustness.datasets import Dataset
from robustness.images.pixels import to_png
from robustness.images.sandbox import BusyError, untrusted_image
from robustness.measure.request import OWN_PREPROCESSING
from robustness.runs import Plan, planning
from robustness.ui import jobs, session
from robustness.ui.evaluations import limits, match, table
from robustness.ui.evaluations.inputs import (
    DEFAULTS,
    MATCH,
    QUESTION,
    RELEASE,
    WITHOUT_CLASSES,
    NewRun,
    dataset_of,
    last_written,
    question_input,
    run_input,
    side_note,
)
from robustness.ui.evaluations.table import FORM, PROFILE
from robustness.ui.frame import boundary
from robustness.ui.jobs import begin
from robustness.ui.session import RUN, runs_folder
from robustness.ui.shared import cached

FRAMES_AT_ONCE = 44
"""Images and their perturbed versions between two checks for cancelling."""

MAX_THUMBNAILS = 12
_SIDE = 72  # pixels
_MOST = 48
_SECONDS_FOR_ONE = 10.0
_SECONDS = 3.0
"""Images of the first look; the time until the first can be read, and that for the others."""


@dataclass
class Look:
    """The first images of a dataset: small PNGs, how many were tried, and why some failed."""

    thumbnails: list[tuple[str, bytes]]
    tried: int
    reasons: list[str]
    whole: bool = False
    """Whether every image was tried."""

    @property
    def nothing(self) -> bool:
        """Whether every image was tried and none could be read."""
        return self.whole and not self.thumbnails


def is_open(has_runs: bool) -> bool:
    """Whether the form is open: on request, for a link to it, and while there is no run.

    A profile in the link opens it for as long as it is there.
    """
    requested = any(name in st.query_params for name in ("source", QUESTION))
    opened = any(name in st.query_params for name in (RUN, table.COMPARE, PROFILE))
    is_open = st.session_state.setdefault(FORM, requested and not opened)
    return bool(is_open or not has_runs or PROFILE in st.query_params)


def button(has_runs: bool) -> None:
    """Draw the button that opens the form, or closes it; none while the form is all there is."""
    if not has_runs:
        return
    opened = is_open(has_runs)
    st.button(
        "Close" if opened else "New evaluation",
        key="open form",
        type="secondary" if opened else "primary",
        icon=":material/close:" if opened else ":material/add:",
        on_click=_toggle,
        args=(not opened,),
    )


def _toggle(opens: bool) -> None:
    st.session_state[FORM] = opens
    st.query_params.pop(PROFILE, None)
    if st.session_state.pop(DEFAULTS, None) == RELEASE and not opens:
        table.forget_limits()  # they were for the run that is not begun


def form() -> None:
    """Draw the controls of a new evaluation and start it on demand."""
    with (
        st.container(border=True, key="new-evaluation"),
        boundary(":material/folder_off:"),
    ):
        question = question_input()
        if question == MATCH:
            match.form()
            return
        new = run_input(question)
        if new is not None:
            if note := side_note(new.spec):
                st.info(plain(note), icon=":material/aspect_ratio:")
            _begin(new)


@cached(8)
def _planned(new: NewRun, digest: str, written: tuple[int, ...], _look: Look) -> tuple[Plan, str]:
    """The plan of the run ``new`` and what it reads; ``digest`` is that of its request."""
    try:
        plan = runs.plan(
            dataset_of(new.source, written),
            new.spec,
            labelling=new.labelling,
            limit=new.limit,
            batch=max(
                1, FRAMES_AT_ONCE // (len(new.spec.by_framing) * (1 + len(new.spec.conditions)))
            ),
        )
    except LabelError as error:
        raise LabelError(f"{error} {WITHOUT_CLASSES}") from error
    return plan, summary(plan, _look)


@cached(8, "Looking at the images …")
def _looked(source: str, written: tuple[int, ...]) -> Look:
    return look(dataset_of(source, written))


@cached(32, seconds=60)
def _forecast(folder: Path, request_json: str, images: int, _plan: Plan) -> planning.Forecast:
    """What the run will take; the list of runs is not read at every click."""
    return planning.from_earlier(_plan, folder)


def _begin(new: NewRun) -> None:
    """Draw the start button of the run ``new``."""
    written = last_written(new.source)
    digest = new.spec.digest
    looked = _looked(new.source, written)
    if looked.nothing:
        title = dataset_of(new.source, written).title
        raise ParameterError(
            f"Expected at least one readable image in {title}, got "
            f"{counted(looked.tried, 'file')} that cannot be read. {looked.reasons[0]}"
        )
    try:
        plan, about = _planned(new, digest, written, looked)
    except LabelError:
        _show_look(looked)  # the images can be read all the same
        raise
    estimate = _forecast(runs_folder(), plan.spec.digest, len(plan.dataset), plan)
    size = f"{estimate.size}. Time: {estimate.time}. Disk: {estimate.disk}."
    if len(new.spec.by_framing) > 1:
        size += f" {OWN_PREPROCESSING.capitalize()}."
    st.markdown(f"**{plain(about)}**")
    buttons = st.container(horizontal=True, vertical_alignment="center")
    _show_look(looked)
    with buttons:
        pressed = st.button(
            "Evaluate",
            type="primary",
            icon=":material/play_arrow:",
            **session.allowed(Action.EVALUATE, key="evaluate"),
        )
        st.caption(f"{size} Runs in the background. You can close this page.")
    if pressed:
        dataset_of.clear()  # evaluate the current content of the source
        _planned.clear()
        written = last_written(new.source)
        plan, _ = _planned(new, digest, written, looked)
        first = jobs.submit([plan])
        is_release = st.session_state[QUESTION] == RELEASE
        if is_release:
            for name in first:
                limits.store_limits(runs_folder() / name)
        table.choose(first, with_limits=is_release)
        st.rerun()


# --- what it will read ----------------------------------------------------------------------------


def look(entries: Dataset) -> Look:
    """Read the first images of ``entries`` within a time limit.

    A file that cannot be read in time, as on a network drive, is left to its thread.
    """
    first = Look([], 0, [])
    reading = begin(f"first images {id(first)}", lambda: _read(entries, first))
    until = time.monotonic() + _SECONDS_FOR_ONE
    while reading.is_alive() and not first.thumbnails and time.monotonic() < until:
        reading.join(0.05)
    if first.thumbnails:
        reading.join(_SECONDS)
    return Look(first.thumbnails[:], first.tried, first.reasons[:], first.whole)


def _read(entries: Dataset, look: Look) -> None:
    """Add the first images of ``entries`` to ``look`` one by one."""
    for entry in entries.entries:
        if look.thumbnails and look.tried >= _MOST:
            return
        try:
            if entry.refused:
                raise ImageError(entry.refused)
            image = untrusted_image(entries.read(entry), name=entry.name)
        except BusyError:
            return
        except ImageError as error:
            look.reasons.append(str(error))
        else:
            if len(look.thumbnails) < MAX_THUMBNAILS:
                small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
                png = to_png(np.asarray(small, np.float32))
                look.thumbnails.append((entry.name, png))
        look.tried += 1
    look.whole = True


def summary(plan: Plan, looked: Look) -> str:
    """Images, classes and unreadable ones in one sentence, such as "20 images in 20 classes"."""
    images = counted(len(plan.dataset), "image")
    parts = [f"{images}{_classes(plan)}"]
    if looked.reasons:
        among = "" if looked.tried == len(plan.dataset) else f" of the first {looked.tried}"
        parts.append(f"{len(looked.reasons):,}{among} unreadable")
    return "; ".join(parts)


def _classes(plan: Plan) -> str:
    """How many classes, of which set, and by what they were recognised."""
    titles = {labels.key: labels.title for labels, _ in models.by_labels(plan.spec.model_names)}
    labelled = {
        key: [at for at in positions if at is not None] for key, positions in plan.labels.items()
    }
    key = max(labelled, key=lambda kind: len(labelled[kind]), default="")
    if not labelled.get(key):
        return " without class labels"
    count = len(set(labelled[key]))
    number = len(labelled[key])
    matched = "all matched" if number == len(plan.dataset) else f"{number:,} matched"
    texts = [entry.label or "/".join(entry.folders) for entry in plan.dataset.entries]
    pairs = list(zip(texts, plan.labels[key], strict=True))
    how = _how([text for text, at in pairs if at is not None])
    others = list(dict.fromkeys(repr(text) for text, at in pairs if text and at is None))
    return (
        f" in {counted(count, 'class')}, {matched} to {titles[key]} by {how}"
        f"{f', none in {some(others, 3)}' if others else ''}"
    )


def _how(texts: Sequence[str]) -> str:
    if all(re.search(r"\bn\d{8}\b", text) for text in texts):
        return "synset"
    return "index" if all(text.strip().isdecimal() for text in texts) else "name"


def _show_look(looked: Look) -> None:
    """Draw the first images."""
    with st.container(horizontal=True, gap="small", key="preflight"):
        for name, png in looked.thumbnails:
            st.image(png, width=_SIDE, output_format="PNG", alt=name)
    if looked.reasons:
        st.caption(plain(f"Unreadable: {looked.reasons[0]}"))
