"""The Operations page: the state of this server, and actions for its operator."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

import streamlit as st
from prometheus_client.core import Metric

from robustness import models
from robustness.base.permissions import Action
from robustness.base.progress import duration
from robustness.base.text import counted, in_bytes, plain
from robustness.evaluation.provenance import versions
from robustness.models.loaded_models import LOADED
from robustness.ui.browser.html import Html, html
from robustness.ui.computation.cache import RESULT_CACHE
from robustness.ui.display import results
from robustness.ui.page import fragment
from robustness.ui.server import metrics
from robustness.ui.server.counters import FAULTS, UPDATES
from robustness.ui.session import access

LOOK_SECONDS = 5.0

_KINDS = {
    "page": "The page's script",
    "picture": "Image while a slider is held",
    "answers": "Predictions while a slider is held",
    "camera": "Camera frame",
}
_CLEARED = "caches cleared"


def show() -> None:
    """Draw the page; raises ``AccessError`` for users without the role."""
    access.require(Action.OPERATE)
    fragment(_live, run_every=LOOK_SECONDS)()
    _clear()
    st.header("Versions", anchor=False)
    rows = [(name, version) for name, version in versions().items()]
    st.html(results.html_table(("Component", "Version"), rows))


def _live() -> None:
    """The figures that refresh."""
    access.require(Action.OPERATE)
    values = {figure.name: figure for figure in metrics.all_figures()}
    st.html(results.headline(_headline(values)))
    st.html(_tiles(values))
    _updates()
    _models()
    _errors()
    with st.expander("All figures for Prometheus", icon=":material/monitoring:"):
        st.caption("GET /metrics serves them to this machine and to clients with the token.")
        st.code(metrics.text(), language=None)


def _value(values: Mapping[str, Metric], name: str) -> float:
    """The only value of the figure ``name``; 0 if there is none."""
    figure = values.get(f"{metrics.PREFIX}{name}")
    return float(figure.samples[0].value) if figure else 0.0


def _headline(values: Mapping[str, Metric]) -> str:
    errors = sum(FAULTS.counts().values())
    pages = counted(int(_value(values, "sessions")), "page")
    up = duration(_value(values, "up_seconds"))
    said = counted(errors, "unexpected error") if errors else "no unexpected error"
    return f"Up for {up} with {pages} open, and {said}."


def _tiles(values: Mapping[str, Metric]) -> Html:
    updates = UPDATES.spreads().values()
    slow = max((spread.quantile(0.95) or 0.0 for spread in updates), default=None)
    value = partial(_value, values)
    tiles = (
        ("Memory of the server", in_bytes(value("memory_bytes")), "in physical memory"),
        (
            "Loaded models",
            in_bytes(value("models_bytes")),
            f"estimated, of {in_bytes(value('models_budget_bytes'))}",
        ),
        ("Cached results", in_bytes(value("results_bytes")), "for all sessions"),
        (
            "Runs folder",
            in_bytes(value("runs_bytes")),
            f"{in_bytes(value('disk_free_bytes'))} free",
        ),
        ("Runs", f"{value('runs'):,.0f}", f"{value('runs_deleted'):,.0f} in the bin"),
        (
            "Runs in progress",
            f"{value('jobs_working'):,.0f}",
            f"{value('jobs_waiting'):,.0f} in the queue",
        ),
        ("95th-percentile update", _time(slow), "slowest type"),
    )
    return html("tiles", tiles=tiles)


def _updates() -> None:
    st.header("Updates of the image", anchor=False)
    rows = [
        (
            _KINDS.get(kind, kind),
            f"{spread.count:,}",
            _time(spread.quantile(0.5)),
            _time(spread.quantile(0.95)),
        )
        for kind, spread in UPDATES.spreads().items()
    ]
    if rows:
        st.html(results.html_table(("Update", "Count", "Median", "p95"), rows))
    else:
        st.caption("None since the server started.")


def _models() -> None:
    st.header("Models in memory", anchor=False)
    names = ", ".join(plain(models.label(name)) for name in LOADED.names())
    st.caption(names or "None loaded.")
    if names:
        st.caption("Heat maps and attacks load a second copy of a model, which uses more memory.")


def _errors() -> None:
    st.header("Last errors", anchor=False)
    rows = [(_when(fault.when), fault.kind, fault.place) for fault in FAULTS.last()]
    if rows:
        st.html(results.html_table(("When", "Kind", "Where"), rows))
        st.caption("Details are in the server's log, since they may name users' files.")
    else:
        st.caption("No unexpected errors since the server started.")


def _clear() -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Clear caches",
            icon=":material/cleaning_services:",
            on_click=_cleared,
            **access.allowed(
                Action.CLEAR_CACHES,
                key="clear caches",
                help="Models and results are loaded and computed again on demand.",
            ),
        )
        if st.session_state.pop(_CLEARED, False):
            st.caption("Cleared: models, images and results.")


def _cleared() -> None:
    """Clear everything that can be recomputed, for all sessions."""
    if access.refused(Action.CLEAR_CACHES):
        return
    access.require(Action.CLEAR_CACHES)
    RESULT_CACHE.clear()
    LOADED.release()
    st.cache_data.clear()
    st.cache_resource.clear()
    st.session_state[_CLEARED] = True


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
