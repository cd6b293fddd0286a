"""The images behind the figures: the worst cases, the survivors, and those of one cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models
from robustness import statistics as figures
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, plain
from robustness.charts.verdict import outcomes, percent, verdict_of
from robustness.evaluation.condition import Condition, perturbation_label
from robustness.perturbations import Images
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture
from robustness.report.copy_as import link_values
from robustness.ui.browser.html import Html, html
from robustness.ui.dataset.saved_run import Opened
from robustness.ui.frame.page import fragment
from robustness.ui.session.inputs import listed, one_of
from robustness.ui.session.run_link import page_link
from robustness.ui.session.sentences import sentence
from robustness.ui.shown import results
from robustness.ui.work import memo

KINDS = {figures.WORST: "Worst cases", figures.SURVIVORS: "Survivors"}
IN_A_ROW = 3
AT_ONCE = 6
ALL = "all"


@fragment
def gallery(run: Opened, frame: pd.DataFrame) -> None:
    """Cases of the whole run, filtered by class, model and perturbation; each image once."""
    st.header("The images", anchor=False)
    kind = one_of("Cases", KINDS, "cases", shows_label=False)
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
    st.caption(_order(kind, len(found), outcomes(frame)))
    _show(run, found, f"shown_{kind}")


def _order(kind: str, count: int, outcomes: tuple[str, str]) -> str:
    word = outcomes[kind == figures.WORST]
    if not count:
        return f"No image has a prediction that is {word}."
    found = f"{counted(count, 'image')} with a prediction that is {word}"
    if kind == figures.WORST:
        return f"{found}, each at its worst. The largest loss of confidence comes first."
    return f"{found}, each under its most visible change. The lowest SSIM comes first."


def cell(
    run: Opened, frame: pd.DataFrame, shown: str, conditions: Sequence[str], model: str
) -> None:
    """The cases of one model under ``conditions``, which are called ``shown``."""
    mine = frame[(frame["model"] == model) & frame["condition"].isin(conditions)]
    worst = figures.cases(mine, figures.WORST)
    rest = figures.cases(mine, figures.SURVIVORS)
    rest = rest[~rest["image"].isin(worst["image"])]
    total = len(worst) + len(rest)
    st.subheader(f"{plain(models.label(model))} under {plain(shown)}", anchor=False)
    where = " at one strength or more" if mine.duplicated("image").any() else ""
    left = mine["image"].nunique() - total
    more = f" {left:,} more images were incorrect before the attack." if left else ""
    verb = "are" if len(worst) != 1 else "is"
    st.caption(
        f"{len(worst):,} of {total:,} predictions {verb} {outcomes(mine)[1]}{where}; those come "
        f"first.{more}"
    )
    _show(run, pd.concat([worst, rest]), f"cell_{model}_{shown}", at_once=IN_A_ROW)


def _show(run: Opened, found: pd.DataFrame, key: str, at_once: int = AT_ONCE) -> None:
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


def _card(run: Opened, row: dict[str, Any]) -> None:
    condition = Condition.parse(str(row["condition"]))
    what = condition.described
    try:
        picture = run.picture(str(row["image"]))
        image = _altered(run, picture, condition, row)
    except RobustnessError as error:
        st.warning(plain(sentence(error)), icon=":material/broken_image:")
    else:
        clean, perturbed = st.columns(2, gap="small", wrap=False)
        name = str(row["image"])
        clean.image(
            memo.original_png(picture), width="stretch", output_format="PNG", alt=f"{name}, clean"
        )
        perturbed.image(
            to_png(image), width="stretch", output_format="PNG", alt=f"{name} under {what}"
        )
    st.html(_text(row, what))
    _link(run, row, condition)


def _altered(run: Opened, picture: Picture, condition: Condition, row: dict[str, Any]) -> Images:
    """The image as the model of ``row`` saw it: an attack is made on that model alone."""
    if not condition.needs_model:
        return memo.change(picture, condition, run.seed).image
    label = None if pd.isna(row["label"]) else int(row["label"])
    labelled = replace(picture, label=label)
    return memo.attacked_picture(labelled, condition, run.seed, str(row["model"]))


def _text(row: dict[str, Any], what: str) -> Html:
    model = str(row["model"])
    before, after = (models.class_name(model, int(row[k])) for k in ("clean_top1", "top1"))
    label = models.label(model)
    left = f"{before}: {percent(row['retained_probability'])}"
    notes = [] if row["consistent"] else [left]
    if pd.notna(row["label"]):
        notes.append(f"true class: {models.class_name(model, int(row['label']))}")
    notes.append(f"SSIM {row['ssim']:.2f}")
    told = verdict_of(row)
    return html(
        "case",
        row=row,
        verdict=told,
        label=label,
        what=what,
        before=before,
        after=after,
        notes=notes,
    )


def _link(run: Opened, row: dict[str, Any], condition: Condition) -> None:
    """Opens the case on the Live page, an attack's on the Adversarial page."""
    query = {"run": run.id, "image": str(row["image"]), "seed": str(run.seed)}
    if condition.needs_model:
        page_link("pages/adversarial.py", "Attack it anew", ":material/bug_report:", query)
        return
    page_link("app.py", "Open live", ":material/tune:", query | link_values(condition))
