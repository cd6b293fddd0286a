"""Identity of the current user, login, and checks of what they may do.

Hiding or disabling a button is no check: the function behind a click calls ``require``.

Turns errors on any part of a page into sentences, without the server's folders.

What this server counts: unexpected errors by type, and the durations of updates.

Messages of errors are left out, as they may contain a user's file names.

Links between pages, and the run and image that a link may name.

Controls that several pages share, and their values as the user moves between pages.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import math
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypedDict

import streamlit as st
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from streamlit import runtime
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitAPIException

from robustness import runs
from robustness.base import roles, settings
from robustness.base.errors import AccessError, ParameterError, RobustnessError
from robustness.base.roles import Action, Policy, Role, Who, policy
from robustness.base.text import plain
from robustness.base.turns import SupersededError
from robustness.report.threshold import ThresholdInUse
from robustness.runs import UPLOADS, audit, notes
from robustness.ui.patches import (
    SessionClient,
    change_link,
    get_script_run_ctx,
    is_click_dropped,
    restore_link,
    user_claims,
)

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
"""All figures of this server."""

ERRORS = Counter("robustness_errors", "Unexpected errors.", ["type"], registry=REGISTRY)

UPDATES = Histogram(
    "robustness_update_seconds",
    "Duration of updates of the view Live, by kind.",
    ["kind"],
    registry=REGISTRY,
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Its script, and the images, predictions and camera frames requested while a slider is held."""


def note_error(error: BaseException) -> None:
    """Count ``error``."""
    ERRORS.labels(type(error).__name__).inc()


RUN = "run"
IMAGE = "image"
"""Link parameters: the id of a run, and the name of an image in it."""

UPLOAD = "upload"
"""Link parameter for an upload: as ``reloads`` has it, or the id of its shared copy."""


def runs_folder() -> Path:
    """Where the dashboard keeps runs: the setting ``runs``, else ``runs`` in the working folder."""
    return settings.value(settings.RUNS) or Path("runs").resolve()


_BASELINE = "baseline of this session"


def baseline_id(folder: Path) -> str:
    """The id of the run that comparisons start from: this session's, else the pinned one, or ""."""
    own = str(st.session_state.get(_BASELINE, ""))
    return own if own and (folder / own).is_dir() else notes.baseline(folder)


def set_baseline(run_id: str) -> None:
    """Make ``run_id`` the baseline of this session; "" for the pinned one."""
    st.session_state[_BASELINE] = run_id


_ACCEPTED = "accepted from"


def accepted_from() -> Mapping[str, ThresholdInUse]:
    """The safe thresholds that this session uses on One image, by model."""
    thresholds: Mapping[str, ThresholdInUse] = st.session_state.get(_ACCEPTED, {})
    return thresholds


def accept_from(thresholds: Mapping[str, ThresholdInUse]) -> None:
    """Use ``thresholds``, by model, on One image in this session; {} for none."""
    st.session_state[_ACCEPTED] = thresholds


def page_link(page: str, label: str, icon: str, query: Mapping[str, Any]) -> None:
    """Draw a link to another page; nothing where a page runs alone as the main script."""
    with contextlib.suppress(StreamlitAPIException):
        st.page_link(page, label=label, icon=icon, query_params=query)


def linked_run() -> None:
    """Link to the run that this page's link names, on pages other than the run's own."""
    if (run_id := st.query_params.get(RUN)) is None:
        return
    with contextlib.suppress(RobustnessError):  # not a valid run id
        if last_written(runs_folder(), run_id):
            label = f"Open the run {plain(run_id)}"
            page_link("pages/evaluations.py", label, ":material/analytics:", {RUN: run_id})
            return
    if IMAGE not in st.query_params:  # else its image is missed
        st.warning(f"There is no run {plain(run_id)} here.", icon=":material/link_off:")


def last_written(folder: Path, run_id: str) -> int:
    """A number that changes whenever the run is written; 0 if there is none.

    Cached data of a run needs it, as a run's id may be reused. Raises ``RunError`` for an invalid
    id.
    """
    return runs.written(runs.place(folder, run_id))


def show_what_is_no_run(entries: Sequence[runs.Listed]) -> None:
    """List the folders among ``entries`` that cannot be opened as runs, with the reasons."""
    broken = [entry for entry in entries if entry.reason]
    if broken:
        several = "folders that are not runs" if len(broken) > 1 else "folder that is not a run"
        with st.expander(f"{len(broken)} {several}", icon=":material/folder_off:"):
            for entry in broken:
                st.caption(plain(f"{entry.folder.name}: {entry.reason}"))


def leave() -> None:
    """Remove the run's image and the upload from the link, as another image was chosen."""
    for name in (RUN, IMAGE, UPLOAD):
        st.query_params.pop(name, None)


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

_WHO = "who this is"
_BROWSER = "browser of this session"


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
    client = running.get_client(session)
    app = running.get_app_session(session)
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
    return roles.policy().role(who())


def require(
    action: Action, owner: str | None = None, thing: str = "", by: Who | None = None
) -> None:
    """Raise ``AccessError`` unless this session, or ``by``, may do ``action``.

    ``owner`` is who owns the thing; ``thing`` is its name in the audit log, such as a run's id.
    Call it once per action, not whenever a page is drawn.
    """
    asking = by or who()
    settled = roles.policy()
    try:
        roles.check(action, asking, owner, settled)
    except AccessError:
        _note(action, asking, settled, thing, allowed=False)
        raise
    if action in LOGGED:
        _note(action, asking, settled, thing, allowed=True)


def refusal(action: Action, owner: str | None = None) -> str:
    """Why this session may not do ``action``; "" if it may."""
    try:
        roles.check(action, who(), owner, roles.policy())
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
        _note(action, who(), roles.policy(), thing, allowed=False)
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
    return roles.address_of(email) if isinstance(email, str) else ""


def is_local(connection: Connection) -> bool:
    """Whether it comes from this machine, by one of its own names, and through no proxy."""
    if any(name in connection.headers for name in FORWARDED):
        return False
    host = connection.headers.get("host", "localhost")
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    here = _origin(f"{scheme}://{host}")
    origin = connection.headers.get("origin")
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
    settled = policy()
    user = who()
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


Arguments = ParamSpec("Arguments")

_FOLDERS = re.compile(r"(?<![\w.~:/<])(?:/[^\s/'\"`,;:()]+)+/")
"""The folders of an absolute path, but not parts of a web address or a fraction."""

_OF_AN_UPLOAD = re.compile(rf"{re.escape(UPLOADS)}/[0-9a-f]+/")
"""The folder of an upload in that of runs."""


def sentence(error: RobustnessError) -> str:
    """The sentence of ``error`` with each absolute path cut to its last part."""
    return without_folders(str(error))


def without_folders(text: str) -> str:
    """``text`` with each absolute path, and that of an upload, cut to its last part."""
    roots = {Path.cwd(), Path.home()}
    with suppress(ParameterError):  # the sentence may be about the settings
        named = [settings.value(record) for record in settings.REGISTRY if record.is_path]
        roots |= {folder for path in named if path is not None for folder in (path, path.parent)}
    for root in sorted(roots - {Path("/")}, key=lambda path: -len(str(path))):
        text = text.replace(f"{root}{os.sep}", "")  # their names may contain spaces
    return _FOLDERS.sub("", _OF_AN_UPLOAD.sub("", text))


@contextmanager
def boundary(icon: str = ":material/error:") -> Iterator[None]:
    """Stop drawing at the first ``RobustnessError`` and show its sentence.

    Does the same for an unexpected error of the disk, and logs it for the operator. A script
    with a newer run ends without a word: the newer one draws the page.
    Exceptions by which Streamlit stops or reruns a script pass through.
    """
    try:
        yield
    except RobustnessError as error:
        st.error(plain(sentence(error)), icon=icon)
    except SupersededError:
        st.stop()
    except OSError as error:
        note_error(error)
        logging.getLogger(__name__).exception("A page cannot read or write a file:")
        reason = (error.strerror or type(error).__name__).rstrip(".")
        st.error(
            f"The server cannot read or write a file: {plain(reason)}. "
            "Saved results are safe. Try again, or ask the operator of this dashboard.",
            icon=icon,
        )


_SAID = "said of the last click"


def do(action: Callable[..., str | None], *arguments: Any) -> None:
    """Perform the ``action`` of a click; ``say`` then shows what it returns, or why it failed."""
    try:
        st.session_state[_SAID] = True, action(*arguments)
    except RobustnessError as error:
        st.session_state[_SAID] = False, sentence(error)


def say() -> None:
    """Show the result of the last click."""
    done, text = st.session_state.pop(_SAID, (True, None))
    if text and done:
        st.success(plain(text), icon=":material/check:")
    elif text:
        st.error(plain(text), icon=":material/error:")


def fragment(
    draw: Callable[Arguments, None], *, run_every: float | None = None
) -> Callable[Arguments, None]:
    """``draw`` as a part of a page that reruns alone, with a boundary of its own."""

    @wraps(draw)
    def entered(*args: Arguments.args, **named: Arguments.kwargs) -> None:
        require(Action.LOOK)
        draw(*args, **named)

    return st.fragment(boundary()(entered), run_every=run_every)


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
    state = st.session_state
    several = isinstance(first, list)
    page = state.get("page")
    said = st.query_params.get_all(key)
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
