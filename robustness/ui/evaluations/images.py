"""The images behind the figures: the worst cases, the survivors, and those of one cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models
from robustness.base.text import plain
from robustness.images.framing import Picture
from robustness.measure.condition import Condition, perturbation_label
from robustness.perturbations import Images
from robustness.report import failures
from robustness.report.blocks import IMAGES
from robustness.report.image import link_values
from robustness.report.run import RunFigures
from robustness.runs import Analysis, Run, export
from robustness.runs.cases import RowSelection
from robustness.ui import draw, shared
from robustness.ui.draw import SELECTIONS, deselect
from robustness.ui.html import html
from robustness.ui.session import listed, one_of, page_link

VIEW = "view"
"""Parameter of the link: the open view of the results."""

IN_A_ROW = 3
AT_ONCE = 6
"""Images of the gallery before "Show more" is pressed, and more after each press."""

ALL = "all"


def selection_of(figures: RunFigures, point: Sequence[str]) -> RowSelection | None:
    """The selection that the ``point`` of a chart means, which may come from a link.

    None for a point that is no selection. Raises ``ParameterError`` for a selection of nothing
    known.
    """
    if len(point) != 1 or "=" not in point[0]:
        return None
    return RowSelection.parse(point[0], figures.run.manifest.spec)


def preview(run: Run, selection: RowSelection) -> None:
    """Draw the first images of ``selection`` and the way to all."""
    _caption(run, selection)
    total = run.cases.tally(selection).either.counted
    _grid(run, run.cases.both(selection, IN_A_ROW))
    if total > IN_A_ROW:
        show_all = {VIEW: IMAGES}
        if st.button(
            f"All {total:,} images",
            icon=":material/photo_library:",
            on_click=st.session_state.update,
            args=(show_all,),
        ):
            st.rerun()  # the whole page, not this view alone


def _caption(run: Run, selection: RowSelection) -> None:
    """Say what ``selection`` is, and how many of its images fail."""
    tally = run.cases.tally(selection)
    selected = {*selection.conditions, selection.perturbation}
    if selected.intersection(run.manifest.spec.profiles):
        where = " under one of its compositions or more"
    elif len(selection.conditions) > 1:
        where = " at one strength or more"
    else:
        where = ""
    caption = f"{failures.failures(tally, where, run.score)}. Failures come first."
    uncounted = tally.images - tally.either.counted
    if uncounted:
        caption += f" {uncounted:,} more were incorrect before the attack."
    st.markdown(f"**{plain(failures.selected_title(selection))}**")
    st.caption(caption)


def gallery(figures: RunFigures, result: str) -> None:
    """Draw the selected images of the run or those that filters choose, each image once.

    The selection is a click in a chart of any view. It is remembered for ``result``.
    """
    run = figures.run
    selection = _clicked_selection(figures)
    if selection is not None:
        kind = ""  # all images of a selection
        _caption(run, selection)
        st.button(
            "Show all images", icon=":material/filter_alt_off:", on_click=deselect, args=(result,)
        )
        total = run.cases.tally(selection).either.counted
    else:
        kind = one_of("Cases", failures.KINDS, "cases", shows_label=False)
        selection = _filters(figures)
        tally = run.cases.tally(selection)
        total = failures.number(tally, kind)
        caption = failures.caption(tally, kind, run.score)
        st.caption(caption[0].upper() + caption[1:])
    _downloads(run, selection, kind)
    key = f"shown_{kind or selection.text}"
    limit_key = f"{key} of {run.id}"
    limit = int(st.session_state.get(limit_key, AT_ONCE))
    if kind:
        rows = run.cases.first(selection, kind, limit)
    else:
        rows = run.cases.both(selection, limit)
    _grid(run, rows)
    if total > limit:
        st.button(
            f"Show {min(AT_ONCE, total - limit)} more",
            key=f"{key}_button",
            icon=":material/expand_more:",
            on_click=st.session_state.update,
            args=({limit_key: limit + AT_ONCE},),
        )


def _clicked_selection(figures: RunFigures) -> RowSelection | None:
    """The selection of a click in any view, as the link has it."""
    for parameter in SELECTIONS:
        point = st.query_params.get_all(parameter)
        if point:
            return selection_of(figures, point)
    return None


def _filters(figures: RunFigures) -> RowSelection:
    """Draw the filters by class, model, perturbation and property."""
    # Models with class lists of their own may have a class of one name at different indices.
    indices: dict[str, list[tuple[str, int]]] = {}
    for model_name, index in figures.statistics.classes:
        class_name = models.class_name(model_name, index)
        indices.setdefault(class_name, []).append((model_name, index))
    class_labels = {name: name for name in sorted(indices)}
    model_labels = {}
    perturbation_labels = {}
    for entry in figures.statistics.by_perturbation:
        model_labels[entry["model"]] = models.label(entry["model"])
        perturbation_labels[entry["perturbation"]] = perturbation_label(entry["perturbation"])
    class_name = ""
    if figures.run.score:
        model_column, perturbation_column = st.columns(2, gap="small")
    else:
        class_column, model_column, perturbation_column = st.columns(3, gap="small")
        if class_labels:
            with class_column:
                class_name = _filter("Class", class_labels)
    with model_column:
        model_name = _filter("Model", model_labels)
    with perturbation_column:
        perturbation_name = _filter("Perturbation", perturbation_labels)
    return RowSelection(
        model=model_name,
        perturbation=perturbation_name,
        classes=tuple(indices.get(class_name, ())),
        slices=_slice_input(figures.analysis),
    )


def _filter(title: str, labels: Mapping[str, str]) -> str:
    """Draw the choice of one name by its label; return "" for all."""
    name = listed(title, {ALL: "All", **labels}, f"case_{title.lower()}")
    return "" if name == ALL else name


def _slice_input(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    """Draw the choice of a property and one of its values; return () for all images."""
    value_titles: dict[str, dict[str, str]] = {}
    for entry in analysis.failures.slices:
        column = entry["column"]
        value = entry["value"]
        value_titles.setdefault(column, {})[value] = failures.property_title(column, value)
    if not value_titles:
        return ()
    titles = {name: failures.property_name(name) for name in sorted(value_titles)}
    left, right = st.columns(2, gap="small")
    with left:
        name = listed("Property", {ALL: "All", **titles}, "case_property")
    if name == ALL:
        return ()
    with right:
        values = dict(sorted(value_titles[name].items()))
        return ((name, listed("Values", values, "case_values")),)


def _downloads(run: Run, selection: RowSelection, kind: str) -> None:
    """Draw the downloads of the selection as a table, and as a zip with its images.

    They have the cases of ``kind`` alone, unless it is "".
    """
    order = "" if kind else ", failures first"
    with st.container(horizontal=True):
        for label, suffix, icon in (
            ("Table", ".csv", ":material/csv:"),
            ("Images", ".zip", ":material/folder_zip:"),
        ):
            st.download_button(
                label,
                partial(export.exported, run, selection, suffix, kind),
                f"{run.id}-selection{suffix}",
                key=f"{label} {kind} {selection.text}",
                icon=icon,
                on_click="ignore",
                help=f"At most {export.MOST[suffix]:,} images{order}.",
            )


def _grid(run: Run, rows: Sequence[dict[str, Any]]) -> None:
    for row, column in zip(rows, draw.cells(IN_A_ROW), strict=False):
        with column, st.container(border=True, height="stretch", gap="small"):
            _card(run, row)


def _card(run: Run, row: dict[str, Any]) -> None:
    """Draw a case with its images; an attacked one is made on the model of ``row`` alone."""

    def change(picture: Picture, condition: Condition, case_row: failures.Row) -> Images:
        if not condition.needs_model:
            return shared.change(picture, condition, run.seed).image
        label = None
        if pd.notna(case_row["label"]):
            label = int(case_row["label"])
        labelled = replace(picture, label=label)
        return shared.attacked_picture(labelled, condition, run.seed, str(case_row["model"]))

    case = failures.case(run, row, change)
    if case.shots:
        for column, shot in zip(st.columns(2, gap="small", wrap=False), case.shots, strict=True):
            column.image(shot.png, width="stretch", output_format="PNG", alt=shot.alt)
    st.html(html("case", case=case))
    link(run, row)


def link(run: Run, row: Mapping[str, Any]) -> None:
    """Draw the link that opens the case, an attacked one in the view Attack.

    Images of a published tree are made by no perturbation that a page could repeat.
    """
    condition = Condition.parse(str(row["condition"]))
    if condition.in_files:
        return
    query = {"run": run.id, "image": str(row["image"]), "seed": str(run.seed)}
    if condition.needs_model:
        query["view"] = "attack"
        page_link("app.py", "Repeat the attack", ":material/bug_report:", query)
    else:
        query |= link_values(condition)
        page_link("app.py", "Open", ":material/tune:", query)
