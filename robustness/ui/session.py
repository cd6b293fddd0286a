"""What every page needs: who the user is, errors as sentences, links, and controls kept in links.

Hiding or disabling a button is no check of a role: the function behind a click calls ``require``.
Errors on any part of a page become sentences without the server's folders. The server counts
unexpected errors by type; their messages are left out, as they may contain a user's file names.
"""

from __future__ import annotations

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
from typing import Any, NamedTuple, NoReturn, ParamSpec, TypedDict

import streamlit as st
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from streamlit import runtime
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitAPIException

from robustness import runs
from robustness.base import roles, settings
from robustness.base.errors import AccessError, ParameterError, RobustnessError
from robustness.base.options import Field
from robustness.base.roles import Action, Policy, Role, Who, policy
from robustness.base.text import plain
from robustness.base.turns import SupersededError
from robustness.report.threshold import ThresholdInUse
from robustness.runs import UPLOADS, audit, notes
from robustness.statistics.choice import OTHERS
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
"""Kinds are the script of the view, and the images, predictions and camera frames requested while a
slider is held."""


def note_error(error: BaseException) -> None:
    """Count ``error`` by its type."""
    ERRORS.labels(type(error).__name__).inc()


RUN = "run"
IMAGE = "image"
"""Link parameters: the id of a run, and the name of an image in it."""

UPLOAD = "upload"
"""Link parameter for an upload: what ``uploads.keep`` returns, or the id of its shared copy."""


def runs_folder() -> Path:
    """Where the dashboard keeps runs: the setting ``runs``, else ``runs`` in the working folder."""
    return settings.value(settings.RUNS) or Path("runs").resolve()


_BASELINE = "baseline of this session"


def baseline_id(folder: Path) -> str:
    """The id of the run that comparisons start from: this session's, else the pinned one, or ""."""
    chosen = str(st.session_state.get(_BASELINE, ""))
    if chosen and (folder / chosen).is_dir():
        return chosen
    return notes.baseline(folder)


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
    with suppress(StreamlitAPIException):
        st.page_link(page, label=label, icon=icon, query_params=query)


def linked_run() -> None:
    """Link to the run that this page's link names, on pages other than the run's own."""
    run_id = st.query_params.get(RUN)
    if run_id is None:
        return
    with suppress(RobustnessError):  # not a valid run id
        if last_written(runs_folder(), run_id):
            label = f"Open the run {plain(run_id)}"
            page_link("pages/evaluations.py", label, ":material/analytics:", {RUN: run_id})
            return
    # With an image in the link, the page warns that this image cannot be read.
    if IMAGE not in st.query_params:
        st.warning(f"There is no run {plain(run_id)} here.", icon=":material/link_off:")


def last_written(folder: Path, run_id: str) -> int:
    """A number that changes whenever the run is written; 0 if there is none.

    Cached data of a run needs it, as a run's id may be reused. Raises ``RunError`` for an invalid
    id.
    """
    return runs.written(runs.path_by_id(folder, run_id))


def show_what_is_no_run(entries: Sequence[runs.Listed]) -> None:
    """List the folders among ``entries`` that cannot be opened as runs, with the reasons."""
    broken = [entry for entry in entries if entry.reason]
    if not broken:
        return
    if len(broken) == 1:
        title = "1 folder that is not a run"
    else:
        title = f"{len(broken)} folders that are not runs"
    with st.expander(title, icon=":material/folder_off:"):
        for entry in broken:
            st.caption(plain(f"{entry.folder.name}: {entry.reason}"))


def leave() -> None:
    """Remove the run's image and the upload from the link, as another image was chosen."""
    for name in (RUN, IMAGE, UPLOAD):
        st.query_params.pop(name, None)


_SESSION_ID = "takes turns as"


def session() -> str:
    """Random id of the current session; its turns and its runs carry it."""
    return str(st.session_state.setdefault(_SESSION_ID, secrets.token_hex(8)))


# --- who the user is, and what they may do --------------------------------------------------------


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
    current = connection()
    if current is None:  # the browser has left while its script still runs
        last: Who = st.session_state.get(_WHO, Who())
        return last
    user = _identity(current, st.user.to_dict())
    if not user.logged_in:
        user = replace(user, name=_browser(current))
    st.session_state[_WHO] = user
    return user


def who_of(session: str, cookies: Mapping[str, str]) -> Who | None:
    """The user of ``session``; None if it has no page open in the browser with these ``cookies``.

    For requests that name a session. Without a login, ``name`` is empty.
    """
    instance = runtime.get_instance()
    client = instance.get_client(session)
    app_session = instance.get_app_session(session)
    if client is None or app_session is None:
        return None
    connection = _connection(client)
    if connection is None or connection.cookies.get(COOKIE) != cookies.get(COOKIE):
        return None
    return _identity(connection, user_claims(app_session))


def _identity(connection: Connection, claims: Mapping[str, Any]) -> Who:
    """The user that the login's ``claims`` verify; otherwise one without a name."""
    email = verified_email(claims)
    if email:
        return Who(email, logged_in=True)
    return Who(local=is_local(connection))


def me() -> str:
    """The name that owns what this session makes: an e-mail address or a browser's name."""
    return who().name


def role() -> Role:
    """The role of this session's user."""
    return roles.policy().role(who())


def require(
    action: Action, owner: str | None = None, thing: str = "", by: Who | None = None
) -> None:
    """Raise ``AccessError`` unless this session's user, or ``by``, may do ``action``.

    ``owner`` is who owns the thing; ``thing`` is its name in the audit log, such as a run's id.
    Call it once per action, not whenever a page is drawn: refusals go into the audit log.
    """
    user = by or who()
    rules = roles.policy()
    try:
        roles.check(action, user, owner, rules)
    except AccessError:
        _note(action, user, rules, thing, allowed=False)
        raise
    if action in LOGGED:
        _note(action, user, rules, thing, allowed=True)


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
    reason = refusal(action, owner)
    if reason and key and is_click_dropped(key):
        _note(action, who(), roles.policy(), thing, allowed=False)
    return {"key": key, "disabled": disabled or bool(reason), "help": reason or help}


def _note(action: Action, user: Who, rules: Policy, thing: str, *, allowed: bool) -> None:
    """Add to the audit log that ``user`` was allowed the ``action`` or not."""
    audit.note(
        runs_folder(),
        who=user.name,
        role=rules.role(user).name.lower(),
        action=action.name.lower(),
        thing=thing,
        allowed=allowed,
    )


# --- what a connection says -----------------------------------------------------------------------


def connection() -> Connection | None:
    """The connection of this session's browser; None if it has left."""
    context = get_script_run_ctx()
    if context is None:
        return None
    client = runtime.get_instance().get_client(context.session_id)
    if client is None:
        return None
    return _connection(client)


def _connection(client: SessionClient) -> Connection | None:
    context = client.client_context
    if context is None:
        return None
    headers = {name.lower(): value for name, value in context.headers}
    return Connection(context.remote_ip or "", headers, dict(context.cookies))


def verified_email(claims: Mapping[str, Any]) -> str:
    """The verified e-mail address among the login's ``claims``; "" for none."""
    if claims.get("is_logged_in") is not True:
        return ""
    verified = claims.get("email_verified")
    is_verified = verified is True or verified == "true"
    email = claims.get("email")
    if not is_verified or not isinstance(email, str):
        return ""
    return roles.address_of(email)


def is_local(connection: Connection) -> bool:
    """Whether it comes from this machine, by one of its own names, and through no proxy."""
    if any(name in connection.headers for name in FORWARDED):
        return False
    host = connection.headers.get("host", "localhost")
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    own_origin = _origin(f"{scheme}://{host}")
    if own_origin is None:
        return False
    origin = connection.headers.get("origin")
    if origin is not None and _origin(origin) != own_origin:
        return False
    host_name = own_origin.host.strip("[]")
    is_named_locally = host_name == "localhost" or _is_loopback(host_name)
    return is_named_locally and _is_loopback(connection.address)


def is_own_origin(origin: str, host: str, schemes: Collection[str]) -> bool:
    """Whether ``origin`` is this server's: the ``host`` of the request, by one of ``schemes``."""
    parsed = _origin(origin)
    if parsed is None:
        return False
    own_origins = {_origin(f"{scheme}://{host}") for scheme in schemes}
    return parsed in own_origins


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _origin(text: str) -> _Origin | None:
    """The origin that ``text`` names; None for other text, such as "null"."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    port_number = int(port) if port else _DEFAULT_PORTS[scheme]
    return _Origin(scheme, host.rstrip("."), port_number)


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)  # such as ::ffff:127.0.0.1
    return bool((mapped or parsed).is_loopback)


def _browser(connection: Connection) -> str:
    """A name for this browser that does not reveal its cookie; without one, for this session."""
    secret = connection.cookies.get(COOKIE)
    if not secret:
        secret = st.session_state.setdefault(_BROWSER, secrets.token_urlsafe(24))
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return f"browser-{digest[:16]}"


def enter() -> None:
    """Stop the page for unauthorised users."""
    rules = policy()
    user = who()
    if rules.login and st.user.to_dict().get("is_logged_in"):
        _account(user, rules)
        if not user.logged_in:
            _refuse(
                "Expected a login with an e-mail address that its provider has verified, got none. "
                f"Ask {rules.contact}."
            )
    reason = refusal(Action.LOOK)
    if not reason:
        return
    if rules.login and not user.logged_in:
        _log_in(rules)
    _refuse(reason)


def _account(user: Who, rules: Policy) -> None:
    """Draw the user's name and role, and the button to log out, in the sidebar."""
    with st.sidebar.container(key="account", gap="xxsmall"):
        if user.name:
            text = f"{user.name} ({rules.role(user).name.lower()})"
        else:
            text = "Logged in"
        st.caption(plain(text))
        st.button("Log out", key="log out", icon=":material/logout:", on_click=st.logout)


def _log_in(rules: Policy) -> None:
    """Draw the button to log in, and stop the page."""
    st.info("Log in to use this dashboard.", icon=":material/lock:")
    if not st.button("Log in", key="log in", type="primary", icon=":material/login:"):
        st.stop()
    try:
        st.login()
    except StreamlitAPIException:
        _refuse(
            "The setting 'login' needs a valid table [auth] in .streamlit/secrets.toml, and "
            f"Streamlit found none. Ask {rules.contact}."
        )
    st.stop()


def _refuse(reason: str) -> NoReturn:
    """Show ``reason`` and stop the page."""
    st.error(plain(reason), icon=":material/lock:")
    st.stop()


# --- errors as sentences --------------------------------------------------------------------------


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
    folders = {Path.cwd(), Path.home()}
    with suppress(ParameterError):  # the sentence may be about the settings
        folders |= _folders_of_settings()
    folders.discard(Path("/"))
    # These are cut by name, as a space in a name ends what _FOLDERS finds. The longest come first:
    # one may be within another.
    for folder in sorted(folders, key=lambda folder: -len(str(folder))):
        text = text.replace(f"{folder}{os.sep}", "")
    text = _OF_AN_UPLOAD.sub("", text)
    return _FOLDERS.sub("", text)


def _folders_of_settings() -> set[Path]:
    """The paths that settings name, and the folders that these are in."""
    folders: set[Path] = set()
    for record in settings.REGISTRY:
        if not record.is_path:
            continue
        path = settings.value(record)
        if path is not None:
            folders.update((path, path.parent))
    return folders


@contextmanager
def boundary(icon: str = ":material/error:") -> Iterator[None]:
    """Stop drawing at the first ``RobustnessError`` and show its sentence.

    Does the same for an unexpected error of the disk, and logs it for the operator. A script
    that a newer run of the page replaces ends without a message, as the newer one draws the page.
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


_LAST_CLICK = "said of the last click"
"""Session key: whether the last click succeeded, and the text about it, if there is one."""


def do(action: Callable[..., str | None], *arguments: Any) -> None:
    """Perform the ``action`` of a click; ``say`` then shows what it returns, or why it failed."""
    try:
        st.session_state[_LAST_CLICK] = True, action(*arguments)
    except RobustnessError as error:
        st.session_state[_LAST_CLICK] = False, sentence(error)


def say() -> None:
    """Show the result of the last click, once."""
    succeeded, text = st.session_state.pop(_LAST_CLICK, (True, None))
    if not text:
        return
    if succeeded:
        st.success(plain(text), icon=":material/check:")
    else:
        st.error(plain(text), icon=":material/error:")


def fragment(
    draw: Callable[Arguments, None], *, run_every: float | None = None
) -> Callable[Arguments, None]:
    """``draw`` as a part of a page that reruns alone, with a boundary of its own.

    ``run_every`` is the number of seconds between reruns; without it only controls rerun the part.
    """

    @wraps(draw)
    def checked_draw(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        require(Action.LOOK)  # as a rerun of a part does not pass through ``enter``
        draw(*args, **kwargs)

    return st.fragment(boundary()(checked_draw), run_every=run_every)


# --- controls, and their values in the link -------------------------------------------------------


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


_EXTRA_WEIGHT = 3.0
"""Weight of what the user chooses to count more; the rest weighs 1."""


def option_input(field: Field, names: Sequence[str] = ()) -> Any:
    """Draw the input of an option and return its value; ``names`` are what may have a weight."""
    option = field.option
    if option.choices is not None:
        return one_of(
            option.label, option.choices, field.key, first=option.default, help=option.help
        )
    bound: dict[str, Any] = {"key": field.key, "bind": "query-params", "help": option.help}
    if field.kind is bool:
        return st.toggle(option.label, option.default, **bound)
    bound["placeholder"] = option.blank
    if field.kind == Mapping[str, float] | None:
        chosen = st.multiselect(option.label, names, **bound)
        weights = dict.fromkeys(chosen, _EXTRA_WEIGHT)
        return {**weights, OTHERS: 1.0} if weights else option.default
    if field.kind in (int, int | None):
        return st.number_input(
            option.label, min_value=option.least, value=option.default, step=1, **bound
        )
    if field.kind in (float, float | None):
        number = st.number_input(
            option.label, min_value=0.0, max_value=option.most, value=None, **bound
        )
        return option.default if number is None else number / option.scale
    return st.text_input(option.label, option.default, **bound) or option.default


def place_of_own(view: str, views: Iterable[str], key: str) -> DeltaGenerator:
    """A container for ``view`` at a position that no other of ``views`` uses.

    Where views share one, parts of the view before stay until the new one is complete.
    """
    containers = {}
    for name in views:
        if name == view:
            containers[name] = st.container(key=key)
        else:
            containers[name] = st.empty()
    return containers[view]


def listed(label: str, options: Options, key: str, first: str | None = None) -> str:
    """Like ``one_of``, as a drop-down list."""
    texts = _texts(options, key)
    keep_in_link(key, texts, first or next(iter(texts), None))
    return st.selectbox(label, list(texts), format_func=texts.__getitem__, key=key)


def _texts(options: Options, key: str) -> Mapping[str, str]:
    """The text of each option; empties the control ``key`` if its value is no option any more."""
    forget_unless(options, key)
    if isinstance(options, Mapping):
        return options
    return {name: name for name in options}


def link_number(text: str, least: float = -math.inf, most: float = math.inf) -> float | None:
    """The number in ``text``, a value of a link; None unless it is from ``least`` to ``most``.

    Every number of a link is read here, those of Streamlit's own controls too: infinity, and digits
    beyond what a float holds, are no numbers.
    """
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number) or not least <= number <= most:
        return None
    return number


def new_in_link(key: str) -> list[str] | None:
    """The link's values of ``key`` if somebody changed them since ``set_in_link``; else None.

    With ``set_in_link`` the latest change wins: one of the link, or one of the page.
    """
    values = st.query_params.get_all(key)
    if values == st.session_state.get(f"{key} seen", []):
        return None
    return values


def set_in_link(key: str, values: Sequence[str]) -> None:
    """Set the link's values of ``key``; an empty list removes the key."""
    if list(values) != st.query_params.get_all(key):
        st.query_params.update({key: list(values)})
    st.session_state[f"{key} seen"] = list(values)


_WARNINGS = "link warnings"


def link_warnings() -> None:
    """Reserve the place at the top of a page for what its link cannot have."""
    st.session_state[_WARNINGS] = st.container()


_MOST_SHOWN = 40


def brief(value: str) -> str:
    """The first 40 characters of ``value``, which a link or a file's name may make endless."""
    if len(value) <= _MOST_SHOWN:
        return value
    return f"{value[:_MOST_SHOWN]}…"


class _InLink(NamedTuple):
    """What ``keep_in_link`` last left behind: the page, the link's values, and the control's."""

    page: str | None = None
    values: list[str] | None = None
    choice: Any = None


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
    a list where several can be. Names in the link that ``texts`` lacks are ignored, with a warning
    if it ``warns``. A value that ``goes_along`` is kept for other pages, too: Streamlit forgets a
    control when its page is left.
    """
    state = st.session_state
    several = isinstance(first, list)
    page = state.get("page")
    linked = st.query_params.get_all(key)
    last: _InLink = state.get(f"{key} in link", _InLink())
    link_changed = linked != last.values
    # Another page's control has the same key, but not the same value.
    is_new = key not in state or page != last.page
    if goes_along and is_new and not linked and state.get("arrived"):
        kept = state.get(f"kept {key}", first)
        if several:
            state[key] = [name for name in kept if name in texts]
        else:
            state[key] = kept if kept in texts else first
    # A choice made before the browser has the link of the last one comes with that outdated link:
    # the link counts only where the control has not changed.
    elif is_new or (link_changed and state[key] == last.choice):
        names, unknown = _names_in_link(linked, texts)
        if unknown and warns and link_changed:
            warn_of_link(key, unknown[0])
        if not several:
            state[key] = names[-1] if names else first
        elif names or linked == [""]:  # an empty value says that none is chosen
            state[key] = names
        else:
            state[key] = first
    choice = state[key]
    if goes_along:
        state[f"kept {key}"] = choice
    if choice in (first, None):
        target = []
    elif several:
        target = list(choice) or [""]
    else:
        target = [_in_link(choice)]
    if target != linked:
        st.query_params.update({key: target})  # an empty list removes the key
    state[f"{key} in link"] = _InLink(page, target, choice)


def _names_in_link(linked: Sequence[str], texts: Mapping[Any, str]) -> tuple[list[Any], list[str]]:
    """The names of options in the link's values, and the values that are no option."""
    names_by_value: dict[str, Any] = {}
    for name in texts:
        names_by_value[str(name)] = name
        names_by_value[_in_link(name)] = name
    names = [names_by_value[value] for value in linked if value in names_by_value]
    unknown = [value for value in linked if value and value not in names_by_value]
    return names, unknown


def _in_link(name: str | float | None) -> str:
    """The value in the link for the option ``name``: 1 for 1.0."""
    if isinstance(name, str):
        return name
    return str(name).removesuffix(".0")


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
        state[f"{key} in link"] = _InLink(state.get("page"), [], state.get(key))


# --- from page to page ----------------------------------------------------------------------------


def arrive(page: str) -> None:
    """Record which page this script run draws; called first on every page."""
    st.session_state["arrived"] = st.session_state.get("page", page) != page
    st.session_state["page"] = page
    restore_link()
