"""Private interfaces of other libraries: checked with the installed versions, and still needed."""

from __future__ import annotations

import gc
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import streamlit as st
from streamlit.runtime.caching.cache_utils import Cache
from streamlit.runtime.scriptrunner import StopException, script_runner
from streamlit.runtime.state.query_params import QueryParams
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState
from streamlit.testing.v1 import AppTest
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.h11_impl import H11Protocol

from benchmarks.support.repository import ROOT
from robustness.models import frameworks
from robustness.models.frameworks import keras
from robustness.ui import connections, patches
from robustness.ui.session import link_number
from tests.test_conventions import PRODUCT, named, room

STYLES = {".css", ".js", ".py"}

CHECKED = {
    **frameworks.CHECKED_WITH,
    "streamlit": patches.CHECKED_WITH,
    "uvicorn": connections.CHECKED_WITH,
}

OWN = {
    "robustness/models/frameworks.py",
    "robustness/ui/patches.py",
}

_PRIVATE = re.compile(
    r"(?<![\w.\"])(?!self\.|cls\.)\w+(?:\[\w+\])?(?:\.\w+)*\._(?!_|replace\b|asdict\b|fields\b)\w+"
    r"|tensorflow\.python\.|keras\.src\b|openvino\._|openvino\.frontend\."
    r"|streamlit\.(?:runtime\.|components\.|elements\.)|streamlit\.runtime import"
)


@pytest.mark.parametrize("package", CHECKED)
def test_private_interfaces_are_checked_with_the_installed_version(package: str) -> None:
    """After an update: read each entry of the file again, then note the new version there."""
    assert version(package) == CHECKED[package]


@pytest.mark.parametrize(
    ("package", "file", "used"),
    [
        ("streamlit", "runtime/app_session.py", "self._handle_clear_cache_request()"),
        ("streamlit", "runtime/app_session.py", "self._user_info"),
        ("streamlit", "runtime/app_session.py", "self._session_state"),
        ("streamlit", "runtime/app_session.py", "self._browser_queue.clear("),
        ("streamlit", "runtime/caching/cache_utils.py", "return self._value_locks[value_key]"),
        ("streamlit", "runtime/forward_msg_queue.py", "delta.fragment_id not in fragment_ids_"),
        ("streamlit", "runtime/runtime.py", "self._session_mgr"),
        ("streamlit", "runtime/runtime.py", "self._session_mgr.disconnect_session("),
        ("streamlit", "runtime/app_session.py", "if self._scriptrunner is None:"),
        ("streamlit", "runtime/websocket_session_manager.py", "session_info.script_run_count,"),
        ("streamlit", "runtime/state/session_state.py", "self._key_id_mapper.get_id_from_key("),
        ("streamlit", "runtime/state/safe_session_state.py", 'object.__setattr__(self, "_lock"'),
        ("streamlit", "runtime/state/session_state.py", "metadata is None or metadata.disabled"),
        ("streamlit", "runtime/state/session_state.py", "and self._seed_widget_from_url("),
        ("streamlit", "runtime/scriptrunner/script_runner.py", "backend.clear_session()"),
        ("streamlit", "runtime/scriptrunner/script_runner.py", "(_clean_problem_modules)"),
        ("streamlit", "web/server/server_util.py", "net_util.get_external_ip"),
        ("uvicorn", "protocols/http/h11_impl.py", "self.connections.discard(self)"),
        ("uvicorn", "protocols/http/h11_impl.py", "self.timeout_keep_alive_task = None"),
        ("uvicorn", "protocols/http/h11_impl.py", "self.response_complete = False"),
        ("openvino", "frontend/tensorflow/node_decoder.py", "TFGraphNodeDecoder.get_variable("),
        ("keras", "src/ops/function.py", "self._nodes_by_depth"),
        ("keras", "src/ops/operation.py", "self._inbound_nodes"),
        ("keras", "src/ops/operation.py", "self._outbound_nodes"),
        ("keras", "src/layers/layer.py", "def _flatten_layers("),
    ],
)
def test_what_is_used_or_replaced_is_still_there(package: str, file: str, used: str) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert used in (Path(str(spec.origin)).parent / file).read_text(encoding="utf-8")


def test_the_server_speaks_http_by_the_protocol_that_has_limits() -> None:
    assert AutoHTTPProtocol is H11Protocol


def test_what_style_and_scripts_look_for_is_still_drawn() -> None:
    """Streamlit's marks of its elements, in its scripts: a selector of one that is gone is void."""
    files = [path for path in (ROOT / "robustness" / "ui").rglob("*") if path.suffix in STYLES]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    marks = set(re.findall(r"data-testid\^?=\\?[\"']?(\w+)", text))
    spec = find_spec("streamlit")
    assert spec is not None
    scripts = Path(str(spec.origin)).parent.glob("static/static/js/*.js")
    drawn = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    assert len(marks) > 20
    assert {mark for mark in marks if mark not in drawn} == set()


def test_keras_is_cleared_by_its_user_and_by_no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who imports the library may clear the session of Keras; the dashboard keeps its models."""
    layers, clear = keras().layers, keras().backend.clear_session
    layers.Dense(1)
    clear()
    assert layers.Dense(1).name == "dense"
    original = script_runner._clean_problem_modules
    monkeypatch.setattr(script_runner, "_clean_problem_modules", original)
    patches.keep_kernels()
    script_runner._clean_problem_modules()
    assert layers.Dense(1).name == "dense_1"


def test_a_cancelled_run_replaces_no_value_of_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have begun to take the browser's values when a click cancels it."""
    for name in ("__init__", "on_script_will_rerun"):
        monkeypatch.setattr(SafeSessionState, name, getattr(SafeSessionState, name))  # put back
    patches.take_values_in_turn()
    begun, goes_on, is_cancelled = (threading.Event() for _ in range(3))
    values: list[str] = []

    def take(state: SessionState, new: str, **_: object) -> None:
        if new == "old":
            begun.set()
            goes_on.wait(10)
        values.append(new)

    def stop() -> None:
        if is_cancelled.is_set():
            raise StopException

    monkeypatch.setattr(SessionState, "on_script_will_rerun", take)
    session = SessionState()
    runs = [SafeSessionState(session, yield_callback=check) for check in (stop, lambda: None)]
    old, new = [cast("Any", run.on_script_will_rerun) for run in runs]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(old, "old")
        begun.wait(10)
        is_cancelled.set()
        second = pool.submit(new, "new")
        late = pool.submit(old, "later")
        time.sleep(0.1)
        goes_on.set()
        first.result(), second.result()
        with pytest.raises(StopException):
            late.result()
    assert values == ["old", "new"]


def test_a_cache_keeps_no_lock_of_what_it_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("__init__", "compute_value_lock"):
        monkeypatch.setattr(Cache, name, getattr(Cache, name))  # put back afterwards
    patches.forget_locks_of_values()
    computed: list[int] = []

    @st.cache_resource(max_entries=1, show_spinner=False)
    def slow(number: int) -> int:
        computed.append(number)
        time.sleep(0.0 if number else 0.2)
        return number

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(slow, [0] * 4)] == [0] * 4
    assert computed == [0], "who asks for the same value waits for it"
    before = _locks()
    for number in range(1, 100):
        slow(number)
    assert _locks() - before < 50


def _locks() -> int:
    gc.collect()
    return sum(isinstance(each, type(threading.Lock())) for each in gc.get_objects())


def test_what_a_control_does_not_take_from_the_link_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seed = SessionState._seed_widget_from_url
    monkeypatch.setattr(SessionState, "_seed_widget_from_url", seed)  # put back afterwards
    link = {"word": "abc", "low": "-4", "first": "0", "whole": "7", "some": ["a", "x"], "none": ""}
    endless = {"inf": "inf", "low inf": "-inf", "nan": "nan", "long": "9" * 400, "part": "1.5"}
    link |= endless
    monkeypatch.setattr(QueryParams, "get_initial_value", lambda _, key: link.get(key))
    reports: dict[str, str] = {}
    patches.report_ignored_values(lambda key, value, _: reports.update({key: value}), link_number)

    def page() -> None:
        import streamlit as st

        numbers = ("inf", "low inf", "nan", "long", "part")
        for key in ("word", "low", "first", "whole", "none", *numbers):
            st.number_input(key, 0, 9, 0, key=key, bind="query-params")
        st.multiselect("Some", ["a", "b"], key="some", bind="query-params")

    app = AppTest.from_function(page).run()
    assert not app.exception
    assert (app.number_input(key="whole").value, app.multiselect(key="some").value) == (7, ["a"])
    assert reports == {"word": "abc", "low": "-4", "some": "a, x", **endless}
    assert {app.number_input(key=key).value for key in endless} == {0}


def test_private_interfaces_stand_in_two_files() -> None:
    found = {
        named(path): hits
        for path in PRODUCT
        if room(path) in {"ui", "models", "pages"} and named(path) not in OWN
        for hits in [_PRIVATE.findall(path.read_text(encoding="utf-8"))]
        if hits
    }
    assert not found
