"""The answer of an evaluation: what to choose, whether limits hold, what fails, what to do next."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from robustness import gate, models, report
from robustness.base.errors import ImageError, RobustnessError
from robustness.base.text import plain
from robustness.evaluation.condition import short
from robustness.report import run as run_report
from robustness.report.blocks import Titled
from robustness.report.questions import RunFigures, choice
from robustness.report.questions.choice import CHOICE
from robustness.runs import Listed, Run
from robustness.runs.case_queries import Chosen
from robustness.runs.row_selection import WORST
from robustness.statistics import FEWEST, ModelChoice
from robustness.ui.computation.cache import cached
from robustness.ui.display import blocks, results
from robustness.ui.display.export_buttons import report_button
from robustness.ui.evaluations import cases, limits, run_actions, run_table
from robustness.ui.session.sentences import sentence

FAILURES = 6
_VERDICTS, _VERDICT_PIXELS = 8, 360  # rows in sight
_VERDICT_HEAD = ("Outcome", "Model", "Condition", "Limit", "Required", "Measured")


def show(run: Run, of: RunFigures, entry: Listed) -> None:
    """Draw the card of ``run`` above its results."""
    with st.container(border=True, key="decision"):
        card = st.container()
        with st.container(horizontal=True, vertical_alignment="center"):
            values = _criteria_input(of)
            _tools(run, entry)
        with card:
            _answer(run, of, values)
    for caution in run_report.cautions(of):
        st.info(plain(caution), icon=":material/info:")


def _tools(run: Run, entry: Listed) -> None:
    """Draw what can be done with the run."""
    run_table.comparison_input(entry.folder.parent, [entry.folder.name])
    report_button(partial(report.of_run, run), run.id)
    with st.popover("Manage", icon=":material/more_horiz:"):
        run_actions.manage(entry)


def _answer(run: Run, of: RunFigures, values: dict[str, Any]) -> None:
    check = None
    try:
        if budget := limits.budget():
            check = _check(run, budget, limits.baseline(budget), bool(values["remedies"]))
    except RobustnessError as error:
        if limits.is_uploaded():
            st.error(plain(sentence(error)), icon=":material/error:")
        else:
            st.info(plain(sentence(error)), icon=":material/rule:")
    if check is not None:
        _verdicts(check)
    chosen, by_own = _choice(run, of, values, check)
    first, *rest = [answer for _, answer in run_report.answers(of)]
    text = " ".join(chosen.sentences) if by_own else first
    head = chosen.sentences[0] if text.startswith(chosen.sentences[0]) else text
    st.html(results.headline(head))
    faster = choice.fastest(choice.priced(run.manifest.costs, chosen))
    if said := f"{faster} {text.removeprefix(head).strip()}".strip():
        st.markdown(plain(said))
    if by_own:
        weighed = [f"{word}: {', '.join(names)}." for word, names in chosen.weighted.items()]
        st.caption(plain(" ".join(["By your criteria.", *weighed])))
    others = choice.blocks(run.manifest.costs, chosen)
    if others and isinstance(table := others.pop(0), Titled):
        st.html(results.html_table(*table.table))
    _failures(run, chosen, of.statistics.images)
    with st.expander("More"):
        blocks.draw(others)
        facts = (*rest, run_report.note(of))
        st.caption("\n".join(f"- {plain(sentence)}" for sentence in facts if sentence))


# --- limits ---------------------------------------------------------------------------------------


@cached(16, "Checking the limits …")
def _check(run: Run, budget: gate.Budget, baseline: Run | None, remedies: bool) -> gate.Check:
    return gate.check(budget, run, baseline, remedies=remedies)


def _verdicts(check: gate.Check) -> None:
    st.html(results.headline(gate.headline(check)))
    order = [*check.broken, *(v for v in check.verdicts if v not in check.broken)]
    rows = [
        (
            verdict.outcome,
            models.label(verdict.model),
            verdict.where,
            gate.LIMITS[verdict.limit],
            verdict.limit_text,
            verdict.figure_text,
        )
        for verdict in order
    ]
    with st.container(height=_VERDICT_PIXELS if len(rows) > _VERDICTS else "content", border=False):
        st.html(results.html_table(_VERDICT_HEAD, rows))


# --- the choice -----------------------------------------------------------------------------------


def _criteria_input(of: RunFigures) -> dict[str, Any]:
    """Draw what matters to the user; returns the options of the choice."""
    with st.popover("Criteria", icon=":material/tune:"):
        values = blocks.options_input(CHOICE.options, of)
    with st.popover("Limits", icon=":material/rule:"):
        st.caption("Say whether each model meets these.")
        spec, source = of.run.manifest.spec, of.run.manifest.dataset.source
        limits.limits_input(spec.model_names, spec.conditions, source, of.run.id)
    return values


def _choice(
    run: Run, of: RunFigures, values: dict[str, Any], check: gate.Check | None
) -> tuple[ModelChoice, bool]:
    """(The choice, whether it is by the user's criteria); says why there is none."""
    if check or values != {option.name: option.default for option in CHOICE.options}:
        try:
            own = RunFigures(of.run, of.statistics, values)
            out = gate.ruled_out(check) if check else {}
            return _chosen(run, values, out, own), True
        except RobustnessError as error:
            st.error(plain(sentence(error)), icon=":material/error:")
    return of.answer(CHOICE).chosen, False


@cached(16, "Choosing …")
def _chosen(run: Run, values: dict[str, Any], out: dict[str, str], _of: RunFigures) -> ModelChoice:
    return choice.figures(_of, out).chosen


# --- what fails -----------------------------------------------------------------------------------


def _failures(run: Run, chosen: ModelChoice, images: int) -> None:
    """Draw images that the first model fails on, each a link, and say what to do next."""
    first = next((entry for entry in chosen.models if not entry["remedy"]), None)
    if not chosen.best or first is None:
        st.caption("Next: relax the criteria or limits, or evaluate another model.")
        return
    model, hard = str(first["model"]), tuple(first["hardest"][:1])
    under = f" under {short(hard[0])}" if hard else ""
    try:
        failures = _cases(run, model, hard)
    except RobustnessError as error:
        st.caption(plain(f"The images cannot be shown: {error}"))
        return
    few = f"evaluate {FEWEST} images or more of your own, and " if images < FEWEST else ""
    if not failures:
        st.caption(f"Next: {few}try stronger perturbations. Nothing here fails.")
        return
    which = f"the failures of {plain(models.label(model))}{under}"
    st.markdown(f"**Next:** {few}look at {which}. Click an image to open it.")
    with st.container(horizontal=True, gap="small", key="failing"):
        for place, (row, shot) in enumerate(failures):
            with st.container(key=f"failure-{place}", width=132, gap="xxsmall"):
                st.image(shot.png, width=132, output_format="PNG", alt=shot.alt)
                cases.link(run, row, shot.caption)


@cached(16)
def _cases(
    run: Run, model: str, conditions: tuple[str, ...]
) -> list[tuple[dict[str, Any], results.Thumbnail]]:
    """The clearest failures of ``model``; raises ``ImageError`` if none can be read."""
    failures: list[tuple[dict[str, Any], results.Thumbnail]] = []
    unread: ImageError | None = None
    for row in run.cases.first(Chosen(model=model, conditions=conditions), WORST, FAILURES):
        was = row["clean_top1"] if row["label"] is None else row["label"]
        classes = int(was), int(row["top1"])
        try:
            shot = results.thumbnail(run, model, str(row["image"]), str(row["condition"]), classes)
        except ImageError as error:
            unread = error
            continue
        if all(shot.png != other.png for _, other in failures):  # copies count once
            failures.append((row, shot))
    if unread and not failures:
        raise unread
    return failures
