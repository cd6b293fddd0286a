"""How the results of a run over many images look, top to bottom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models
from robustness import statistics as figures
from robustness.base.text import counted, plain
from robustness.charts import dataset, differences, scorecard, tables
from robustness.report.answers.run import who
from robustness.statistics import Figures
from robustness.ui.browser import components
from robustness.ui.dataset import cases, labels
from robustness.ui.dataset.saved_run import Opened
from robustness.ui.frame.page import fragment
from robustness.ui.session.inputs import listed, one_of
from robustness.ui.shown import results

_Classes = Sequence[tuple[str, str, Sequence[str]]]


@st.cache_resource(show_spinner="Working out the figures …", max_entries=8)
def _figures(run_id: str, written: int, classes: _Classes, _frame: pd.DataFrame) -> Figures:
    return Figures(_frame)


def _classes(frame: pd.DataFrame) -> _Classes:
    """Which classes the models of ``frame`` tell apart now: a file of labels may have changed."""
    groups = models.by_labels(frame["model"].unique())
    return [(known.title, known.key, names) for known, names in groups]


def show(run: Opened) -> None:
    """Draws everything that ``run`` tells."""
    frame = run.frame()
    if frame.empty:
        if run.finished:
            st.error(
                "Expected at least one readable image, got none: this run has no results.",
                icon=":material/broken_image:",
            )
        else:
            st.info("No image is measured yet.", icon=":material/hourglass_empty:")
        _unreadable(run.unreadable, expanded=True)
        return
    found = _figures(run.id, run.written, _classes(frame), frame)
    _headline(run, frame, found)
    _ranking(found)
    _heatmap(run, frame, found)
    _curves(found)
    labels.accuracy(found.summary, found.reliability)
    labels.corruption_errors(found.corruption_errors)
    labels.under_attack(found.robust_accuracy, found.pairs_under_attack)
    labels.classes(found.by_class)
    cases.gallery(run, frame)
    _unreadable(run.unreadable)
    components.place("place", run.id)


def _headline(run: Opened, frame: pd.DataFrame, found: Figures) -> None:
    text = who(found.summary, found.pairs(), found.pairs_under_attack)
    st.html(results.headline(text))
    images = frame["image"].nunique()
    size = (
        f"{counted(images, 'image')}, {counted(len(run.conditions), 'condition')}, "
        f"{len(frame):,} measurements."
    )
    if run.unreadable:
        size += f" {len(run.unreadable):,} could not be read; they are listed at the end."
    st.caption(f"{size} {found.copies_note}".rstrip())
    if note := run.recount_note(found):
        st.info(plain(note), icon=":material/history:")
    if found.images < figures.FEWEST:
        st.info(figures.TOO_FEW, icon=":material/science:")
    if len(models.by_labels(e["model"] for e in found.summary)) > 1:
        st.info(results.other_classes([e["model"] for e in found.summary]), icon=":material/rule:")


def _ranking(found: Figures) -> None:
    st.header("Ranking", anchor=False)
    quantity = found.ranked_by
    if len(found.quantities) > 1:
        quantity = one_of("Rank by", _titles(found.quantities), "rank_by", first=quantity)
    title = dataset.QUANTITIES[quantity]
    pairs = found.pairs(quantity)
    ranked = found.ranking(quantity)
    left, right = st.columns([2, 3], gap="medium")
    results.chart(
        left,
        scorecard.ranking(pd.DataFrame(ranked), quantity, title),
        "ranking",
        f"{title} of each model with its interval; the table under it holds the numbers.",
    )
    right.caption(
        "Place: behind every model that is established as better, ahead of every one "
        "established as worse. " + figures.INTERVAL_RULE
    )
    st.html(results.html_table(*tables.ranking(ranked)))
    if pairs:
        _pairs(pairs, found.tests(quantity))


def _titles(quantities: Iterable[str]) -> dict[str, str]:
    return {name: dataset.QUANTITIES[name] for name in quantities}


def _pairs(pairs: Sequence[Mapping[str, Any]], tests: Sequence[Mapping[str, Any]]) -> None:
    st.subheader("Which differences are established", anchor=False)
    left, right = st.columns([2, 3], gap="medium")
    results.chart(
        left,
        differences.pair_differences(pairs),
        "pairs",
        "Difference of each pair of models with its interval; the table holds the numbers.",
    )
    right.caption(figures.TEST_RULE)
    st.html(results.html_table(*tables.pairs(pairs)))
    with st.expander("Every pair under every condition by itself (McNemar's test)"):
        st.dataframe(tables.tests(tests), hide_index=True)


@fragment
def _heatmap(run: Opened, frame: pd.DataFrame, found: Figures) -> None:
    st.header("What each perturbation did", anchor=False)
    there = [
        name
        for name in dataset.QUANTITIES
        if any(entry.get(name) is not None for entry in found.by_perturbation)
    ]
    quantity = one_of("Show", _titles(there), "cell_figure", first="consistency", shows_label=False)
    level = _strength_input(found.by_perturbation)
    entries = [e for e in found.by_perturbation if level is None or e["strength"] == level]
    clicked = results.clicked(
        dataset.perturbation_heatmap(entries, quantity),
        f"cells_{quantity}_{level}",
        f"{dataset.QUANTITIES[quantity]} of each model under each perturbation; the table under "
        "it holds the numbers.",
        kept=f"cell of {run.id}",
        link="cell",
    )
    mine = [e["condition"] for e in entries if [e["series"], e["model"]] == list(clicked or ())]
    if mine:
        cases.cell(run, frame, clicked[0], mine, clicked[1])
    else:
        note = tables.labels_note(found.summary, quantity)
        st.caption(f"Click a cell to see its images. {note}".rstrip())
    with st.expander("All figures, per model and condition"):
        st.dataframe(tables.conditions(found.by_perturbation), hide_index=True)


def _strength_input(entries: Sequence[Mapping[str, Any]]) -> float | None:
    """The strength at which the heatmap stands; None for the mean of all."""
    names = dataset.grouped(entries, "series").values()
    if all(len({entry["strength"] for entry in rows}) == 1 for rows in names):
        return None
    levels = sorted({entry["strength"] for entry in entries} - {None})
    return st.segmented_control(
        "Strength (none chosen: the mean of all)",
        levels,
        format_func=lambda level: f"{level:.3g}",
        key="cell_strength",
        bind="query-params",
    )


_AVERAGE = "average"


@fragment
def _curves(found: Figures) -> None:
    several = [
        name
        for name, entries in dataset.grouped(found.by_perturbation, "series").items()
        if len({entry["strength"] for entry in entries}) > 1
    ]
    if not several:
        return
    st.header("As it gets stronger", anchor=False)
    names = {name: name for name in several}
    count = len(found.by_severity[0]["perturbations"]) if found.by_severity else 0
    if count > 1:
        names = {_AVERAGE: f"Mean of {count} ImageNet-C corruptions"} | names
    left, right = st.columns(2, gap="medium")
    with left:
        chosen = listed("Perturbation", names, "curve_of")
    with right:
        drawn = [name for name in found.quantities if name in found.by_perturbation[0]]
        quantity = listed("Figure", _titles(drawn), "curve_figure")
    level = "severity" if chosen == _AVERAGE else "strength"
    entries = (
        found.by_severity
        if chosen == _AVERAGE
        else [entry for entry in found.by_perturbation if entry["series"] == chosen]
    )
    results.chart(
        st,
        dataset.over_levels(entries, quantity, level),
        "levels",
        f"{dataset.QUANTITIES[quantity]} of each model over "
        f"{dataset.LEVELS[level]}; the table of all figures holds the numbers.",
    )
    st.caption(
        "Bands: 95 % intervals over the images. They overlap more than paired differences. "
        + tables.labels_note(found.summary, quantity)
    )


def _unreadable(images: Sequence[tuple[str, str]], *, expanded: bool = False) -> None:
    """The images that could not be read, with their reasons."""
    if images:
        title = f"{counted(len(images), 'image')} could not be read"
        with st.expander(title, expanded, icon=":material/broken_image:"):
            st.html(results.html_table(("Image", "Reason"), images[:_UNREADABLE]))
            if len(images) > _UNREADABLE:
                st.caption(f"The first {_UNREADABLE} of {len(images):,}.")


_UNREADABLE = 50
