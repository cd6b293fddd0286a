"""The answer of an evaluation: what to choose, whether limits hold, and the map of the run."""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any

import streamlit as st

from robustness import gate, models
from robustness.base.errors import RobustnessError
from robustness.base.options import changed
from robustness.base.text import counted, plain
from robustness.gate.gate import Verdict
from robustness.measure.condition import short
from robustness.report import choice, domain, harm
from robustness.report import run as report_run
from robustness.report.blocks import FAILURES, Map, Text
from robustness.report.choice import CHOICE, ChoiceFigures
from robustness.report.domain import DOMAIN
from robustness.report.run import RunFigures
from robustness.runs import Listed, Run
from robustness.statistics import ModelChoice
from robustness.statistics.options import ChoiceOptions
from robustness.ui import draw
from robustness.ui.draw import report_button
from robustness.ui.evaluations import limits, table
from robustness.ui.evaluations.domain import record_popover
from robustness.ui.evaluations.images import VIEW
from robustness.ui.html import html
from robustness.ui.live import stories
from robustness.ui.session import one_of, sentence
from robustness.ui.shared import cached

_VERDICT_ROWS = 8
_VERDICT_PIXELS = 360
"""Verdicts that are drawn whole; more scroll in a table of this height."""

_VERDICT_HEAD = ("Outcome", "Model", "Condition", "Limit", "Required", "Measured")

_SIGNS = {gate.BROKEN: "✗", gate.UNTESTED: "–", gate.NOT_SHOWN: "?", gate.KEPT: "✓"}
"""By outcome, the worst first."""

_MOST_IN_LINE = 4
"""Models whose map a phone shows whole; the map of more scrolls in place."""


def show(run: Run, figures: RunFigures, entry: Listed) -> RunFigures:
    """Draw the answer of ``run``: what can be done with it, what to choose, and its map.

    Returns ``figures`` with the choice by the user's criteria, for all that is drawn below.
    """
    with st.container(key="decision"):
        with st.container(horizontal=True, vertical_alignment="center", key="run-tools"):
            with st.popover("Criteria", icon=":material/tune:"):
                criteria = draw.options_input(CHOICE, figures)
            with st.popover("Limits", icon=":material/rule:"):
                st.caption("Limits each model must meet")
                limits.take_limits(run.folder)
                limits.limits_input(run.folder, score=run.score)
            table.comparison_input(entry.folder.parent, [entry.folder.name])
            report_button(partial(report_run.of_figures, RunFigures(figures.analysis)), run.id)
            if run.manifest.spec.domain is not None:
                record_popover(RunFigures(figures.analysis), entry.folder.parent)
            with st.popover("Manage", icon=":material/more_horiz:"):
                table.manage(entry)
            stories.present_button("the answer, the map and the worst images")
        chosen = _draw_answer(run, figures, criteria)
    for caution in report_run.cautions_beside_progress(figures):
        st.info(plain(caution), icon=":material/info:")
    return figures.with_answer(CHOICE, ChoiceFigures(chosen, figures.statistics))


def _draw_answer(run: Run, figures: RunFigures, criteria: dict[str, Any]) -> ModelChoice:
    """Draw the verdicts, the recommendation and the map; return the choice that they show."""
    check = _check_limits(run, criteria)
    if check is not None:
        _draw_verdicts(check)
    chosen, basis = _choose(run, figures, criteria, check)
    if basis:
        answer = " ".join(chosen.sentences)
    else:
        answer = choice.answer(figures.statistics, figures.answer(CHOICE).chosen)
    if run.manifest.spec.domain is not None:
        _draw_domain(run, figures.with_answer(CHOICE, ChoiceFigures(chosen, figures.statistics)))
        st.caption(plain(f"{basis} {answer}".strip()))
        return chosen
    headline = answer
    if answer.startswith(chosen.sentences[0]):
        headline = chosen.sentences[0]
    st.html(draw.headline(headline if run.finished else f"So far: {headline}"))

    marks = {} if check is None else _marks(check)
    block = harm.keyed_map(figures.statistics, chosen, marks)
    caption = []
    if not run.finished:
        caption.append(f"Shows {counted(run.images, 'image')} so far.")
    if basis:
        caption.append(basis)
        for weight, perturbations in chosen.weighted.items():
            caption.append(f"{weight}: {', '.join(perturbations)}.")
    caption.append(answer.removeprefix(headline).strip())
    caption += [caution.text for caution in cautions_above(run, chosen)]
    caption.append(stories.with_hint(block.note, "Click a cell for its failures."))
    if marks:
        has_untested = any(sign == _SIGNS[gate.UNTESTED] for sign, _ in marks.values())
        signs = ", ".join(
            f"{sign} {outcome}"
            for outcome, sign in _SIGNS.items()
            if outcome != gate.UNTESTED or has_untested
        )
        caption.append(f"Limits: {signs}.")
    st.caption(plain(" ".join(filter(None, caption))))
    with st.container(key="run-map"):
        st.html(html("style", css=_map_style(block)))
        open_failures = partial(st.session_state.update, {VIEW: FAILURES})
        draw.linked_map(block, run.id, open_failures)
    return chosen


def cautions_above(run: Run, chosen: ModelChoice) -> list[Text]:
    """Cautions on latencies that stand beside the headline, as it says which model is faster."""
    if chosen.fastest is None or run.manifest.spec.domain is not None:
        return []
    return choice.busy(chosen.models)


def _draw_domain(run: Run, figures: RunFigures) -> None:
    """Draw where a model holds in the domain of ``run``, as a sentence, a map and tables."""
    answer = figures.answer(DOMAIN)
    chooser = domain.maps(answer, keyed=True)
    name = next(iter(chooser.options))
    if len(chooser.options) > 1:
        name = one_of(chooser.label, chooser.options, chooser.key, first=name)
    judged = next(each for each in answer.judged if each.model == name)
    first, *others = domain.sentences(judged, answer.score)
    st.html(draw.headline(first if run.finished else f"So far: {first}"))
    (block,) = chooser.read(name)
    assert isinstance(block, Map)
    st.markdown(plain(" ".join(others)))
    st.caption(plain(stories.with_hint(block.note, "Click a cell for its images.")))
    with st.container(key="run-map"):
        st.html(html("style", css=_map_style(block)))
        open_failures = partial(st.session_state.update, {VIEW: FAILURES})
        draw.linked_map(block, run.id, open_failures)
    draw.draw(domain.details(answer))


_MATRIX_LINE = 2.5
"""Height in rem of a band with its title, of a matrix on a phone."""


def _map_style(block: Map) -> str:
    """The least height of the map, which comes later, so that nothing below it moves then.

    On a phone a row has as many lines as two bands a line take.
    """
    row_count = len(block.drawing.rows)
    column_count = len(block.drawing.columns)
    title_height = 1.5 if block.drawing.axis is None else 2.5
    height = f"{1.43 * row_count + title_height:.1f}rem"
    if block.drawing.is_matrix:
        lines = ceil(column_count / block.drawing.phone_columns)
        phone_height = f"{row_count * (_MATRIX_LINE * lines + 1.5):.1f}rem"
        phone_map = ""
    elif column_count > _MOST_IN_LINE:
        phone_height = "80vh"
        phone_map = ".st-key-run-map .rb-map { max-height: 80vh; overflow: auto; --rb-map-top: 0 }"
    else:
        lines = ceil(column_count / block.drawing.phone_columns)
        phone_height = f"{row_count * (1.65 * lines + 1.5):.1f}rem"
        phone_map = ""
    return (
        f".st-key-run-map {{ min-height: {height} }} @media (max-width: 640px) "
        f"{{ .st-key-run-map {{ min-height: {phone_height} }} {phone_map} }}"
    )


# --- limits ---------------------------------------------------------------------------------------


_check = cached(16, "Checking the limits …")(gate.check)


def _check_limits(run: Run, criteria: dict[str, Any]) -> gate.Check | None:
    """Check ``run`` against the limits of the page; None without any, or where that cannot be.

    The reason is drawn: as an error for a file that the user chose, otherwise as a hint.
    """
    try:
        budget = limits.budget()
        if budget is None:
            return None
        baseline = limits.baseline(budget)
        return _check(budget, run, baseline, remedies=bool(criteria["remedies"]))
    except RobustnessError as error:
        reason = plain(sentence(error))
        if limits.is_uploaded():
            st.error(reason, icon=":material/error:")
        else:
            st.info(reason, icon=":material/rule:")
        return None


def _marks(check: gate.Check) -> dict[tuple[str, str], tuple[str, str]]:
    """The worst verdict on each model and condition, for its cell of the map."""
    marks: dict[tuple[str, str], tuple[str, str]] = {}
    for verdict in _worst_first(check):
        if verdict.condition is not None:
            described = gate.described(verdict.limit, check.run.score)
            limit = f"{described} {verdict.limit_text}: {verdict.outcome}"
            cell = (verdict.model, verdict.condition)
            marks.setdefault(cell, (_SIGNS[verdict.outcome], limit))
    return marks


def _worst_first(check: gate.Check) -> list[Verdict]:
    outcomes = list(_SIGNS)
    return sorted(check.verdicts, key=lambda verdict: outcomes.index(verdict.outcome))


def _draw_verdicts(check: gate.Check) -> None:
    st.html(draw.headline(gate.headline(check)))
    rows = []
    for verdict in _worst_first(check):
        row = (
            verdict.outcome,
            models.label(verdict.model),
            short(verdict.condition) if verdict.condition else verdict.where,
            gate.titled(verdict.limit, check.run.score),
            verdict.limit_text,
            verdict.figure_text,
        )
        rows.append(row)
    scrolls = len(rows) > _VERDICT_ROWS
    with st.container(height=_VERDICT_PIXELS if scrolls else "content", border=scrolls):
        st.html(draw.html_table(_VERDICT_HEAD, rows))


# --- the choice -----------------------------------------------------------------------------------


def _choose(
    run: Run, figures: RunFigures, criteria: dict[str, Any], check: gate.Check | None
) -> tuple[ModelChoice, str]:
    """The choice, and which of the user's criteria and limits it is by; "" if by neither.

    Where nothing can be chosen by these, the reason is drawn.
    """
    by_criteria = changed(ChoiceOptions, criteria)
    if check is not None or by_criteria:
        try:
            ruled_out = {} if check is None else gate.exclusions(check, said=short)
            own_figures = RunFigures(figures.analysis, criteria)
            chosen = _chosen(run, criteria, ruled_out, own_figures)
        except RobustnessError as error:
            st.error(plain(sentence(error)), icon=":material/error:")
        else:
            if check is None:
                return chosen, "By your criteria."
            if not by_criteria:
                return chosen, "Within your limits."
            return chosen, "By your criteria, within your limits."
    return figures.answer(CHOICE).chosen, ""


@cached(16, "Choosing …")
def _chosen(
    run: Run, criteria: dict[str, Any], ruled_out: dict[str, str], _figures: RunFigures
) -> ModelChoice:
    return choice.choice_figures(_figures, ruled_out).chosen
