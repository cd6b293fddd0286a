"""The images behind the figures: the worst cases, the survivors, and those of one cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models
from robustness.base.text import plain
from robustness.charts.dataset import quantities
from robustness.evaluation.condition import Condition, perturbation_label
from robustness.perturbations import Images
from robustness.pictures.picture import Picture
from robustness.report.copy_as import link_values
from robustness.report.questions import Question, slices
from robustness.report.questions import cases as cases_question
from robustness.runs import Run, selected_cases
from robustness.runs.cases import Chosen
from robustness.statistics import Figures
from robustness.ui.browser.html import html
from robustness.ui.computation import cache
from robustness.ui.display import results
from robustness.ui.display.blocks import folded
from robustness.ui.page import boundary, fragment
from robustness.ui.session.inputs import listed, one_of
from robustness.ui.session.run_link import page_link

IN_A_ROW = 3
AT_ONCE = 6
ALL = "all"


@fragment
def gallery(question: Question[Run], run: Run, found: Figures) -> None:
    """Cases of the whole run, filtered by class, model and perturbation; each image once."""
    if (opened := folded(question.title, question.about)) is not None:
        with opened:
            _gallery(run, found)


def _gallery(run: Run, found: Figures) -> None:
    kind = one_of("Cases", cases_question.KINDS, "cases", shows_label=False)
    classes: dict[str, list[tuple[str, int]]] = {}
    for model, index in found.classes:
        classes.setdefault(models.class_name(model, index), []).append((model, index))
    entries = found.by_perturbation
    filters: tuple[tuple[str, Iterable[str], Callable[[str], str]], ...] = (
        ("Class", sorted(classes), str),
        ("Model", dict.fromkeys(entry["model"] for entry in entries), models.label),
        (
            "Perturbation",
            dict.fromkeys(entry["perturbation"] for entry in entries),
            perturbation_label,
        ),
    )
    asked: list[str] = []
    for column, (label, names, text) in zip(st.columns(3, gap="small"), filters, strict=True):
        with column:
            options = {ALL: "All"} | {name: text(name) for name in names}
            chosen = listed(label, options, f"case_{label.lower()}")
        asked.append("" if chosen == ALL else chosen)
    chosen_rows = Chosen(
        model=asked[1],
        perturbation=asked[2],
        classes=tuple(classes.get(asked[0], ())),
        slices=_slice_input(run),
    )
    tally = run.cases.tally(chosen_rows)
    total = cases_question.number(tally, kind)
    about = cases_question.caption(tally, kind)
    st.caption(about[0].upper() + about[1:])
    _downloads(run, chosen_rows, "gallery", kind)
    _show(run, lambda most: run.cases.first(chosen_rows, kind, most), total, f"shown_{kind}")


def _slice_input(run: Run) -> tuple[tuple[str, str], ...]:
    """The controls of a property and its values; () for all images, as in a race."""
    values: dict[str, dict[str, str]] = {}
    for entry in [] if run.manifest.race else run.failures.slices:
        told = slices.property_title(entry["column"], entry["value"])
        values.setdefault(entry["column"], {})[entry["value"]] = told
    if not values:
        return ()
    titles = {name: slices.property_name(name) for name in sorted(values)}
    column, value = st.columns(2, gap="small")
    with column:
        name = listed("Property", {ALL: "All"} | titles, "case_property")
    if name == ALL:
        return ()
    with value:
        return ((name, listed("Values", dict(sorted(values[name].items())), "case_values")),)


def cell(
    run: Run,
    shown: str,
    conditions: Sequence[str],
    model: str,
    quantity: str = "",
    place: str = "section",
) -> None:
    """The cases of one model under ``conditions``, which are called ``shown``.

    ``quantity`` is the figure of the cell, if it is one of a chart. The same cases can be drawn at
    another ``place`` of the page.
    """
    chosen = Chosen(model=model, conditions=tuple(conditions))
    where = " at one strength or more" if len(conditions) > 1 else ""
    title = f"{plain(models.label(model))} under {plain(shown)}"
    _selection(run, chosen, title, place, where, quantity)


def selected(run: Run, text: str, place: str = "section") -> None:
    """The cases of the selection that ``text`` means, which may come from a link, as ``cell``."""
    with boundary():
        chosen = Chosen.parse(text, run.manifest.spec)
        _selection(run, chosen, plain(cases_question.selected_title(chosen)), place)


def _selection(
    run: Run,
    chosen: Chosen,
    title: str,
    place: str,
    where: str = "",
    quantity: str = "",
) -> None:
    """The ``chosen`` cases, failures first, with their downloads."""
    tally = run.cases.tally(chosen)
    st.subheader(title, anchor=False)
    left = tally.images - tally.either.counted
    more = f" {left:,} more were incorrect before the attack." if left else ""
    if tally.by_label.counted and quantity and "accuracy" not in quantity:
        shown = quantities()[quantity].lower()
        more += f" This list goes by accuracy; the cell shows {shown}."
    st.caption(f"{cases_question.failures(tally, where)}. Failures come first.{more}")
    _downloads(run, chosen, place)
    key = f"{place}_{chosen.text}"
    _show(
        run, lambda most: run.cases.both(chosen, most), tally.either.counted, key, at_once=IN_A_ROW
    )


def _downloads(run: Run, chosen: Chosen, place: str, kind: str = "") -> None:
    """Buttons for the selection (of the ``kind``) as a table, and as a zip with its images."""
    order = "" if kind else ", failures first"
    with st.container(horizontal=True):
        for label, suffix, icon in (
            ("Table", ".csv", ":material/csv:"),
            ("Images", ".zip", ":material/folder_zip:"),
        ):
            st.download_button(
                label,
                partial(selected_cases.exported, run, chosen, suffix, kind),
                f"{run.id}-selection{suffix}",
                key=f"{label} {place} {kind} {chosen.text}",
                icon=icon,
                on_click="ignore",
                help=f"At most {selected_cases.MOST[suffix]:,} images{order}.",
            )


def _show(
    run: Run,
    first: Callable[[int], list[dict[str, Any]]],
    total: int,
    key: str,
    at_once: int = AT_ONCE,
) -> None:
    """The ``first`` of ``total`` cases as cards, and a button for more."""
    number = f"{key} of {run.id}"
    limit = int(st.session_state.get(number, at_once))
    for row, column in zip(first(limit), results.cells(IN_A_ROW), strict=False):
        with column, st.container(border=True, height="stretch", gap="small"):
            _card(run, row)
    if total > limit:
        st.button(
            f"Show {min(AT_ONCE, total - limit)} more",
            key=f"{key}_button",
            icon=":material/expand_more:",
            on_click=st.session_state.update,
            args=({number: limit + AT_ONCE},),
        )


def _card(run: Run, row: dict[str, Any]) -> None:
    """A case with its images; an attacked one is made on the model of ``row`` alone."""

    def change(picture: Picture, condition: Condition, of: cases_question.Row) -> Images:
        if not condition.needs_model:
            return cache.change(picture, condition, run.seed).image
        labelled = replace(picture, label=int(of["label"]) if pd.notna(of["label"]) else None)
        return cache.attacked_picture(labelled, condition, run.seed, str(of["model"]))

    case = cases_question.case(run, row, change)
    if case.shots:
        for column, shot in zip(st.columns(2, gap="small", wrap=False), case.shots, strict=True):
            column.image(shot.png, width="stretch", output_format="PNG", alt=shot.alt)
    st.html(html("case", case=case))
    _link(run, row, Condition.parse(str(row["condition"])))


def _link(run: Run, row: dict[str, Any], condition: Condition) -> None:
    """Opens the case on the Live page, an attack's on the Adversarial page.

    Images of a published tree are made by no perturbation that a page could repeat.
    """
    if condition.in_files:
        return
    query = {"run": run.id, "image": str(row["image"]), "seed": str(run.seed)}
    if condition.needs_model:
        page_link("pages/adversarial.py", "Repeat the attack", ":material/bug_report:", query)
        return
    page_link("app.py", "Open live", ":material/tune:", query | link_values(condition))
