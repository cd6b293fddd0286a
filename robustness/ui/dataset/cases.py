"""The images behind the figures: the worst cases, the survivors, and those of one cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models
from robustness import statistics as figures
from robustness.base.text import plain
from robustness.charts.verdict import outcomes
from robustness.evaluation.condition import Condition, perturbation_label
from robustness.perturbations import Images
from robustness.pictures.picture import Picture
from robustness.report.copy_as import link_values
from robustness.report.results import run_cases
from robustness.runs import Run
from robustness.ui.browser.html import html
from robustness.ui.frame.page import fragment
from robustness.ui.session.inputs import listed, one_of
from robustness.ui.session.run_link import page_link
from robustness.ui.shown import results
from robustness.ui.work import memo

IN_A_ROW = 3
AT_ONCE = 6
ALL = "all"


@fragment
def gallery(title: str, run: Run, frame: pd.DataFrame) -> None:
    """Cases of the whole run, filtered by class, model and perturbation; each image once."""
    st.header(title, anchor=False)
    kind = one_of("Cases", run_cases.KINDS, "cases", shows_label=False)
    classes, asked, perturbed = figures.class_names(frame), frame["model"], frame["perturbation"]
    filters: tuple[tuple[str, pd.Series, Iterable[Any], Callable[[str], str]], ...] = (
        ("Class", classes, sorted(classes.unique()), str),
        ("Model", asked, asked.unique(), models.label),
        ("Perturbation", perturbed, perturbed.unique(), perturbation_label),
    )
    keep = pd.Series(True, index=frame.index)
    for column, (label, values, names, text) in zip(
        st.columns(3, gap="small"), filters, strict=True
    ):
        with column:
            options = {ALL: "All"} | {str(name): text(name) for name in names}
            chosen = listed(label, options, f"case_{label.lower()}")
        if chosen != ALL:
            keep &= values.astype(str) == chosen
    found = figures.cases(frame[keep], kind)
    st.caption(run_cases.caption(frame, kind, len(found)).capitalize())
    _show(run, found, f"shown_{kind}")


def cell(run: Run, frame: pd.DataFrame, shown: str, conditions: Sequence[str], model: str) -> None:
    """The cases of one model under ``conditions``, which are called ``shown``."""
    mine = frame[(frame["model"] == model) & frame["condition"].isin(conditions)]
    worst = figures.cases(mine, figures.WORST)
    rest = figures.cases(mine, figures.SURVIVORS)
    rest = rest[~rest["image"].isin(worst["image"])]
    total = len(worst) + len(rest)
    left = mine["image"].nunique() - total
    st.subheader(f"{plain(models.label(model))} under {plain(shown)}", anchor=False)
    where = " at one strength or more" if mine.duplicated("image").any() else ""
    more = f" {left:,} more were incorrect before the attack." if left else ""
    st.caption(
        f"{len(worst):,} of {total:,} images: {outcomes(mine)[1]}{where}, shown first.{more}"
    )
    _show(run, pd.concat([worst, rest]), f"cell_{model}_{shown}", at_once=IN_A_ROW)


def _show(run: Run, found: pd.DataFrame, key: str, at_once: int = AT_ONCE) -> None:
    """The first of ``found`` as cards, and a button for more."""
    number = f"{key} of {run.id}"
    limit = int(st.session_state.get(number, at_once))
    rows: list[dict[str, Any]] = found.iloc[:limit].to_dict("records")  # type: ignore[assignment]
    for row, column in zip(rows, results.cells(IN_A_ROW), strict=False):
        with column, st.container(border=True, height="stretch", gap="small"):
            _card(run, row)
    if len(found) > limit:
        st.button(
            f"Show {min(AT_ONCE, len(found) - limit)} more",
            key=f"{key}_button",
            icon=":material/expand_more:",
            on_click=st.session_state.update,
            args=({number: limit + AT_ONCE},),
        )


def _card(run: Run, row: dict[str, Any]) -> None:
    """A case with its images; an attacked one is made on the model of ``row`` alone."""

    def change(picture: Picture, condition: Condition, of: run_cases.Row) -> Images:
        if not condition.needs_model:
            return memo.change(picture, condition, run.seed).image
        labelled = replace(picture, label=int(of["label"]) if pd.notna(of["label"]) else None)
        return memo.attacked_picture(labelled, condition, run.seed, str(of["model"]))

    case = run_cases.case(run, row, change)
    if case.shots:
        for column, shot in zip(st.columns(2, gap="small", wrap=False), case.shots, strict=True):
            column.image(shot.png, width="stretch", output_format="PNG", alt=shot.alt)
    st.html(html("case", case=case))
    _link(run, row, Condition.parse(str(row["condition"])))


def _link(run: Run, row: dict[str, Any], condition: Condition) -> None:
    """Opens the case on the Live page, an attack's on the Adversarial page."""
    query = {"run": run.id, "image": str(row["image"]), "seed": str(run.seed)}
    if condition.needs_model:
        page_link("pages/adversarial.py", "Repeat the attack", ":material/bug_report:", query)
        return
    page_link("app.py", "Open live", ":material/tune:", query | link_values(condition))
