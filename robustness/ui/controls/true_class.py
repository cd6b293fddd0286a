"""The true class of an image: known for samples and labelled images, or entered by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import streamlit as st
from streamlit.errors import StreamlitAPIException

from robustness import models
from robustness.base.text import visible
from robustness.evaluation.correctness import sample_class
from robustness.models.labels import imagenet
from robustness.pictures.picture import Picture
from robustness.report.copy_as import TRUE_CLASS
from robustness.ui.controls import sharing
from robustness.ui.session.run_link import UPLOAD, linked_class
from robustness.ui.work.memo import is_sample

USABLE = "usable uploads"
"""Session key: names of the usable uploads."""

_SAID = "true classes"
"""Session key: entered classes by image digest."""

_SHOWN = "image of the true class in the link"


def true_class_input(pictures: Sequence[Picture], names: Sequence[str]) -> Mapping[str, str]:
    """Draw the choice of true classes; returns those of ``pictures`` by digest.

    Options are the classes of the models ``names``. Controls of several images are in a popover.
    """
    distinct = {picture.digest: picture for picture in pictures}
    labels = [labels for labels, _ in models.by_labels(names)] or [imagenet()]
    options = list(dict.fromkeys(name for each in labels for name in each.names))
    if len(distinct) == 1:
        st.markdown("True class", width="content")
        found = {pictures[0].digest: _input(pictures[0], options, main=True)}
    else:
        with st.popover("True classes", icon=":material/sell:"):
            found = {
                digest: _input(picture, options, main=place == 0, title=visible(picture.name))
                for place, (digest, picture) in enumerate(distinct.items())
            }
    return {digest: name for digest, name in found.items() if name is not None}


def _input(picture: Picture, options: Sequence[str], *, main: bool, title: str = "") -> str | None:
    """Draw the control of one image; the link carries the first image's class."""
    known = _known(picture)
    known = known if known in options else None
    shared = st.query_params.get(UPLOAD, sharing.OWN) != sharing.OWN
    in_link = main and (shared or not st.session_state.get(USABLE))
    key = TRUE_CLASS if in_link else f"{TRUE_CLASS} {picture.digest}"
    _settle(picture, key, known, options, in_link=in_link)
    return st.selectbox(
        title or "True class",
        options,
        index=None if known is None else options.index(known),
        key=key,
        bind="query-params" if in_link else None,
        on_change=_say,
        args=(picture.digest, key),
        placeholder="Choose the true class to see which models are correct",
        label_visibility="visible" if title else "collapsed",
        width="stretch",
    )


def _say(digest: str, key: str) -> None:
    st.session_state.setdefault(_SAID, {})[digest] = st.session_state[key]


def _settle(
    picture: Picture, key: str, known: str | None, options: Sequence[str], *, in_link: bool
) -> None:
    """Set the control to this image's class: from the link, or else as entered."""
    said = st.session_state.setdefault(_SAID, {})
    stays = st.session_state.get(_SHOWN, picture.digest) == picture.digest or not in_link
    if in_link:
        st.session_state[_SHOWN] = picture.digest
        if stays and (linked := st.query_params.get(key)) in options:
            said[picture.digest] = linked
            return
    wanted = st.session_state.get(key) if stays else None
    if wanted not in options:
        wanted = said.get(picture.digest, known)
        wanted = wanted if wanted in options else known
        st.session_state[key] = wanted
    # Streamlit drops the key when a run ends early, as when a page is just being left.
    if in_link and wanted is not None and wanted != known:
        with suppress(StreamlitAPIException):  # a control on the page writes it itself
            st.query_params[key] = wanted


def _known(picture: Picture) -> str | None:
    """The class of a sample or of a run's labelled image; None if unknown."""
    if known := linked_class(picture):
        return known
    return sample_class(picture.name) if is_sample(picture) else None
