"""Identity of the current user, login, and checks of what they may do.

Hiding or disabling a button is no check: the function behind a click calls ``require``.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypedDict

import streamlit as st
from streamlit import runtime
from streamlit.errors import StreamlitAPIException

from robustness.base import permission_policy_and_check
from robustness.base.errors import AccessError
from robustness.base.permission_policy_and_check import Action, Policy, Role, Who, policy
from robustness.base.text import plain
from robustness.runs import audit
from robustness.ui.server.streamlit_patches_and_internals import (
    SessionClient,
    get_script_run_ctx,
    is_click_dropped,
    user_claims,
)
from robustness.ui.session.runs_folder_and_links import runs_folder

_KEY = "takes turns as"


def session() -> str:
    """Random id of the current session; its turns and its runs carry it."""
    return str(st.session_state.setdefault(_KEY, secrets.token_hex(8)))


COOKIE = "robustness_browser"
"""The cookie that identifies a browser where nobody logs in; the server sets it."""

FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers, in lower case, of which a proxy sends at least one."""

LOGGED = frozenset(Action) - {Action.LOOK, Action.MEASURE, Action.ATTACK, Action.UPLOAD}
"""Actions that the audit log records when allowed; it records every refusal."""

_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")

_WHO, _BROWSER = "who this is", "browser of this session"


@dataclass(frozen=True)
class Connection:
    """A browser's connection: its ``address``, headers by lower-case name, and cookies."""

    address: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]


def who() -> Who:
    """The user of this session."""
    browser = connection()
    if browser is None:  # the browser has left while its script still runs
        last: Who = st.session_state.get(_WHO, Who())
        return last
    identity = _identity(browser, st.user.to_dict())
    if not identity.logged_in:
        identity = replace(identity, name=_browser(browser))
    st.session_state[_WHO] = identity
    return identity


def who_of(session: str, cookies: Mapping[str, str]) -> Who | None:
    """The user of ``session``; None if it has no page open in the browser with these ``cookies``.

    For requests that name a session. Without a login, ``name`` is empty.
    """
    running = runtime.get_instance()
    client, app = running.get_client(session), running.get_app_session(session)
    connection = _connection(client) if client else None
    if connection is None or app is None or connection.cookies.get(COOKIE) != cookies.get(COOKIE):
        return None
    return _identity(connection, user_claims(app))


def _identity(connection: Connection, said: Mapping[str, Any]) -> Who:
    """The user that the login's claims ``said`` verify; otherwise one without a name."""
    email = verified_email(said)
    return Who(email, logged_in=True) if email else Who(local=is_local(connection))


def me() -> str:
    """The name that owns what this session makes: an e-mail address or a browser's name."""
    return who().name


def role() -> Role:
    """The role of this session's user."""
    return permission_policy_and_check.policy().role(who())


def require(
    action: Action, owner: str | None = None, thing: str = "", by: Who | None = None
) -> None:
    """Raise ``AccessError`` unless this session, or ``by``, may do ``action``.

    ``owner`` is who owns the thing; ``thing`` is its name in the audit log, such as a run's id.
    Call it once per action, not whenever a page is drawn.
    """
    asking, settled = by or who(), permission_policy_and_check.policy()
    try:
        permission_policy_and_check.check(action, asking, owner, settled)
    except AccessError:
        _note(action, asking, settled, thing, allowed=False)
        raise
    if action in LOGGED:
        _note(action, asking, settled, thing, allowed=True)


def refusal(action: Action, owner: str | None = None) -> str:
    """Why this session may not do ``action``; "" if it may."""
    try:
        permission_policy_and_check.check(
            action, who(), owner, permission_policy_and_check.policy()
        )
    except AccessError as error:
        return str(error)
    return ""


class Off(TypedDict):
    """Arguments of a button that may be disabled."""

    key: str | None
    disabled: bool
    help: str | None


def allowed(
    action: Action,
    owner: str | None = None,
    *,
    key: str | None = None,
    thing: str = "",
    disabled: bool = False,
    help: str | None = None,
) -> Off:
    """Arguments that disable the button ``key``, and say why, if this session may not ``action``.

    Otherwise ``disabled`` and ``help`` apply: ``st.button("Delete", **allowed(...))``. A click on
    the disabled button, outdated or forged, goes into the audit log.
    """
    refused = refusal(action, owner)
    if refused and key and is_click_dropped(key):
        _note(action, who(), permission_policy_and_check.policy(), thing, allowed=False)
    return {"key": key, "disabled": disabled or bool(refused), "help": refused or help}


def _note(action: Action, asking: Who, settled: Policy, thing: str, *, allowed: bool) -> None:
    audit.note(
        runs_folder(),
        who=asking.name,
        role=settled.role(asking).name.lower(),
        action=action.name.lower(),
        thing=thing,
        allowed=allowed,
    )


# --- what a connection says -----------------------------------------------------------------------


def connection() -> Connection | None:
    """The connection of this session's browser; None if it has left."""
    running = get_script_run_ctx()
    client = runtime.get_instance().get_client(running.session_id) if running else None
    return _connection(client) if client else None


def _connection(client: SessionClient) -> Connection | None:
    connection = client.client_context
    if connection is None:
        return None
    headers = {name.lower(): value for name, value in connection.headers}
    return Connection(connection.remote_ip or "", headers, dict(connection.cookies))


def verified_email(said: Mapping[str, Any]) -> str:
    """The verified e-mail address among the login's claims ``said``; "" for none."""
    verified = said.get("email_verified")
    if said.get("is_logged_in") is not True or not (verified is True or verified == "true"):
        return ""
    email = said.get("email")
    return permission_policy_and_check.address_of(email) if isinstance(email, str) else ""


def is_local(connection: Connection) -> bool:
    """Whether it comes from this machine, by one of its own names, and through no proxy."""
    if any(name in connection.headers for name in FORWARDED):
        return False
    host = connection.headers.get("host", "localhost")
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    here, origin = _origin(f"{scheme}://{host}"), connection.headers.get("origin")
    if here is None or (origin is not None and _origin(origin) != here):
        return False
    name = here[1].strip("[]")
    return _is_loopback(connection.address) and (name == "localhost" or _is_loopback(name))


def is_own_origin(origin: str, host: str, schemes: Collection[str]) -> bool:
    """Whether ``origin`` is this server's scheme, host and port, as the request names them."""
    connection = _origin(origin)
    return connection is not None and connection in {
        _origin(f"{scheme}://{host}") for scheme in schemes
    }


def _origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; None for other text, such as "null"."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme, host.rstrip("."), int(port or {"http": 80, "https": 443}[scheme])


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def _browser(connection: Connection) -> str:
    """A name for this browser that does not reveal its cookie; without one, for this session."""
    secret = connection.cookies.get(COOKIE) or st.session_state.setdefault(
        _BROWSER, secrets.token_urlsafe(24)
    )
    return f"browser-{hashlib.sha256(secret.encode()).hexdigest()[:16]}"


def enter() -> None:
    """Stop the page for unauthorised users."""
    settled, user = policy(), who()
    if settled.login and st.user.to_dict().get("is_logged_in"):
        with st.sidebar.container(key="account", gap="xxsmall"):
            name = f"{user.name} ({settled.role(user).name.lower()})" if user.name else "Logged in"
            st.caption(plain(name))
            st.button("Log out", key="log out", icon=":material/logout:", on_click=st.logout)
        if not user.logged_in:
            _refuse(
                "Expected a login with an e-mail address that its provider has verified, got none. "
                f"Ask {settled.contact}."
            )
    refused = refusal(Action.LOOK)
    if refused:
        if settled.login and not user.logged_in:
            _log_in(settled)
        _refuse(refused)


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
