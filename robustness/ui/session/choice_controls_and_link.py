"""Controls that several pages share, and their values as the user moves between pages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness.base.text import plain
from robustness.ui.server.streamlit_patches_and_internals import change_link, restore_link

Options = Mapping[str, str] | Sequence[str]
"""Choices: names with their texts, or names that are their own texts."""


def one_of(
    label: str,
    options: Options,
    key: str,
    *,
    first: str | None = None,
    shows_label: bool = True,
    goes_along: bool = False,
    help: str | None = None,
) -> str:
    """Draw ``options`` as buttons and return the chosen one, by default ``first``."""
    texts = _texts(options, key)
    first = first or next(iter(texts))
    keep_in_link(key, texts, first, goes_along=goes_along)
    chosen: str | None = st.segmented_control(
        label,
        list(texts),
        required=True,
        format_func=texts.__getitem__,
        key=key,
        label_visibility="visible" if shows_label else "collapsed",
        help=help,
    )
    return chosen or first


def place_of_own(view: str, views: Iterable[str], key: str) -> DeltaGenerator:
    """A container for ``view`` at a position that no other of ``views`` uses.

    Where views share one, parts of the view before stay until the new one is complete.
    """
    places = {name: st.container(key=key) if name == view else st.empty() for name in views}
    return places[view]


def listed(label: str, options: Options, key: str, first: str | None = None) -> str:
    """Like ``one_of``, as a drop-down list."""
    texts = _texts(options, key)
    keep_in_link(key, texts, first or next(iter(texts), None))
    return st.selectbox(label, list(texts), format_func=texts.__getitem__, key=key)


def _texts(options: Options, key: str) -> Mapping[str, str]:
    forget_unless(options, key)
    return options if isinstance(options, Mapping) else dict(zip(options, options, strict=True))


def link_number(text: str, least: float = -math.inf, most: float = math.inf) -> float | None:
    """The number that ``text`` of a link says, ``least`` to ``most``; None if it is none such.

    Every number of a link is read here, those of Streamlit's own controls too: infinity, and digits
    beyond what a float holds, are no numbers.
    """
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and least <= number <= most else None


def new_in_link(key: str) -> list[str] | None:
    """The link's values of ``key`` if somebody changed them since ``set_in_link``; else None.

    With ``set_in_link`` the latest change wins: one of the link, or one of the page.
    """
    values = st.query_params.get_all(key)
    return None if values == st.session_state.get(f"{key} seen", []) else values


def set_in_link(key: str, values: Sequence[str]) -> None:
    """Have the link say ``values`` for ``key``; none take it out."""
    if list(values) != st.query_params.get_all(key):
        st.query_params.update({key: list(values)})
    st.session_state[f"{key} seen"] = list(values)


_WARNINGS = "link warnings"


def link_warnings() -> None:
    """Reserve the place at the top of a page for what its link cannot have."""
    st.session_state[_WARNINGS] = st.container()


_MOST_SAID = 40


def brief(value: str) -> str:
    """The ``value`` of a link as a warning shows it: its first 40 characters."""
    return value if len(value) <= _MOST_SAID else f"{value[:_MOST_SAID]}…"


def warn_of_link(key: str, value: str, why: str = "not one of the choices here") -> None:
    """Say that the link's ``value`` of ``key`` is ignored, where even a folded control shows it."""
    warning = plain(f"Ignored {key}={brief(value)} in the link: {why}.")
    st.session_state.get(_WARNINGS, st).warning(warning, icon=":material/link_off:")


def keep_in_link(
    key: str,
    texts: Mapping[Any, str],
    first: str | float | Sequence[str] | None,
    *,
    warns: bool = True,
    goes_along: bool = False,
) -> None:
    """Keep the control ``key`` and the link in step; called right before the control is drawn.

    The link holds the names of options, the keys of ``texts``. ``first`` is chosen without a link:
    a list where several can be. What the link names and ``texts`` lack is ignored, with a warning.
    A value that ``goes_along`` is there on other pages, too: Streamlit forgets a control when its
    page is left.
    """
    state, several = st.session_state, isinstance(first, list)
    page, said = state.get("page"), st.query_params.get_all(key)
    last_page, last_said, last_value = state.get(f"{key} in link", (None, None, None))
    # Another page's control has the same key, but not the same value. A choice made before the
    # browser has the link of the last one comes with that outdated link.
    is_new = key not in state or page != last_page
    if goes_along and is_new and not said and state.get("arrived"):
        choice = state.get(f"kept {key}", first)
        names = [name for name in (choice if several else [choice]) if name in texts]
        state[key] = names if several else (names or [first])[0]
    elif is_new or (said != last_said and state[key] == last_value):
        by_text = {text: name for name in texts for text in (str(name), _in_link(name))}
        names = [by_text[text] for text in said if text in by_text]
        unknown = [text for text in said if text and text not in by_text]
        if unknown and warns and said != last_said:
            warn_of_link(key, unknown[0])
        if several:
            state[key] = names if names or said == [""] else first
        else:
            state[key] = (names or [first])[-1]
    value = state[key]
    if goes_along:
        state[f"kept {key}"] = value
    chosen = (list(value) or [""]) if several else [_in_link(value)]
    target = [] if value in (first, None) else chosen
    if target != said:
        st.query_params.update({key: target})  # an empty list removes the key
    state[f"{key} in link"] = page, target, value


def _in_link(name: str | float | None) -> str:
    return name if isinstance(name, str) else str(name).removesuffix(".0")


def forget_unless(options: Iterable[object], key: str) -> None:
    """Empty the control ``key`` if its value is no longer among ``options``."""
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]


def slider(label: str, texts: Mapping[float, str], key: str, first: float) -> float:
    """Draw a slider over the values of ``texts`` and return the chosen one.

    It keeps its value while the page does not draw it.
    """
    forget_unless(texts, key)
    keep_in_link(key, texts, first)
    return st.select_slider(
        label, list(texts), format_func=texts.__getitem__, key=key, persist_state="page"
    )


def set_number(key: str, value: float | None) -> None:
    """Set the number input ``key`` before it is drawn, and in the link; None empties it."""
    st.session_state[key] = value
    change_link({key: "" if value is None else f"{value:g}"})


def leave_link(key: str) -> None:
    """Take the ``slider`` of ``key``, which is not drawn, out of the link; it keeps its value."""
    if key in st.query_params:
        del st.query_params[key]
        state = st.session_state
        state[f"{key} in link"] = state.get("page"), [], state.get(key)


# --- from page to page ----------------------------------------------------------------------------


def arrive(page: str) -> None:
    """Record which page this script run draws; called first on every page."""
    st.session_state["arrived"] = st.session_state.get("page", page) != page
    st.session_state["page"] = page
    restore_link()
