"""The answer of an evaluation: what to choose, whether limits hold, and the map of the run."""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any

import streamlit as st

from robustness import gate, models, report
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, plain
from robustness.measure.condition import short
from robustness.report import choice, harm
from robustness.report import run as report_run
from robustness.report.blocks import FAILURES
from robustness.report.choice import CHOICE, ChoiceFigures
from robustness.report.run import RunFigures
from robustness.runs import Listed, Run
from robustness.statistics import ModelChoice
from robustness.ui import draw
from robustness.ui.draw import report_button
from robustness.ui.evaluations import limits, table
from robustness.ui.evaluations.images import VIEW
from robustness.ui.html import html
from robustness.ui.live import stories
from robustness.ui.session import sentence
from robustness.ui.shared import cached

_VERDICTS = 8
_VERDICT_PIXELS = 360  # rows in sight
_MOST_IN_LINE = 4  # models: the map of more scrolls in place on a phone
_VERDICT_HEAD = ("Outcome", "Model", "Condition", "Limit", "Required", "Measured")


def show(run: Run, of: RunFigures, entry: Listed) -> RunFigures:
    """Draw the answer of ``run``: what can be done with it, what to choose, and its map.

    Returns ``of`` with the choice by the user's criteria, for all that is below.
    """
    with st.container(key="decision"):
        with st.container(horizontal=True, vertical_alignment="center", key="run-tools"):
            with st.popover("Criteria", icon=":material/tune:"):
                values = draw.options_input(CHOICE.options, of)
            with st.popover("Limits", icon=":material/rule:"):
                st.caption("Limits each model must meet")
                limits.take_limits(run.folder)
                limits.limits_input(run.folder)
            table.comparison_input(entry.folder.parent, [entry.folder.name])
            report_button(partial(report.of_run, run), run.id)
            with st.popover("Manage", icon=":material/more_horiz:"):
                table.manage(entry)
            stories.present_button("the answer, the map and the worst images")
        chosen = _answer(run, of, values)
    for caution in report_run.cautions(of):
        st.info(plain(caution), icon=":material/info:")
    figures = ChoiceFigures(chosen, of.statistics)
    return of.with_answer(CHOICE, figures)


def _answer(run: Run, of: RunFigures, values: dict[str, Any]) -> ModelChoice:
    """Draw the verdict, the recommendation and the map; return the choice that they show."""
    check = None
    try:
        if budget := limits.budget():
            check = _check(budget, run, limits.baseline(budget), remedies=bool(values["remedies"]))
    except RobustnessError as error:
        if limits.is_uploaded():
            st.error(plain(sentence(error)), icon=":material/error:")
        else:
            st.info(plain(sentence(error)), icon=":material/rule:")
    if check is not None:
        _verdicts(check)
    chosen, by_own = _choice(run, of, values, check)
    first = CHOICE.answers(of.answer(CHOICE))[0][1]
    text = " ".join(chosen.sentences) if by_own else first
    head = chosen.sentences[0] if text.startswith(chosen.sentences[0]) else text
    st.html(draw.headline(head if run.finished else f"So far: {head}"))
    weighed = [f"{word}: {', '.join(names)}." for word, names in chosen.weighted.items()]
    own = ["By your criteria.", *weighed] if by_own else []
    more = text.removeprefix(head).strip()
    shown = "" if run.finished else f"Shows {counted(run.images, 'image')} so far."
    marks = _marks(check) if check else {}
    signs = ", ".join(f"{sign} {outcome}" for outcome, sign in _SIGNS.items()) if marks else ""
    block = harm.keyed_map(of.statistics, chosen, marks)
    about = f"{block.note} Click a cell for its failures."
    limits_of = signs and f"Limits: {signs}."
    st.caption(plain(" ".join(filter(None, [shown, *own, more, about, limits_of]))))
    rows = len(block.drawing.rows)
    columns = len(block.drawing.columns)
    # Its least height, so that nothing below moves when it comes; on a phone of two bands a line.
    titles = 1.5 if block.drawing.axis is None else 2.5
    lines = ceil(columns / 2)
    wide = f"{1.43 * rows + titles:.1f}rem"
    narrow = f"{rows * (1.65 * lines + 1.5):.1f}rem"
    inside = ""
    if columns > _MOST_IN_LINE:
        narrow = "80vh"
        inside = ".st-key-run-map .rb-map { max-height: 80vh; overflow: auto; --rb-map-top: 0 }"
    css = (
        f".st-key-run-map {{ min-height: {wide} }} @media (max-width: 640px) "
        f"{{ .st-key-run-map {{ min-height: {narrow} }} {inside} }}"
    )
    with st.container(key="run-map"):
        st.html(html("style", css=css))
        clicked = partial(st.session_state.update, {VIEW: FAILURES})  # the images of the cell
        draw.linked_map(block, run.id, clicked)
    return chosen


# --- limits ---------------------------------------------------------------------------------------


_check = cached(16, "Checking the limits …")(gate.check)


_SIGNS = {gate.BROKEN: "✗", gate.NOT_SHOWN: "?", gate.KEPT: "✓"}
"""By outcome, the worst first."""


def _marks(check: gate.Check) -> dict[tuple[str, str], tuple[str, str]]:
    """The worst verdict on each model and condition, for its cell of the map."""
    marks: dict[tuple[str, str], tuple[str, str]] = {}
    for verdict in sorted(check.verdicts, key=lambda verdict: list(_SIGNS).index(verdict.outcome)):
        if verdict.condition is not None:
            limit = f"{gate.LIMITS[verdict.limit]} {verdict.limit_text}: {verdict.outcome}"
            cell = verdict.model, verdict.condition
            marks.setdefault(cell, (_SIGNS[verdict.outcome], limit))
    return marks


def _verdicts(check: gate.Check) -> None:
    st.html(draw.headline(gate.headline(check)))
    order = sorted(check.verdicts, key=lambda verdict: list(_SIGNS).index(verdict.outcome))
    rows = [
        (
            verdict.outcome,
            models.label(verdict.model),
            short(verdict.condition) if verdict.condition else verdict.where,
            gate.LIMITS[verdict.limit],
            verdict.limit_text,
            verdict.figure_text,
        )
        for verdict in order
    ]
    scrolls = len(rows) > _VERDICTS
    with st.container(height=_VERDICT_PIXELS if scrolls else "content", border=scrolls):
        st.html(draw.html_table(_VERDICT_HEAD, rows))


# --- the choice -----------------------------------------------------------------------------------


def _choice(
    run: Run, of: RunFigures, values: dict[str, Any], check: gate.Check | None
) -> tuple[ModelChoice, bool]:
    """(The choice, whether it is by the user's criteria); says why there is none."""
    if check or values != {option.name: option.default for option in CHOICE.options}:
        try:
            own = RunFigures(of.run, of.statistics, values)
            out = gate.exclusions(check, said=short) if check else {}
            return _chosen(run, values, out, own), True
        except RobustnessError as error:
            st.error(plain(sentence(error)), icon=":material/error:")
    return of.answer(CHOICE).chosen, False


@cached(16, "Choosing …")
def _chosen(run: Run, values: dict[str, Any], out: dict[str, str], _of: RunFigures) -> ModelChoice:
    return choice.figures(_of, out).chosen
