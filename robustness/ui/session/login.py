"""Login, logout, and the check that a user may see a page."""

from __future__ import annotations

from typing import NoReturn

import streamlit as st
from streamlit.errors import StreamlitAPIException

from robustness.base.access import Action, Policy, Role, policy
from robustness.base.text import plain
from robustness.ui.session import access


def enter() -> None:
    """Stop the page for unauthorised users; show what the last click was refused."""
    settled, who = policy(), access.who()
    if settled.login and st.user.to_dict().get("is_logged_in"):
        _account(who.name, settled.role(who))
        if not who.logged_in:
            _refuse(
                "Expected a login with an e-mail address that its provider has verified, got none. "
                f"Ask {settled.contact}."
            )
    refused = access.refusal(Action.LOOK)
    if refused:
        if settled.login and not who.logged_in:
            _log_in(settled)
        _refuse(refused)
    access.say_what_was_refused()


def _account(name: str, role: Role) -> None:
    with st.sidebar.container(key="account", gap="xxsmall"):
        st.caption(plain(f"{name} ({role.name.lower()})" if name else "Logged in"))
        st.button("Log out", key="log out", icon=":material/logout:", on_click=st.logout)


def _log_in(settled: Policy) -> None:
    st.info("Log in to use this dashboard.", icon=":material/lock:")
    if not st.button("Log in", key="log in", type="primary", icon=":material/login:"):
        st.stop()
    try:
        st.login()
    except StreamlitAPIException:
        _refuse(
            "The setting 'login' needs a valid table [auth] in .streamlit/secrets.toml, and "
            f"Streamlit found none. Ask {settled.contact}."
        )
    st.stop()


def _refuse(sentence: str) -> NoReturn:
    st.error(plain(sentence), icon=":material/lock:")
    st.stop()
