"""The choice of an image: a sample, an upload, the camera, or an image of a run; and its fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import streamlit as st

from robustness import models
from robustness.base.errors import ImageError, UnknownNameError
from robustness.base.permission_policy_and_check import Action
from robustness.base.text import counted, plain, some
from robustness.evaluation.framing_of_models import by_framing, framing
from robustness.pictures.decoding import ACCEPTED_EXTENSIONS
from robustness.pictures.framed_picture import Overrides, Picture
from robustness.pictures.framing_and_study_image import FITS, STUDY_FRAMING
from robustness.pictures.sample_files import REGISTRY as SAMPLES
from robustness.ui.browser import components
from robustness.ui.browser.escaped_html import html
from robustness.ui.computation.shared_results import (
    Framings,
    linked_picture,
    sample_picture,
    uploaded_picture,
)
from robustness.ui.controls import upload_sharing
from robustness.ui.controls.true_class import USABLE, true_class_input
from robustness.ui.display.image_pairs_and_cards import thumbnail_uri
from robustness.ui.server.streamlit_patches_and_internals import UploadedFile, forget_files
from robustness.ui.session import access, uploads_after_reload
from robustness.ui.session.choice_controls_and_link import one_of
from robustness.ui.session.error_boundary import do, sentence
from robustness.ui.session.runs_folder_and_links import RUN, UPLOAD, leave

FIRST_SAMPLE = "chelsea"

AS_DESCRIBED = "default"
"""As a fit or a side: that of each model."""

SIDES = (224, 240, 260, 384)
"""Sides offered beside those of the models: the bundled models' input sizes, and a common one of
larger models."""

_CAMERA = "live camera"
_LOCK = ":material/lock:"
_UPLOADER = 250
"""Its width in pixels."""


def picture_input(names: Sequence[str], *, camera: bool) -> tuple[Picture, str | None]:
    """Draw the picker; returns the chosen image and its true class, if known.

    Of several uploads it is the last. For an unusable file it shows one sentence and keeps the
    sample. Classes are those of the models ``names``. ``camera``: the page follows a running
    camera.
    """
    state = st.session_state
    if not state.get("uploads"):  # as after a reload
        state["uploads"] = list(uploads_after_reload.uploads(st.query_params.get(UPLOAD, "")))
    sample, overrides = _current_sample(), _current_overrides()
    framings = tuple(by_framing(*overrides, names)) or (framing(*overrides),)

    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="picker"):
        gallery = st.container(horizontal=True, gap="xxsmall", width="content", key="gallery")
        refused = _upload_input()
        if camera:
            components.camera(_CAMERA, partial(do, _freeze))
        else:
            st.empty()  # so that what follows stays where it is in every view
        with st.popover("Fit", icon=":material/crop:", key="framing"):
            fit_input("fit")
            side_input("side")
        files = state.get("uploads", [])
        upload_sharing.button(files[-1:])
        true_classes = st.container(
            horizontal=True, vertical_alignment="center", gap="small", key="true-class"
        )
    if refused:
        st.caption(plain(refused))
    uploaded = _uploaded(framings)
    of_run = None if uploaded else linked_picture(names)
    own = uploaded or of_run or _shared(framings)
    with gallery:
        st.html(html("style", css=_thumbnails()))
        for record in SAMPLES:  # an image, with its name for those who listen
            is_shown = record.name == sample and not own
            st.button(
                record.name.capitalize() + (", shown" if is_shown else ""),
                key=f"choose_{record.name}",
                type="primary" if is_shown else "secondary",
                help=record.alt,
                on_click=_choose_sample,
                args=(record.name,),
            )
    if shown := uploaded or of_run:
        about = f"An image of the run {plain(st.query_params.get(RUN, ''))}."
        if uploaded:
            upload = st.query_params.get(UPLOAD, "")
            about = (
                "Links include it."
                if upload_sharing.shared(upload)
                else "Links do not include uploads."
            )
            if len(files) > 1:
                about = f"It is the last of {len(files)} uploads. {about}"
        st.caption(f"Showing {plain(shown.name)}. {about}")
    chosen = own or sample_picture(sample, framings)
    if not of_run:  # which has those of its run
        chosen = replace(chosen, overrides=overrides)
    groups = by_framing(*chosen.overrides, names)
    first = next(iter(groups), STUDY_FRAMING)
    if len(groups) > 1:
        views = "; ".join(
            f"{some([plain(models.label(name)) for name in alike], 3)}: {view.text}"
            for view, alike in groups.items()
        )
        st.caption("Each model sees its own version of the image.", help=views)
    elif first != STUDY_FRAMING:
        st.caption(f"The models see the image as shown: {first.text}.")
    with true_classes:
        return chosen, true_class_input(chosen, names)


def _upload_input() -> str:
    """Draw the uploader; returns why this session may not upload, or ""."""
    state, key = st.session_state, f"upload_{st.session_state.setdefault('upload_version', 0)}"
    if key not in state or state["page"] not in state.get(f"{key} taken", ()):
        state[f"{key} taken"] = (state["page"],)  # it is new, and empty, on arrival at each page
    refused = access.refusal(Action.UPLOAD)
    files = st.file_uploader(
        "Upload photos",
        type=list(ACCEPTED_EXTENSIONS),
        accept_multiple_files=True,
        key=key,
        on_change=lambda: _take(key, _files(st.session_state[key])),
        disabled=bool(refused),
        label_visibility="collapsed",
        width=_UPLOADER,
    )
    # Streamlit ends a callback at the next request of the browser, and does not call it again.
    if state[f"{key} taken"] != _noted(_files(files)):
        _take(key, _files(files))
    return refused or ""


def _freeze() -> None:
    """Make the frozen camera frame the image."""
    if (data := components.frame(_CAMERA)) is not None:
        access.require(Action.UPLOAD)
        st.session_state["uploads"] = [("camera.png", data)]
        _link_to_own()


def fit_input(key: str) -> str:
    """Draw the choice of how images become square."""
    return one_of(
        "Fit to the square that models see",
        (AS_DESCRIBED, *FITS),
        key,
        goes_along=True,
        help="default: each model with its own preprocessing. For all models alike: crop, the "
        "centre of the image, as ImageNet models are tested; squash, the whole image, distorted; "
        "letterbox, the whole image with grey bars.",
    )


def side_input(key: str) -> str:
    """Draw the choice of the side of that square, in pixels."""
    return one_of(
        "Side of that square (px)",
        (AS_DESCRIBED, *map(str, _sides())),
        key,
        goes_along=True,
        help="default: each model with its own preprocessing. Models with a larger input see more "
        "detail. A strength looks the same at any side.",
    )


def _sides() -> list[int]:
    return sorted({*SIDES, *(record.framing.side for record in models.REGISTRY)})


def overrides_of(fit: str, side: str) -> Overrides:
    """What ``fit_input`` and ``side_input`` chose, for all models."""
    return None if fit == AS_DESCRIBED else fit, None if side == AS_DESCRIBED else int(side)


def _files(value: Any) -> list[UploadedFile]:
    if isinstance(value, list):
        return value
    return [value] if value else []


def _take(key: str, files: Sequence[UploadedFile]) -> None:
    do(_accept, files)
    st.session_state[f"{key} taken"] = _noted(files)  # last, as it marks the rest as done


def _accept(files: Sequence[UploadedFile]) -> None:
    if files:
        access.require(Action.UPLOAD)
    st.session_state["uploads"] = [(file.name, file.getvalue()) for file in files]
    if files:
        _link_to_own()
    else:
        uploads_after_reload.forget()
        st.query_params.pop(UPLOAD, None)


def _noted(files: Sequence[UploadedFile]) -> tuple[str, ...]:
    """This page, and the ids of its ``files``."""
    return (st.session_state["page"], *(file.file_id for file in files))


def _link_to_own() -> None:
    """Mark in the link that an upload is shown, which it includes for this browser alone."""
    leave()
    st.query_params[UPLOAD] = uploads_after_reload.keep(st.session_state["uploads"])


def _uploaded(framings: Framings) -> Picture | None:
    """The last usable upload, if any; says which later ones are unusable."""
    picture: Picture | None = None
    refused: list[tuple[str, str]] = []
    for name, data in reversed(st.session_state.get("uploads", [])):
        try:
            picture = uploaded_picture(name, data, framings)
            break
        except ImageError as error:
            refused.append((name, sentence(error)))
    if refused:  # in one message, however many there are
        (_, said), *others = refused
        if others:
            names = some([name for name, _ in others], 3)
            said += f" {counted(len(others), 'more file')} cannot be read: {names}."
        st.error(plain(said), icon=":material/broken_image:")
    st.session_state[USABLE] = picture is not None
    return picture


def _shared(framings: Framings) -> Picture | None:
    """The link's shared image; says if a sample replaces it."""
    link = st.query_params.get(UPLOAD)
    if link is None or st.session_state.get("uploads"):
        return None
    if uploads_after_reload.is_mine(link):
        st.info("Your upload has ended; this is a sample. Upload the image again.", icon=_LOCK)
    elif uploads_after_reload.is_own(link):
        said = "The sender used their own image, which links do not include; this is a sample."
        st.info(said, icon=_LOCK)
    elif (copied := upload_sharing.shared(link)) is None:
        said = "The shared image has expired or was deleted; this is a sample."
        st.warning(said, icon=":material/link_off:")
    else:
        copy, data = copied
        try:
            picture = uploaded_picture(copy.name, data, framings)
        except ImageError as error:
            st.error(plain(sentence(error)), icon=":material/broken_image:")
        else:
            said = f"Showing {copy.name}, shared until {copy.expiry}."
            st.info(plain(said), icon=":material/share:")
            return picture
    return None


def _current_sample() -> str:
    """The link's sample; for an unknown one a warning, and the first sample."""
    chosen = st.query_params.get("sample", FIRST_SAMPLE)
    try:
        return SAMPLES[chosen].name
    except UnknownNameError as error:
        st.warning(plain(sentence(error)), icon=":material/link_off:")
        return FIRST_SAMPLE


def _current_overrides() -> Overrides:
    """The fit and the side chosen on the page or in the link."""
    fit, side = (
        st.session_state.get(key) or st.query_params.get(key, AS_DESCRIBED)
        for key in ("fit", "side")
    )
    is_side = side in map(str, _sides())
    return overrides_of(fit if fit in FITS else AS_DESCRIBED, side if is_side else AS_DESCRIBED)


def _choose_sample(name: str) -> None:
    leave()
    st.query_params["sample"] = name
    st.session_state["uploads"] = []
    uploads_after_reload.forget()
    # A fresh uploader: the sample replaces the upload.
    version = st.session_state.get("upload_version", 0)
    forget_files(st.session_state.get(f"upload_{version}"))
    st.session_state["upload_version"] = version + 1


@cache
def _thumbnails() -> str:
    """The style that gives each sample's button its image."""
    uris = {name: thumbnail_uri(sample_picture(name).image) for name in SAMPLES.names}
    return "\n".join(
        f".st-key-choose_{name} button {{ background-image: url({uri}); }}"
        for name, uri in uris.items()
    )
