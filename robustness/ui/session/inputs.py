"""Controls that are alike on all pages, and what keeps the value of one from page to page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from robustness.perturbations import REGISTRY
from robustness.ui.server.streamlit_internals import restore_link

Options = Mapping[str, str] | Sequence[str]
"""What may be chosen: names with their texts, or names that are texts themselves."""


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
    """One of ``options`` as buttons; ``first``, else the first of them, until another is chosen."""
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
    """Like ``one_of``, as a list that opens."""
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
    return options if isinstance(options, Mapping) else dict(zip(options, options, strict=True))


def forget_unless(options: Iterable[str], key: str) -> None:
    """Empties the control ``key`` if another choice has taken what it holds from its options."""
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]


def perturbation_input(label: str, first: str, key: str) -> str:
    """The name of one perturbation; ``first`` is what a visitor without a link sees."""
    return listed(label, {record.name: record.label for record in REGISTRY}, key, first)


# --- from page to page ----------------------------------------------------------------------------


def arrive(page: str) -> None:
    """Notes which page this run is of; called first on every page."""
    st.session_state["arrived"] = st.session_state.get("page", page) != page
    st.session_state["page"] = page
    restore_link()


def restore(key: str, default: Any, text: Callable[[Any], str] = str) -> None:
    """Gives the control ``key`` the value that it had on the page from which one comes.

    ``text`` is how the control shows a value, or each of several.
    Called right before the control is drawn. Streamlit forgets a control on leaving its page, and
    drops what another page's control had bound to the link. What the link itself says goes first.
    """
    kept = st.session_state.get(f"kept {key}")
    if kept is None or kept == default or key in st.query_params:
        return
    if not st.session_state.get("arrived"):
        return
    st.session_state[key] = kept
    several = isinstance(kept, Sequence) and not isinstance(kept, str)
    # Not written for a first value.
    st.query_params[key] = [text(value) for value in kept] if several else text(kept)


def keep(key: str, value: Any) -> None:
    """Remembers the ``value`` of the control ``key`` for the other pages of this session."""
    st.session_state[f"kept {key}"] = value
