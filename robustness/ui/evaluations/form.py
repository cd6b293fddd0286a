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
_THUMBNAIL_SIDE = 72  # pixels

_MOST_TRIED = 48
"""Images of the first look, more if none of them can be read."""

_SECONDS_FOR_FIRST = 10.0
_SECONDS_FOR_OTHERS = 3.0
"""How long the page waits for the first image that can be read, and then for the others."""


@dataclass
class Look:
    """The first images of a dataset: names and small PNGs, and why others cannot be read.

    ``tried`` counts both.
    """

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
    link = st.query_params
    names_form = "source" in link or QUESTION in link
    names_run = RUN in link or table.COMPARE in link or PROFILE in link
    is_wanted = st.session_state.setdefault(FORM, names_form and not names_run)
    return bool(is_wanted or not has_runs or PROFILE in link)


def button(has_runs: bool) -> None:
    """Draw the button that opens the form, or closes it; none while the form is all there is."""
    if not has_runs:
        return
    if is_open(has_runs):
        st.button(
            "Close",
            key="open form",
            type="secondary",
            icon=":material/close:",
            on_click=_toggle,
            args=(False,),
        )
    else:
        st.button(
            "New evaluation",
            key="open form",
            type="primary",
            icon=":material/add:",
            on_click=_toggle,
            args=(True,),
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
        if new is None:
            return
        note = side_note(new.spec)
        if note:
            st.info(plain(note), icon=":material/aspect_ratio:")
        _begin(new)


@cached(8)
def _planned(new: NewRun, digest: str, written: tuple[int, ...], _look: Look) -> tuple[Plan, str]:
    """The plan of the run ``new`` and what it reads; ``digest`` is that of its request.

    Raises ``LabelError`` for classes that cannot be used, with advice for the controls here.
    """
    frames_per_image = len(new.spec.by_framing) * (1 + len(new.spec.conditions))
    options = new.options.copy()
    options["batch"] = max(1, FRAMES_AT_ONCE // frames_per_image)
    try:
        plan = runs.plan(dataset_of(new.source, written), new.spec, **options)
    except LabelError as error:
        raise LabelError(f"{error} {WITHOUT_CLASSES}") from error
    return plan, summary(plan, _look)


@cached(8, "Looking at the images …")
def _looked(source: str, written: tuple[int, ...]) -> Look:
    return look(dataset_of(source, written))


@cached(32, seconds=60)
def _forecast(folder: Path, request_json: str, images: int, _plan: Plan) -> planning.Forecast:
    """What the run will take; the list of runs is not read at every click."""
    domain = _plan.spec.domain
    if domain is None:
        return planning.from_earlier(_plan, folder)
    spec = _plan.spec
    remedies = tuple(chain.id for chain in spec.remedies)
    seconds = _seconds_a_pass(repr(spec.framings), domain.perturbations, remedies, _plan)
    return planning.by_trial(_plan, folder, seconds)


@cached(32, "Timing some images …", seconds=3600)
def _seconds_a_pass(
    framings: str,
    perturbations: tuple[str, ...],
    remedies: tuple[str, ...],
    _plan: Plan,
) -> float | None:
    """The time of a pass; how far the ranges of ``perturbations`` go does not change it much."""
    return planning.seconds_a_pass(_plan)


def _begin(new: NewRun) -> None:
    """Draw what the run ``new`` reads and takes, and its start button; start it once pressed.

    Raises ``ParameterError`` where no image can be read, and what ``_planned`` raises.
    """
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
    if pressed:
        _start(new, looked)
    # After the button, as a domain is tried on some images for it.
    estimate = _forecast(runs_folder(), plan.spec.digest, len(plan.dataset), plan)
    size = f"{estimate.size}. Time: {estimate.time}. Disk: {estimate.disk}."
    if len(new.spec.by_framing) > 1:
        size += f" {OWN_PREPROCESSING.capitalize()}."
    with buttons:
        if estimate.sample_time and new.options["sample"] is None:
            takes_sample = st.button(
                f"{planning.SAMPLE_FIRST} images first ({estimate.sample_time})",
                icon=":material/science:",
                **session.allowed(Action.EVALUATE, key="evaluate sample"),
            )
            if takes_sample:
                new.options["sample"] = planning.SAMPLE_FIRST
                _start(new, looked)
        st.caption(f"{size} Runs in the background. You can close this page.")


def _start(new: NewRun, looked: Look) -> None:
    """Start the run ``new`` on the current content of its source, and open it."""
    dataset_of.clear()
    _planned.clear()
    plan, _ = _planned(new, new.spec.digest, last_written(new.source), looked)
    run_names = jobs.submit([plan])
    is_release = st.session_state[QUESTION] == RELEASE
    if is_release:
        for name in run_names:
            limits.store_limits(runs_folder() / name)
    table.choose(run_names, with_limits=is_release)
    st.rerun()


# --- what it will read ----------------------------------------------------------------------------


def look(entries: Dataset) -> Look:
    """Read the first images of ``entries`` within a time limit.

    A file that cannot be read in time, as on a network drive, is left to its thread.
    """
    growing = Look([], 0, [])
    reading = begin(f"first images {id(growing)}", lambda: _read(entries, growing))
    deadline = time.monotonic() + _SECONDS_FOR_FIRST
    while reading.is_alive() and not growing.thumbnails and time.monotonic() < deadline:
        reading.join(0.05)
    if growing.thumbnails:
        reading.join(_SECONDS_FOR_OTHERS)
    # Copies, as the thread may go on adding.
    return Look(growing.thumbnails[:], growing.tried, growing.reasons[:], growing.whole)


def _read(entries: Dataset, look: Look) -> None:
    """Add the first images of ``entries`` to ``look`` one by one."""
    for entry in entries.entries:
        if look.thumbnails and look.tried >= _MOST_TRIED:
            return
        try:
            if entry.refused:
                raise ImageError(entry.refused)
            image = untrusted_image(entries.read(entry), name=entry.name)
        except BusyError:  # the image may be valid
            return
        except ImageError as error:
            look.reasons.append(str(error))
        else:
            if len(look.thumbnails) < MAX_THUMBNAILS:
                size = (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
                small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
                png = to_png(np.asarray(small, np.float32))
                look.thumbnails.append((entry.name, png))
        look.tried += 1
    look.whole = True


def summary(plan: Plan, looked: Look) -> str:
    """Images, classes and unreadable ones in one sentence, such as "20 images in 20 classes"."""
    image_count = len(plan.dataset)
    text = f"{counted(image_count, 'image')}{_classes(plan)}"
    if looked.reasons:
        text += f"; {len(looked.reasons):,}"
        if looked.tried != image_count:
            text += f" of the first {looked.tried}"
        text += " unreadable"
    return text


def _classes(plan: Plan) -> str:
    """How many classes, of which set, and by what they were recognised.

    Of models with several sets of classes, it is the set that has the most images.
    """
    key = ""
    class_indices: list[int] = []
    for labels_key, indices in plan.labels.items():
        known_indices = [index for index in indices if index is not None]
        if len(known_indices) > len(class_indices):
            key = labels_key
            class_indices = known_indices
    if not class_indices:
        return " without class labels"

    matched_texts = []
    unmatched_texts = []
    label_texts = plan.dataset.label_texts()
    entries = zip(plan.dataset.entries, label_texts, plan.labels[key], strict=True)
    for entry, label, index in entries:
        text = label or "/".join(entry.folders)
        if index is not None:
            matched_texts.append(text)
        elif text:
            unmatched_texts.append(repr(text))
    titles = {labels.key: labels.title for labels, _ in models.by_labels(plan.spec.model_names)}
    class_count = counted(len(set(class_indices)), "class")
    matched = f"{len(class_indices):,} matched"
    if len(class_indices) == len(plan.dataset):
        matched = "all matched"
    sentence = f" in {class_count}, {matched} to {titles[key]} by {_recognised_by(matched_texts)}"
    if unmatched_texts:
        sentence += f", none in {some(list(dict.fromkeys(unmatched_texts)), 3)}"
    return sentence


def _recognised_by(texts: Sequence[str]) -> str:
    """What all of ``texts`` are, which became classes: synsets such as n02124075, or indices."""
    if all(re.search(r"\bn\d{8}\b", text) for text in texts):
        return "synset"
    if all(text.strip().isdecimal() for text in texts):
        return "index"
    return "name"


def _show_look(looked: Look) -> None:
    """Draw the first images."""
    with st.container(horizontal=True, gap="small", key="preflight"):
        for name, png in looked.thumbnails:
            st.image(png, width=_THUMBNAIL_SIDE, output_format="PNG", alt=name)
    if looked.reasons:
        st.caption(plain(f"Unreadable: {looked.reasons[0]}"))
