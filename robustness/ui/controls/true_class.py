"""The true class of an image: known for samples and labelled images, or entered by the user."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from robustness import models
from robustness.base.text import visible
from robustness.evaluation.labels_and_correctness import sample_class
from robustness.models.class_labels import imagenet
from robustness.pictures.framed_picture import Picture
from robustness.report.copy_as_link_or_code import TRUE_CLASS
from robustness.ui.computation.shared_results import is_sample, likeliest_class, linked_class
from robustness.ui.session import uploads_after_reload
from robustness.ui.session.choice_controls_and_link import new_in_link, set_in_link, warn_of_link
from robustness.ui.session.runs_folder_and_links import UPLOAD

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
    shared = not uploads_after_reload.is_own(st.query_params.get(UPLOAD, uploads_after_reload.OWN))
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
