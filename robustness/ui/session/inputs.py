"""Controls that several pages share, and their values as the user moves between pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from robustness.base.text import plain
from robustness.perturbations import REGISTRY
from robustness.ui.server.streamlit_internals import correct_link, restore_link

Options = Mapping[str, str] | Sequence[str]
"""Choices: names with their texts, or names that are their own texts."""


def one_of(
    label: str,
    options: Options,
    key: str,
    *,
    first: str | None = None,
    shows_label: bool = True,
    in_link: bool = True,
    help: str | None = None,
) -> str:
    """Draw ``options`` as buttons and return the chosen one, by default ``first``."""
    texts = _texts(options, key)
    return st.segmented_control(
        label,
        list(texts),
        default=first or next(iter(texts)),
        required=True,
        format_func=texts.__getitem__,
        key=key,
        bind="query-params" if in_link else None,
        label_visibility="visible" if shows_label else "collapsed",
        help=help,
    )


def listed(label: str, options: Options, key: str, first: str | None = None) -> str:
    """Like ``one_of``, as a drop-down list."""
    texts = _texts(options, key)
    names = list(texts)
    return st.selectbox(
        label,
        names,
        index=names.index(first) if first else 0,
        format_func=texts.__getitem__,
        key=key,
        bind="query-params",
    )


def _texts(options: Options, key: str) -> Mapping[str, str]:
    forget_unless(options, key)
    texts = options if isinstance(options, Mapping) else dict(zip(options, options, strict=True))
    _take_link(texts, key)
    return texts


def _take_link(texts: Mapping[str, str], key: str) -> None:
    """Let the link name an option as commands do, and say so if it names none.

    Streamlit knows options by their texts, and drops others without a word.
    """
    asked = st.query_params.get(key)
    if not asked or asked in texts.values() or key in st.session_state:
        return
    if asked not in texts:
        said = f"{key}={asked} in the link is none of the choices here; it is ignored."
        st.warning(plain(said), icon=":material/link_off:")
    elif correct_link(key, texts[asked]):
        st.session_state[key] = asked


def forget_unless(options: Iterable[str], key: str) -> None:
    """Empty the control ``key`` if its value is no longer among ``options``."""
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]


def perturbation_input(label: str, first: str, key: str) -> str:
    """Draw a list of perturbations and return the chosen name; ``first`` is the default."""
    return listed(label, {record.name: record.label for record in REGISTRY}, key, first)


# --- from page to page ----------------------------------------------------------------------------


def arrive(page: str) -> None:
    """Record which page this script run draws; called first on every page."""
    st.session_state["arrived"] = st.session_state.get("page", page) != page
    st.session_state["page"] = page
    restore_link()


def restore(key: str, default: Any, text: Callable[[Any], str] = str) -> None:
    """Give the control ``key`` the value that it had on the previous page.

    Called right before the control is drawn. Streamlit forgets a control when its page is left,
    and drops from the link what another page's control had bound. A value in the link wins.
    ``text`` is how the control shows a value, or each of several values.
    """
    kept = st.session_state.get(f"kept {key}")
    if kept is None or kept == default or key in st.query_params:
        return
    if not st.session_state.get("arrived"):
        return
    st.session_state[key] = kept
    several = isinstance(kept, Sequence) and not isinstance(kept, str)
    # Streamlit does not write a first value to the link.
    st.query_params[key] = [text(value) for value in kept] if several else text(kept)


def keep(key: str, value: Any) -> None:
    """Store the ``value`` of the control ``key`` for the other pages of this session."""
    st.session_state[f"kept {key}"] = value
