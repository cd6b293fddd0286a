"""The true class of an image: known for samples and labelled images, or entered by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from robustness import models
from robustness.base.text import visible
from robustness.evaluation.correctness import sample_class
from robustness.models.labels import imagenet
from robustness.pictures.picture import Picture
from robustness.report.copy_as import TRUE_CLASS
from robustness.ui.computation.cache import is_sample, likeliest_class, linked_class
from robustness.ui.session import reloads
from robustness.ui.session.inputs import new_in_link, set_in_link, warn_of_link
from robustness.ui.session.run_link import UPLOAD

USABLE = "usable uploads"
"""Session key: names of the usable uploads."""

_SAID = "true classes"
"""Session key: entered classes by image digest."""

_SUGGESTS = "true class suggestions"


def true_class_input(pictures: Sequence[Picture], names: Sequence[str]) -> Mapping[str, str]:
    """Draw the choice of true classes; returns those of ``pictures`` by digest.

    Options are the classes of the models ``names``. Controls of several images are in a popover.
    """
    st.session_state.pop(_SUGGESTS, None)
    distinct = {picture.digest: picture for picture in pictures}
    labels = [labels for labels, _ in models.by_labels(names)] or [imagenet()]
    options = list(dict.fromkeys(name for part in labels for name in part.names))
    if len(distinct) == 1:
        st.markdown("True class", width="content")
        classes = {pictures[0].digest: _input(pictures[0], options, main=True)}
        if classes[pictures[0].digest] is None:
            place = st.container(width="content", key="likeliest")
            st.session_state[_SUGGESTS] = place, pictures[0], names
    else:
        with st.popover("True classes", icon=":material/sell:"):
            classes = {
                digest: _input(picture, options, main=place == 0, title=visible(picture.name))
                for place, (digest, picture) in enumerate(distinct.items())
            }
    return {digest: name for digest, name in classes.items() if name is not None}


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
            on_click=_set,
            args=(picture.digest, name),
        )


def _set(digest: str, name: str) -> None:
    st.session_state.setdefault(_SAID, {})[digest] = name


def _input(picture: Picture, options: Sequence[str], *, main: bool, title: str = "") -> str | None:
    """Draw the control of one image; the link carries the first image's class."""
    own = linked_class(picture) or (sample_class(picture.name) if is_sample(picture) else None)
    own = own if own in options else None
    shared = not reloads.is_own(st.query_params.get(UPLOAD, reloads.OWN))
    in_link = main and (shared or not st.session_state.get(USABLE))
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
        title or "True class",
        options,
        index=None,
        key=key,
        on_change=_say,
        args=(picture.digest, key),
        placeholder="Choose the class",
        label_visibility="visible" if title else "collapsed",
        width="stretch",
    )
    if in_link:
        # Streamlit's own binding loses it where a page is left before its script has ended.
        set_in_link(TRUE_CLASS, [] if chosen in (own, None) else [chosen])
    return chosen


def _say(digest: str, key: str) -> None:
    _set(digest, st.session_state[key])
