"""The decision card of a run: the answer, its price, and the images that speak against it."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness import gate, models, report
from robustness.base.access import Action
from robustness.base.errors import ImageError, ParameterError, RobustnessError
from robustness.base.text import plain
from robustness.evaluation.condition import perturbation_label
from robustness.report import run as run_report
from robustness.report.questions import RunFigures, choice
from robustness.report.questions.choice import CHOICE
from robustness.runs import Run, find
from robustness.runs.cases import Chosen
from robustness.runs.selection import WORST
from robustness.statistics import Figures, ModelChoice
from robustness.ui.dataset import cases
from robustness.ui.dataset.saved_run import Opened
from robustness.ui.display import blocks, results
from robustness.ui.display.blocks import options_input
from robustness.ui.display.buttons import report_button
from robustness.ui.session import access
from robustness.ui.session.inputs import forget_unless, keep_in_link, listed
from robustness.ui.session.run_link import baseline_id, last_written, runs_folder
from robustness.ui.session.sentences import sentence

THUMBNAILS = 6


def show(run: Opened, of: RunFigures) -> None:
    """Draw the card of ``run`` above its results."""
    found = of.statistics
    with st.container(border=True, key="decision"):
        answer = st.container()
        with st.container(horizontal=True, vertical_alignment="center"):
            failures = st.toggle("Show failures", key="failures", bind="query-params")
            alone = ""
            if len(found.summary) > 1:
                with st.popover("Compare two", icon=":material/difference:"):
                    alone = _two(found)
            values, budget = _criteria_input(of)
            with st.popover("Share", icon=":material/link:"):
                st.caption("Opens this run, for whoever can open this server.")
                st.code(_link(run.id), language=None, wrap_lines=True)
            report_button(partial(report.of_run, run.run), run.id)
        chosen, by_own = _choice(run, of, values, budget, answer)
        with answer:
            _answer(run, of, chosen, by_own)
        if failures and (first := _worst(chosen)):
            conditions = _conditions(found, *first)
            label = perturbation_label(first[1]) if first[1] else "any perturbation"
            cases.cell(run.run, label, conditions, first[0], place="card")
        if alone:
            cases.selected(run.run, alone, "card")


def _answer(run: Opened, of: RunFigures, chosen: ModelChoice, by_own: bool) -> None:
    first, *rest = [answer for _, answer in run_report.answers(of)]
    said = " ".join(chosen.sentences) if by_own else first
    head = chosen.sentences[0] if said.startswith(chosen.sentences[0]) else said
    st.html(results.headline(head))
    st.markdown(plain(said.removeprefix(head).strip()))
    if by_own:
        weighed = [f"{word}: {', '.join(names)}." for word, names in chosen.weighted.items()]
        st.caption(plain(" ".join(["By your criteria.", *weighed])))
    for caution in run_report.cautions(of):
        st.info(plain(caution), icon=":material/info:")
    blocks.draw(choice.blocks(run.run.manifest.costs, chosen))
    if worst := _worst(chosen):
        _thumbnails(run, *worst)
    st.caption(
        "\n".join(f"- {plain(sentence)}" for sentence in (*rest, run_report.note(of)) if sentence)
    )


def _worst(chosen: ModelChoice) -> tuple[str, str] | None:
    """The first model, without a remedy, and the perturbation under which it is weakest, or ""."""
    first = next((entry for entry in chosen.models if not entry["remedy"]), None)
    return (str(first["model"]), first["weakest"] or "") if chosen.best and first else None


def _conditions(figures: Figures, model: str, perturbation: str) -> list[str]:
    """Those of ``model``, under ``perturbation`` if it is not empty."""
    return [
        entry["condition"]
        for entry in figures.by_perturbation
        if entry["model"] == model and perturbation in ("", entry["perturbation"])
    ]


def _thumbnails(run: Opened, model: str, perturbation: str) -> None:
    """Draw images that ``model`` fails under ``perturbation``, or under any."""
    try:
        shots = _shots(run.id, run.written, model, perturbation, run.run)
    except RobustnessError as error:
        st.caption(plain(f"The images cannot be shown: {error}"))
        return
    if not shots:
        return
    under = f" under {perturbation_label(perturbation)}" if perturbation else ""
    st.caption(f"{plain(models.label(model))} fails{under}:")
    results.row(shots, "failing")


@st.cache_data(show_spinner=False, max_entries=16)
def _shots(
    run_id: str, written: int, model: str, perturbation: str, _run: Run
) -> list[results.Thumbnail]:
    """The images that ``model`` fails most clearly; raises ``ImageError`` if none can be read."""
    found: list[results.Thumbnail] = []
    unread: ImageError | None = None
    for row in _run.cases.first(Chosen(model=model, perturbation=perturbation), WORST, THUMBNAILS):
        was = row["clean_top1"] if row["label"] is None else row["label"]
        classes = int(was), int(row["top1"])
        image, condition = str(row["image"]), str(row["condition"])
        try:
            shot = results.thumbnail(_run, model, image, condition, classes)
        except ImageError as error:
            unread = error
            continue
        if all(shot.png != other.png for other in found):  # copies count once
            found.append(shot)
    if unread and not found:
        raise unread
    return found


def _two(figures: Figures) -> str:
    """Draw how two models differ; return the images to show that one of them alone fails on."""
    names = [entry["model"] for entry in figures.summary]
    labels = {name: models.label(name) for name in names}
    picked = []
    for label, first in zip(("Model", "Against"), names, strict=False):
        picked.append(listed(label, labels, f"compare_{label.lower()}", first))
    if picked[0] == picked[1]:
        st.caption("Choose two models.")
        return ""
    pairs = [pair for pair in figures.pairs() if {pair["better"], pair["worse"]} == {*picked}]
    for pair in pairs:
        st.markdown(plain(choice.difference(pair)))
    if not pairs:
        st.caption("These models have different classes: they cannot be compared.")
    options = {
        Chosen(model=one, against=other).text: f"{models.label(one)} alone fails"
        for one, other in (picked, picked[::-1])
    }
    forget_unless(options, "alone")
    keep_in_link("alone", options, None)
    return st.pills("Images", options, format_func=options.__getitem__, key="alone") or ""


def _criteria_input(of: RunFigures) -> tuple[dict[str, Any], gate.Budget | None]:
    """Draw what matters to the user: the options of the choice, and the budget of a gate."""
    with st.popover("Criteria", icon=":material/tune:"):
        values = options_input(CHOICE.options, of)
        refused = access.refusal(Action.UPLOAD)
        given = st.file_uploader(
            "Budget of a gate, TOML",
            type="toml",
            key="budget",
            disabled=bool(refused),
            help=refused
            or "Rules out models that break its limits. Limits on regression compare with the "
            "baseline of the Runs page, not with the one that the file names.",
        )
        return values, None if given is None or refused else _budget(given.name, given.getvalue())


def _budget(name: str, data: bytes) -> gate.Budget | None:
    """The budget in an uploaded file; shows why if it is none."""
    try:
        budget = gate.budget_of(data, name)
    except ParameterError as error:
        st.error(plain(sentence(error)), icon=":material/error:")
        return None
    st.caption("The link does not include the budget.")
    return budget


def _choice(
    run: Opened,
    of: RunFigures,
    values: dict[str, Any],
    budget: gate.Budget | None,
    answer: DeltaGenerator,
) -> tuple[ModelChoice, bool]:
    """(The choice, whether it is by the user's criteria); says in ``answer`` why there is none."""
    if budget or values != {option.name: option.default for option in CHOICE.options}:
        try:
            baseline = _baseline(budget)
            criteria = f"{values} {budget}", *((baseline.id, baseline.written) if baseline else ())
            own = RunFigures(of.run, of.statistics, values)
            return _chosen(run.id, run.written, criteria, own, budget, baseline), True
        except RobustnessError as error:
            answer.error(plain(sentence(error)), icon=":material/error:")
    return of.answer(CHOICE).chosen, False


def _baseline(budget: gate.Budget | None) -> Opened | None:
    """The baseline run, if ``budget`` compares with one; raises ``ParameterError`` without one."""
    if budget is None or not budget.compares:
        return None
    folder = runs_folder()
    name = baseline_id(folder)
    if not name:
        raise ParameterError(
            f"{budget.path} has limits on regression, which compare with a baseline: choose one on "
            "the Runs page."
        )
    return Opened(find(folder, name), last_written(folder, name))


@st.cache_resource(show_spinner="Choosing …", max_entries=16)
def _chosen(
    run_id: str,
    written: int,
    criteria: tuple[object, ...],
    _of: RunFigures,
    _budget: gate.Budget | None,
    _baseline: Opened | None,
) -> ModelChoice:
    out: dict[str, str] = {}
    if _budget is not None:
        before = None if _baseline is None else _baseline.run
        remedies = bool(_of.options["remedies"])
        out = gate.rule_out(_budget, [_of.run], before, remedies=remedies)(_of.run)
    return choice.figures(_of, out).chosen


def _link(run_id: str) -> str:
    here, _, query = (st.context.url or "").partition("?")
    return f"{here}?{query or f'run={run_id}'}"
