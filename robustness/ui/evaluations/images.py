"""The images behind the figures: the worst cases, the survivors, and those of one cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from robustness.runs import Run, export
from robustness.runs.cases import RowSelection
from robustness.ui import draw, shared
from robustness.ui.draw import SELECTIONS, deselect
from robustness.ui.html import html
from robustness.ui.session import listed, one_of, page_link

VIEW = "view"
"""Parameter of the link: the open view of the results."""

IN_A_ROW = 3
AT_ONCE = 6
ALL = "all"


def selection_of(of: RunFigures, point: Sequence[str]) -> RowSelection | None:
    """The selection that the ``point`` of a chart means, which may come from a link.

    Raises ``ParameterError`` for a selection of nothing known.
    """
    if len(point) != 1 or "=" not in point[0]:
        return None
    return RowSelection.parse(point[0], of.run.manifest.spec)


def preview(run: Run, chosen: RowSelection) -> None:
    """Draw the first images of ``chosen`` and the way to all."""
    _caption(run, chosen)
    total = run.cases.tally(chosen).either.counted
    _grid(run, run.cases.both(chosen, IN_A_ROW))
    if total > IN_A_ROW:
        show_all = {VIEW: IMAGES}
        if st.button(
            f"All {total:,} images",
            icon=":material/photo_library:",
            on_click=st.session_state.update,
            args=(show_all,),
        ):
            st.rerun()  # the whole page, not this view alone


def _caption(run: Run, chosen: RowSelection) -> None:
    tally = run.cases.tally(chosen)
    profiles = {*run.manifest.spec.profiles} & {*chosen.conditions, chosen.perturbation}
    where = " under one of its compositions or more" if profiles else ""
    where = where or (" at one strength or more" if len(chosen.conditions) > 1 else "")
    left = tally.images - tally.either.counted
    more = f" {left:,} more were incorrect before the attack." if left else ""
    st.markdown(f"**{plain(failures.selected_title(chosen))}**")
    st.caption(f"{failures.failures(tally, where)}. Failures come first.{more}")


def gallery(of: RunFigures, result: str) -> None:
    """Draw the selected images of the run or those that filters choose, each image once."""
    run = of.run
    points = filter(None, map(st.query_params.get_all, SELECTIONS))  # of a click in any view
    if (chosen := selection_of(of, next(points, ()))) is not None:
        _caption(run, chosen)
        st.button(
            "Show all images", icon=":material/filter_alt_off:", on_click=deselect, args=(result,)
        )
        kind = ""
        total = run.cases.tally(chosen).either.counted
    else:
        kind = one_of("Cases", failures.KINDS, "cases", shows_label=False)
        chosen = _filters(of)
        tally = run.cases.tally(chosen)
        total = failures.number(tally, kind)
        about = failures.caption(tally, kind)
        st.caption(about[0].upper() + about[1:])
    _downloads(run, chosen, kind)
    key = f"shown_{kind or chosen.text}"
    limit = int(st.session_state.get(f"{key} of {run.id}", AT_ONCE))
    _grid(run, run.cases.first(chosen, kind, limit) if kind else run.cases.both(chosen, limit))
    if total > limit:
        st.button(
            f"Show {min(AT_ONCE, total - limit)} more",
            key=f"{key}_button",
            icon=":material/expand_more:",
            on_click=st.session_state.update,
            args=({f"{key} of {run.id}": limit + AT_ONCE},),
        )


def _filters(of: RunFigures) -> RowSelection:
    """Draw the filters by class, model, perturbation and property."""
    classes: dict[str, list[tuple[str, int]]] = {}
    for model, index in of.statistics.classes:
        classes.setdefault(models.class_name(model, index), []).append((model, index))
    entries = of.statistics.by_perturbation
    filters: tuple[tuple[str, Iterable[str], Callable[[str], str]], ...] = (
        ("Class", sorted(classes), str),
        ("Model", dict.fromkeys(entry["model"] for entry in entries), models.label),
        (
            "Perturbation",
            dict.fromkeys(entry["perturbation"] for entry in entries),
            perturbation_label,
        ),
    )
    choices: list[str] = []
    for column, (label, names, text) in zip(st.columns(3, gap="small"), filters, strict=True):
        with column:
            options = {ALL: "All"} | {name: text(name) for name in names}
            choice = listed(label, options, f"case_{label.lower()}")
        choices.append("" if choice == ALL else choice)
    return RowSelection(
        model=choices[1],
        perturbation=choices[2],
        classes=tuple(classes.get(choices[0], ())),
        slices=_slice_input(of.run),
    )


def _slice_input(run: Run) -> tuple[tuple[str, str], ...]:
    """The controls of a property and its values; () for all images."""
    values: dict[str, dict[str, str]] = {}
    for entry in run.failures.slices:
        title = failures.property_title(entry["column"], entry["value"])
        values.setdefault(entry["column"], {})[entry["value"]] = title
    if not values:
        return ()
    titles = {name: failures.property_name(name) for name in sorted(values)}
    column, value = st.columns(2, gap="small")
    with column:
        name = listed("Property", {ALL: "All"} | titles, "case_property")
    if name == ALL:
        return ()
    with value:
        return ((name, listed("Values", dict(sorted(values[name].items())), "case_values")),)


def _downloads(run: Run, chosen: RowSelection, kind: str) -> None:
    """Buttons for the selection (of the ``kind``) as a table, and as a zip with its images."""
    order = "" if kind else ", failures first"
    with st.container(horizontal=True):
        for label, suffix, icon in (
            ("Table", ".csv", ":material/csv:"),
            ("Images", ".zip", ":material/folder_zip:"),
        ):
            st.download_button(
                label,
                partial(export.exported, run, chosen, suffix, kind),
                f"{run.id}-selection{suffix}",
                key=f"{label} {kind} {chosen.text}",
                icon=icon,
                on_click="ignore",
                help=f"At most {export.MOST[suffix]:,} images{order}.",
            )


def _grid(run: Run, rows: Sequence[dict[str, Any]]) -> None:
    for row, column in zip(rows, draw.cells(IN_A_ROW), strict=False):
        with column, st.container(border=True, height="stretch", gap="small"):
            _card(run, row)


def _card(run: Run, row: dict[str, Any]) -> None:
    """A case with its images; an attacked one is made on the model of ``row`` alone."""

    def change(picture: Picture, condition: Condition, of: failures.Row) -> Images:
        if not condition.needs_model:
            return shared.change(picture, condition, run.seed).image
        labelled = replace(picture, label=int(of["label"]) if pd.notna(of["label"]) else None)
        return shared.attacked_picture(labelled, condition, run.seed, str(of["model"]))

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
    query = {"run": run.id, "image": str(row["image"]), "seed": str(run.seed)}
    if condition.in_files:
        return
    if condition.needs_model:
        attack = query | {"view": "attack"}
        page_link("app.py", "Repeat the attack", ":material/bug_report:", attack)
    else:
        page_link("app.py", "Open", ":material/tune:", query | link_values(condition))
