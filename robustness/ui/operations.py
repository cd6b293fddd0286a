"""The Operations page: the state of this server, and actions for its operator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from time import gmtime, strftime

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
from robustness.ui.server.counters import FAULTS, REGISTRY
from robustness.ui.session import access
from robustness.ui.session.boundary import do

LOOK_SECONDS = 5.0


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
    values = {figure.name: figure for figure in REGISTRY.collect()}
    st.html(results.headline(_headline(values)))
    st.html(_tiles(values))
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
    errors = sum(int(sample.value) for sample in values[f"{metrics.PREFIX}errors"].samples)
    pages = counted(int(_value(values, "sessions")), "page")
    up = duration(_value(values, "up_seconds"))
    said = counted(errors, "unexpected error") if errors else "no unexpected error"
    return f"Up for {up} with {pages} open, and {said}."


def _tiles(values: Mapping[str, Metric]) -> Html:
    slow = _slowest(values)
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
        ("95th-percentile update", _at_most(slow), "slowest type"),
    )
    return html("tiles", tiles=tiles)


def _slowest(values: Mapping[str, Metric]) -> float:
    """The bound in seconds that 95% of the updates meet, of their slowest type."""
    buckets: dict[str, list[tuple[float, float]]] = {}
    for sample in values[f"{metrics.PREFIX}update_seconds"].samples:
        if "le" in sample.labels:
            bucket = float(sample.labels["le"]), sample.value
            buckets.setdefault(sample.labels["kind"], []).append(bucket)
    bounds = (next(at for at, n in b if n >= 0.95 * b[-1][1]) for b in buckets.values())
    return max(bounds, default=0.0)


def _at_most(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "over 10 s"
    return f"≤ {seconds:g} s" if seconds >= 1 else f"≤ {1000 * seconds:g} ms" if seconds else "–"


def _models() -> None:
    st.header("Models in memory", anchor=False)
    names = ", ".join(plain(models.label(name)) for name in LOADED.names())
    st.caption(names or "None loaded.")
    if names:
        st.caption("Heat maps and attacks load a second copy of a model, which uses more memory.")


def _errors() -> None:
    st.header("Last errors", anchor=False)
    when = "%Y-%m-%d %H:%M:%S UTC"
    rows = [(strftime(when, gmtime(f.when)), f.kind, f.place) for f in list(FAULTS)]
    if rows:
        st.html(results.html_table(("When", "Kind", "Where"), rows))
        st.caption("Details are in the server's log, since they may name users' files.")
    else:
        st.caption("No unexpected errors since the server started.")


def _clear() -> None:
    st.button(
        "Clear caches",
        icon=":material/cleaning_services:",
        on_click=do,
        args=(_cleared,),
        **access.allowed(
            Action.CLEAR_CACHES,
            key="clear caches",
            help="Models are reloaded and results recomputed on demand.",
        ),
    )


def _cleared() -> str:
    """Clear everything that can be recomputed, for all sessions."""
    access.require(Action.CLEAR_CACHES)
    RESULT_CACHE.clear()
    LOADED.release()
    st.cache_resource.clear()
    return "Cleared: models, images and results."
