"""Private interfaces of other libraries: checked with the installed versions, and still needed."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from streamlit.runtime.scriptrunner import script_runner

from robustness.models.in_tensorflow import internals
from robustness.models.in_tensorflow.runtime import keras
from robustness.ui.server import streamlit_internals
from tests.test_conventions import PRODUCT, named, room

CHECKED = {**internals.CHECKED_WITH, "streamlit": streamlit_internals.CHECKED_WITH}

OWN = {
    "robustness/models/in_tensorflow/internals.py",
    "robustness/ui/server/streamlit_internals.py",
}

_PRIVATE = re.compile(
    r"(?<![\w.\"])(?!self\.|cls\.)\w+(?:\[\w+\])?(?:\.\w+)*\._(?!_|replace\b|asdict\b|fields\b)\w+"
    r"|tensorflow\.python\.|keras\.src\b|openvino\._|openvino\.frontend\.|streamlit\.runtime\.state"
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
        ("streamlit", "runtime/forward_msg_queue.py", "delta.fragment_id not in fragment_ids_"),
        ("streamlit", "runtime/runtime.py", "self._session_mgr"),
        ("streamlit", "runtime/scriptrunner/script_runner.py", "backend.clear_session()"),
        ("streamlit", "runtime/scriptrunner/script_runner.py", "(_clean_problem_modules)"),
        ("streamlit", "web/server/server_util.py", "net_util.get_external_ip"),
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


def test_keras_is_cleared_by_its_user_and_by_no_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who imports the library may clear the session of Keras; the dashboard keeps its models."""
    layers, clear = keras().layers, keras().backend.clear_session
    layers.Dense(1)
    clear()
    assert layers.Dense(1).name == "dense"
    original = script_runner._clean_problem_modules
    monkeypatch.setattr(script_runner, "_clean_problem_modules", original)
    streamlit_internals.keep_kernels()
    script_runner._clean_problem_modules()
    assert layers.Dense(1).name == "dense_1"


def test_private_interfaces_stand_in_two_files() -> None:
    found = {
        named(path): hits
        for path in PRODUCT
        if room(path) in {"ui", "models", "models/explain", "pages"} and named(path) not in OWN
        for hits in [_PRIVATE.findall(path.read_text(encoding="utf-8"))]
        if hits
    }
    assert not found
