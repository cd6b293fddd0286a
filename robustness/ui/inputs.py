"""The choice of models and the seed.

The choice of an image: a sample, an upload, the camera, or an image of a run; and its fit.

The true class of an image: known for samples and labelled images, or entered by the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import streamlit as st

from robustness import models
from robustness.base.errors import ImageError, RobustnessError, UnknownNameError
from robustness.base.roles import Action
from robustness.base.text import counted, plain, some, visible
from robustness.images.decoding import ACCEPTED_EXTENSIONS
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.framing import FITS, STUDY_FRAMING, Overrides, Picture
from robustness.measure.labels import sample_class
from robustness.measure.request import by_framing, framing
from robustness.models.record import imagenet
from robustness.perturbations.record import MAX_SEED
from robustness.report.image import TRUE_CLASS
from robustness.ui import components, session, uploads
from robustness.ui.draw import thumbnail_uri
from robustness.ui.html import html
from robustness.ui.patches import UploadedFile, forget_files
from robustness.ui.session import (
    RUN,
    UPLOAD,
    do,
    keep_in_link,
    leave,
    new_in_link,
    one_of,
    page_link,
    sentence,
    set_in_link,
    warn_of_link,
)
from robustness.ui.shared import (
    Framings,
    is_sample,
    likeliest_class,
    linked_class,
    linked_picture,
    sample_picture,
    uploaded_picture,
)


def sidebar_input() -> tuple[tuple[str, ...], int]:
    """Draw the choice of models and the seed in the sidebar; returns both."""
    with st.sidebar:
        st.divider()
        names = model_input()
        seed = seed_input()
        st.button(
            "Another draw",
            icon=":material/casino:",
            on_click=_take_next_seed,
            help="Random perturbations take the next seed.",
        )
        return names, seed


def _take_next_seed() -> None:
    st.session_state["seed"] = (st.session_state.get("seed", 0) + 1) % (MAX_SEED + 1)


def require_models(names: Sequence[str]) -> None:
    """Stop the page with a hint if ``names`` is empty.

    Raises ``AccessError`` if this session may not measure.
    """
    session.require(Action.MEASURE)
    if not names:
        st.info("Choose at least one model in the sidebar.", icon=":material/model_training:")
        st.stop()


def model_input() -> tuple[str, ...]:
    """Draw the choice of models, with the way to get more."""
    states = {record.name: models.state(record) for record in models.REGISTRY}
    ready = [name for name, state in states.items() if state.ready]
    if not ready:
        st.error(plain("; ".join(state.reason for state in states.values())))
        st.stop()
    default = list(models.default_names())
    for name in filter(None, st.query_params.get_all("models")):  # those that cannot run here
        try:
            models.require(models.REGISTRY[name])
        except RobustnessError as error:
            warn_of_link("models", name, sentence(error).removesuffix("."))
    # A label that is also the label or name of another model gives way to the name.
    used = Counter(text for record in models.REGISTRY for text in {record.name, record.label})
    texts = {
        record.name: record.label if used[record.label] == 1 else record.name
        for record in models.REGISTRY
    }
    options = {name: texts[name] for name in ready}
    keep_in_link("models", options, default, warns=False, goes_along=True)
    chosen = st.multiselect(
        "Models",
        ready,
        format_func=texts.__getitem__,
        key="models",
        placeholder="Choose at least one model",
    )
    if missing := len(states) - len(ready):
        label = f"Get {counted(missing, 'more model')}"
        query = {"view": "weights"}
        page_link("pages/models.py", label, ":material/download:", query)
    return tuple(chosen)


def seed_input() -> int:
    """Draw the seed of the random perturbations."""
    state = st.session_state
    last = st.session_state.get("kept seed", 0)
    if last and state.get("arrived") and "seed" not in st.query_params:
        state["seed"] = last
        st.query_params["seed"] = str(last)
    seed = st.number_input(
        "Seed",
        min_value=0,
        max_value=MAX_SEED,
        step=1,
        key="seed",
        bind="query-params",
        help="The same seed gives the same noise, here and on the command line.",
    )
    state["kept seed"] = seed
    return int(seed)


USABLE = "usable uploads"
"""Session key: whether an upload is shown."""

_SAID = "true classes"
"""Session key: entered classes by image digest."""

_SUGGESTS = "true class suggestions"


def true_class_input(picture: Picture, names: Sequence[str]) -> str | None:
    """Draw the choice of the true class of ``picture``, one of those of the models ``names``."""
    st.session_state.pop(_SUGGESTS, None)
    labels = [labels for labels, _ in models.by_labels(names)] or [imagenet()]
    options = list(dict.fromkeys(name for part in labels for name in part.names))
    st.markdown("True class", width="content")
    own = linked_class(picture) or (sample_class(picture.name) if is_sample(picture) else None)
    own = own if own in options else None
    shared = not uploads.is_own(st.query_params.get(UPLOAD, uploads.OWN))
    in_link = shared or not st.session_state.get(USABLE)
    said = st.session_state.setdefault(_SAID, {})
    linked = new_in_link(TRUE_CLASS) if in_link else None
    if linked and linked[-1] in options:
        said[picture.digest] = linked[-1]
    elif linked:
        warn_of_link(TRUE_CLASS, linked[-1])
    choice = said.get(picture.digest, own)
    key = TRUE_CLASS if in_link else f"{TRUE_CLASS} {picture.digest}"
    st.session_state[key] = choice if choice in options else own
    chosen: str | None = st.selectbox(
        "True class",
        options,
        index=None,
        key=key,
        on_change=lambda: said.update({picture.digest: st.session_state[key]}),
        placeholder="Choose the class",
        label_visibility="collapsed",
        width="stretch",
    )
    if in_link:
        # Streamlit's own binding loses it where a page is left before its script has ended.
        set_in_link(TRUE_CLASS, [] if chosen in (own, None) else [chosen])
    if chosen is None:
        place = st.container(width="content", key="likeliest")
        st.session_state[_SUGGESTS] = place, picture, names
    return chosen


def suggest_true_class() -> None:
    """Draw a button for the likeliest class of the page's image, if its class is unknown.

    Called last on a page: the models have predicted the original by then.
    """
    suggests = st.session_state.pop(_SUGGESTS, None)
    if suggests is None:
        return
    place, picture, names = suggests
    if name := likeliest_class(picture, names):
        place.button(
            f"{visible(name)}?",
            key="likeliest class",
            help=f"Set {visible(name)} as the true class",
            on_click=st.session_state[_SAID].update,
            args=({picture.digest: name},),
        )


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
        state["uploads"] = list(uploads.uploads(st.query_params.get(UPLOAD, "")))
    sample = _current_sample()
    overrides = _current_overrides()
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
        uploads.button(files[-1:])
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
                "Links include it." if uploads.shared(upload) else "Links do not include uploads."
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
    state = st.session_state
    key = f"upload_{st.session_state.setdefault('upload_version', 0)}"
    if key not in state or state["page"] not in state.get(f"{key} taken", ()):
        state[f"{key} taken"] = (state["page"],)  # it is new, and empty, on arrival at each page
    refused = session.refusal(Action.UPLOAD)
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
        session.require(Action.UPLOAD)
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
        session.require(Action.UPLOAD)
    st.session_state["uploads"] = [(file.name, file.getvalue()) for file in files]
    if files:
        _link_to_own()
    else:
        uploads.forget()
        st.query_params.pop(UPLOAD, None)


def _noted(files: Sequence[UploadedFile]) -> tuple[str, ...]:
    """This page, and the ids of its ``files``."""
    return (st.session_state["page"], *(file.file_id for file in files))


def _link_to_own() -> None:
    """Mark in the link that an upload is shown, which it includes for this browser alone."""
    leave()
    st.query_params[UPLOAD] = uploads.keep(st.session_state["uploads"])


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
    if uploads.is_mine(link):
        st.info("Your upload has ended; this is a sample. Upload the image again.", icon=_LOCK)
    elif uploads.is_own(link):
        said = "The sender used their own image, which links do not include; this is a sample."
        st.info(said, icon=_LOCK)
    elif (copied := uploads.shared(link)) is None:
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
    uploads.forget()
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
