"""Every private interface of Streamlit that the dashboard uses or replaces.

A new version of Streamlit may change any of them without notice: a test names each that is gone,
and each ``data-testid`` of the style and the scripts. Other modules import private names from here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakValueDictionary

import streamlit as st
from streamlit import net_util, runtime
from streamlit.components.v2.types import ComponentRenderer as ComponentRenderer
from streamlit.elements.lib.column_types import ColumnConfig as ColumnConfig
from streamlit.runtime import Runtime as Runtime
from streamlit.runtime.app_session import AppSession as AppSession
from streamlit.runtime.caching.cache_utils import Cache
from streamlit.runtime.caching.cache_utils import CachedFunc as CachedFunc
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx, script_runner
from streamlit.runtime.session_manager import SessionClient as SessionClient
from streamlit.runtime.state.query_params import (
    EMBED_QUERY_PARAMS_KEYS,
    is_empty_url_value,
    parse_url_param,
    sanitize_query_string,
)
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState
from streamlit.runtime.uploaded_file_manager import UploadedFile as UploadedFile
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager

CHECKED_WITH = "1.67.0"
"""The version of Streamlit that every function here was checked with."""


LOGGERS_OF_SESSIONS = (
    "streamlit.runtime.websocket_session_manager",
    "streamlit.web.server.starlette.starlette_websocket",
)
"""Names of the loggers of WebSockets and of what they send."""


def keep_shared_caches() -> None:
    """Let a browser that clears caches clear its own session, not the caches of everybody."""

    def clear_own_session(session: AppSession) -> None:
        session._session_state.clear()

    AppSession._handle_clear_cache_request = (  # type: ignore[method-assign]
        clear_own_session  # type: ignore[assignment]
    )


def send_all_of_fragments() -> None:
    """Send what a fragment has drawn, even if it has restarted.

    Of the messages that wait, Streamlit then drops those of the fragment, but neither references
    to what the browser has nor what fragments within have drawn. What these stand in may be
    missing in the browser, and the page goes blank.
    """
    original_clear = ForwardMsgQueue.clear

    def clear(
        queue: ForwardMsgQueue,
        retain_lifecycle_msgs: bool = False,
        fragment_ids_this_run: list[str] | None = None,
    ) -> None:
        if fragment_ids_this_run is not None:
            fragment_ids_this_run = []  # the messages of no fragment are dropped
        original_clear(queue, retain_lifecycle_msgs, fragment_ids_this_run)

    ForwardMsgQueue.clear = clear  # type: ignore[method-assign, assignment]


def take_values_in_turn() -> None:
    """Let the session take the browser's values of one run after another, the newest last.

    Streamlit starts a run while the one before ends, and asks whether that is cancelled before it
    takes its values, not meanwhile: older values could replace those of the latest click.
    """
    original_init = SafeSessionState.__init__
    original_take = SafeSessionState.on_script_will_rerun
    # By session: each of its runs has a state of its own around the one of the session.
    locks: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def init_with_shared_lock(
        runs: SafeSessionState, state: Any, *args: Any, **kwargs: Any
    ) -> None:
        original_init(runs, state, *args, **kwargs)
        lock = locks.setdefault(id(state), threading.RLock())
        # As the class itself does: its ``__setattr__`` sets a value of the session.
        object.__setattr__(runs, "_lock", lock)

    def take_in_turn(runs: SafeSessionState, *args: Any, **kwargs: Any) -> None:
        with runs._lock:  # the original asks again whether the run is cancelled
            original_take(runs, *args, **kwargs)

    SafeSessionState.__init__ = init_with_shared_lock  # type: ignore[method-assign, assignment]
    SafeSessionState.on_script_will_rerun = take_in_turn  # type: ignore[method-assign, assignment]


def keep_kernels() -> None:
    """Leave Keras as it is after a script has run; Streamlit clears its session.

    That discards the prepared kernels of every loaded model, which live as long as the process:
    SqueezeNet's next gradient pass took 1.5 s instead of 0.05 s.
    """

    def clean_nothing() -> None:
        pass

    script_runner._clean_problem_modules = clean_nothing


def stay_off_the_network() -> None:
    """Stop the look-up of this server's public address.

    Streamlit asks a public host whenever a connection names a foreign origin, and everybody waits.
    The operator names the address instead: ``server.corsAllowedOrigins``.
    """

    def unknown_address() -> None:
        return None

    net_util.get_external_ip = unknown_address


def index_page() -> str:
    """The HTML that Streamlit answers for every page, whose script it runs later."""
    return (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")


def user_claims(session: AppSession) -> Mapping[str, Any]:
    """The login's claims about the user of ``session``, as ``st.user`` shows them to a script."""
    return session._user_info


def is_click_dropped(key: str) -> bool:
    """Whether a click on the button ``key`` came for this run and called no callback.

    Streamlit drops clicks on disabled buttons, at the latest when the button is drawn.
    """
    context = get_script_run_ctx()
    if context is None:
        return False
    state = context.session_state._state
    widget_id = state._key_id_mapper.get_id_from_key(key, "")
    new_values = state._new_widget_state
    if widget_id is None or widget_id not in new_values:
        return False
    is_clicked = bool(new_values[widget_id])
    metadata = new_values.widget_metadata.get(widget_id)  # of the button as it was drawn last
    was_called = metadata is not None and metadata.callback is not None and not metadata.disabled
    return is_clicked and not was_called


def open_sessions() -> int:
    """The number of browsers that have a page open."""
    if not runtime.exists():
        return 0
    manager = getattr(runtime.get_instance(), "_session_mgr", None)
    if not manager:
        return 0
    return manager.num_active_sessions()


def report_departures(report: Callable[[AppSession, bool], None]) -> None:
    """Call ``report`` with each session that its browser leaves, and whether a script ever ran.

    The call comes from the server's event loop. Streamlit keeps such a session, with an event loop
    of its own and three descriptors, in case the browser returns. It drops the session when later
    ones take its place, and closes its descriptors only when garbage is collected.
    """
    original_disconnect = WebsocketSessionManager.disconnect_session

    def disconnect_and_report(self: WebsocketSessionManager, session_id: str) -> None:
        active = self.get_active_session_info(session_id)
        original_disconnect(self, session_id)
        if active is None:
            return
        session = active.session
        has_run = active.script_run_count > 0 or session._scriptrunner is not None
        report(session, has_run)

    WebsocketSessionManager.disconnect_session = (  # type: ignore[method-assign]
        disconnect_and_report
    )


def uploaded_files() -> dict[str, list[bytes]]:
    """The contents of the files that each session has uploaded, by session."""
    manager = Runtime.instance().uploaded_file_mgr
    assert isinstance(manager, MemoryUploadedFileManager)
    contents = {}
    # Lists of what is there now, as other threads add files meanwhile.
    for session_id, files in list(manager.file_storage.items()):
        contents[session_id] = [file.data for file in list(files.values())]
    return contents


def forget_files(uploads: object) -> None:
    """Free the files in this server's memory of an uploader that is gone.

    ``uploads`` was its value: a file, a list of files, or anything else for none.
    """
    context = get_script_run_ctx()
    if context is None or not Runtime.exists():
        return
    manager = Runtime.instance().uploaded_file_mgr
    if not isinstance(manager, MemoryUploadedFileManager):
        return
    files = uploads if isinstance(uploads, list) else [uploads]
    for file in files:
        if isinstance(file, UploadedFile):
            manager.remove_file(context.session_id, file.file_id)


def restore_link() -> None:
    """After the browser's Back or Forward, restore what Streamlit dropped from the link.

    It drops every parameter that a control of the previous page was bound to.
    """
    context = get_script_run_ctx()
    if context is None or not context.is_history_navigation:
        return
    link = parse_qs(sanitize_query_string(context.query_string), keep_blank_values=True)
    known_names = {*st.query_params, *EMBED_QUERY_PARAMS_KEYS}
    dropped = {}
    for name, values in link.items():
        if name not in known_names and name.lower() not in known_names:
            dropped[name] = values
    if dropped:
        with context.session_state.query_params() as parameters:
            parameters.set_initial_query_params(context.query_string)
        st.query_params.update(dropped)


def change_link(values: Mapping[str, str]) -> None:
    """Set ``values`` in the link, also of controls that hold them; "" takes one out.

    Streamlit refuses that for a control's own, which is for whoever sets its value, too.
    """
    context = get_script_run_ctx()
    if context is None:
        return
    with context.session_state.query_params() as parameters:
        for name, value in values.items():
            if value:
                parameters.set_with_no_forward_msg(name, value)
            else:
                parameters.discard_param_no_forward_msg(name)
        parameters._send_query_param_msg()


def report_ignored_values(
    report: Callable[[str, str, str], None], number: Callable[[str], float | None]
) -> None:
    """Call ``report`` with key, value and reason if a control does not take the link's value.

    Streamlit drops or corrects the value without a word, and fails at an infinite number.
    ``number`` reads numbers, which a control takes as they are or not at all.
    """
    original_seed = SessionState._seed_widget_from_url

    def is_number_taken(metadata: Any, value: str | list[str]) -> bool:
        text = value if isinstance(value, str) else value[-1]
        linked_number = number(text)
        return linked_number is not None and metadata.deserializer(linked_number) == linked_number

    def seed_and_report(
        state: SessionState, metadata: Any, key: str, widget_id: str, value: str | list[str]
    ) -> bool:
        is_empty = is_empty_url_value(value)
        is_number = metadata.value_type == "double_value"
        is_seeded = False
        is_whole = False
        if is_number and not is_empty and not is_number_taken(metadata, value):
            state._clear_url_param(key)
        else:
            is_seeded = original_seed(state, metadata, key, widget_id, value)
            if is_seeded:
                control_value = state._new_session_state[key]
            else:
                control_value = metadata.deserializer(None)
            with suppress(ValueError, TypeError, IndexError):
                linked_value = parse_url_param(value, metadata.value_type)
                is_whole = linked_value == metadata.serializer(control_value)
        if not is_whole and not is_empty:
            text = value if isinstance(value, str) else ", ".join(value)
            report(key, text, "not a valid value")
        return is_seeded

    SessionState._seed_widget_from_url = seed_and_report  # type: ignore[method-assign, assignment]


def forget_locks_of_values() -> None:
    """Drop the lock of a cached value once nobody waits for it.

    Streamlit keeps one for each value that was ever computed, also of those that a cache dropped:
    a held slider added 80 MB an hour.
    """
    original_init = Cache.__init__

    def init_with_weak_locks(cache: Cache[Any]) -> None:
        original_init(cache)
        cache._value_locks = WeakValueDictionary()  # type: ignore[assignment]

    def value_lock(cache: Cache[Any], value_key: str) -> threading.Lock:
        with cache._value_locks_lock:
            return cache._value_locks.setdefault(value_key, threading.Lock())

    Cache.__init__ = init_with_weak_locks  # type: ignore[method-assign, assignment]
    Cache.compute_value_lock = value_lock  # type: ignore[method-assign, assignment]
