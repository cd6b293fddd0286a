"""The decision card of a run: the answer, its price, and the images that speak against it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from robustness import gate, models, report
from robustness.base.access import Action
from robustness.base.errors import ImageError, ParameterError, RobustnessError
from robustness.base.text import plain
from robustness.evaluation.condition import perturbation_label
from robustness.gate import choosing
from robustness.report import Report
from robustness.report.results import run_choice
from robustness.runs import Run, find
from robustness.runs.behind_remedies import weighable
from robustness.runs.candidates import with_abstaining
from robustness.runs.cases import Chosen
from robustness.runs.selection import WORST
from robustness.statistics import Criteria, Figures, ModelChoice
from robustness.statistics.criteria import MARGIN, OTHERS
from robustness.ui.dataset import cases
from robustness.ui.dataset.saved_run import Opened
from robustness.ui.display import blocks, results
from robustness.ui.display.buttons import report_button
from robustness.ui.session import access
from robustness.ui.session.inputs import forget_unless, keep_in_link
from robustness.ui.session.run_link import baseline_id, last_written, runs_folder
from robustness.ui.session.sentences import sentence

THUMBNAILS = 6


def show(run: Opened, found: Figures, told: Report) -> None:
    """Draw the card of ``run`` above its results."""
    with st.container(border=True, key="decision"):
        answer = st.container()
        with st.container(horizontal=True, vertical_alignment="center"):
            failures = st.toggle("Show failures", key="failures", bind="query-params")
            alone = ""
            if len(found.summary) > 1:
                with st.popover("Compare two", icon=":material/difference:"):
                    alone = _two(found)
            own = _criteria_input(run, found)
            with st.popover("Share", icon=":material/link:"):
                st.caption("Opens this run, for whoever can open this server.")
                st.code(_link(run.id), language=None, wrap_lines=True)
            report_button(partial(report.of_run, run.run), run.id)
        chosen, by_own = _choice(run, found, own, answer)
        with answer:
            _answer(run, found, told, chosen, by_own)
        if failures and (first := _worst(chosen)):
            conditions = _conditions(found, *first)
            label = perturbation_label(first[1]) if first[1] else "any perturbation"
            cases.cell(run.run, label, conditions, first[0], place="card")
        if alone:
            cases.selected(run.run, alone, "card")


@dataclass(frozen=True)
class OwnCriteria:
    """What matters to the user; ``remedies`` says whether these make further candidates."""

    criteria: Criteria = field(default_factory=Criteria)
    remedies: bool = False
    budget: gate.Budget | None = None


def _answer(run: Opened, found: Figures, told: Report, chosen: ModelChoice, by_own: bool) -> None:
    first, *rest = told.answer
    said = " ".join(chosen.sentences) if by_own else first
    head = chosen.sentences[0] if said.startswith(chosen.sentences[0]) else said
    st.html(results.headline(head))
    st.markdown(plain(said.removeprefix(head).strip()))
    if by_own:
        weighed = [f"{word}: {', '.join(names)}." for word, names in chosen.weighted.items()]
        st.caption(plain(" ".join(["By your criteria.", *weighed])))
    for caution in told.cautions:
        st.info(plain(caution), icon=":material/info:")
    for block in run_choice.blocks(run.run.manifest.costs, chosen):
        blocks.block(block)
    if worst := _worst(chosen):
        _thumbnails(run, *worst)
    st.caption("\n".join(f"- {plain(sentence)}" for sentence in (*rest, told.note) if sentence))


def _worst(chosen: ModelChoice) -> tuple[str, str] | None:
    """The first model, without a remedy, and the perturbation under which it is weakest, or ""."""
    first = next((entry for entry in chosen.models if not entry["remedy"]), None)
    return (str(first["model"]), first["weakest"] or "") if chosen.best and first else None


def _conditions(found: Figures, model: str, perturbation: str) -> list[str]:
    """Those of ``model``, under ``perturbation`` if it is not empty."""
    return [
        entry["condition"]
        for entry in found.by_perturbation
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


def _two(found: Figures) -> str:
    """Draw how two models differ; return the images to show that one of them alone fails on."""
    names = [entry["model"] for entry in found.summary]
    labels = {name: models.label(name) for name in names}
    picked = []
    for label, first in zip(("Model", "Against"), names, strict=False):
        key = f"compare_{label.lower()}"
        forget_unless(labels, key)
        keep_in_link(key, labels, first)
        picked.append(st.selectbox(label, names, format_func=labels.__getitem__, key=key))
    if picked[0] == picked[1]:
        st.caption("Choose two models.")
        return ""
    pairs = [pair for pair in found.pairs() if {pair["better"], pair["worse"]} == {*picked}]
    for pair in pairs:
        st.markdown(plain(run_choice.difference(pair)))
    if not pairs:
        st.caption("These models have different classes: they cannot be compared.")
    options = {
        Chosen(model=one, against=other).text: f"{models.label(one)} alone fails"
        for one, other in (picked, picked[::-1])
    }
    forget_unless(options, "alone")
    keep_in_link("alone", options, None)
    return st.pills("Images", options, format_func=options.__getitem__, key="alone") or ""


def _criteria_input(run: Opened, found: Figures) -> OwnCriteria:
    """Draw the choice of what matters to the user."""
    attacks_alone = found.ranked_by == "robust_accuracy"
    with st.popover("Criteria", icon=":material/tune:"):
        risks = [] if attacks_alone else run_choice.risks(found)
        most: Iterable[str] = st.multiselect(
            "What matters most",
            risks,
            key="matters",
            bind="query-params",
            placeholder="all alike",
            help="Counts three times as much as the rest.",
        )
        labelled = found.summary[0]["clean_accuracy"] is not None
        floor = _limit("Min accuracy on originals, %", "min_accuracy", 100.0) if labelled else None
        costs: run_choice.Costs = run.run.manifest.costs
        latency, size = (
            _limit(label, f"max_{key}") if any(key in cost for cost in costs.values()) else None
            for label, key in (("Max latency, ms", "latency_ms"), ("Max size, MB", "megabytes"))
        )
        margin = _limit("Smallest difference that matters, points", "margin", 100.0)
        remedies = bool(weighable(run.run)) and st.toggle(
            "Include remedies",
            key="choose_remedies",
            bind="query-params",
            help="Each model behind each remedy of the run is one more candidate.",
        )
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
        budget = None if given is None or refused else _budget(given.name, given.getvalue())
    criteria = Criteria(
        dict.fromkeys(most, 3.0) | ({OTHERS: 1.0} if most else {}),
        None if floor is None else floor / 100,
        latency,
        size,
        MARGIN if margin is None else margin / 100,
    )
    return OwnCriteria(criteria, remedies, budget)


def _budget(name: str, data: bytes) -> gate.Budget | None:
    """The budget in an uploaded file; shows why if it is none."""
    try:
        budget = gate.budget_of(data, name)
    except ParameterError as error:
        st.error(plain(sentence(error)), icon=":material/error:")
        return None
    st.caption("The link does not include the budget.")
    return budget


def _limit(label: str, key: str, most: float | None = None) -> float | None:
    shown = "1" if key == "margin" else "none"
    return st.number_input(
        label,
        min_value=0.0,
        max_value=most,
        value=None,
        key=key,
        bind="query-params",
        placeholder=shown,
    )


def _choice(
    run: Opened, found: Figures, own: OwnCriteria, answer: DeltaGenerator
) -> tuple[ModelChoice, bool]:
    """(The choice, whether it is by ``own``); says in ``answer`` why the run cannot answer it."""
    if own != OwnCriteria():
        try:
            baseline = _baseline(own.budget)
            known = ("", 0) if baseline is None else (baseline.id, baseline.written)
            return _chosen(run.id, run.written, own, known, found, run.run, baseline), True
        except RobustnessError as error:
            answer.error(plain(sentence(error)), icon=":material/error:")
    return with_abstaining(run.run, found.choice, {}), False


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


@st.cache_resource(
    show_spinner="Choosing …", max_entries=16, hash_funcs={OwnCriteria: lambda own: repr(own)}
)
def _chosen(
    run_id: str,
    written: int,
    own: OwnCriteria,
    baseline: tuple[str, int],
    _found: Figures,
    _run: Run,
    _baseline: Opened | None,
) -> ModelChoice:
    before = None if _baseline is None else _baseline.run
    out = choosing.ruled_out(_run, own.budget, before, remedies=own.remedies)
    return choosing.of_run(_run, _found, own.criteria, out, remedies=own.remedies)


def _link(run_id: str) -> str:
    here, _, query = (st.context.url or "").partition("?")
    return f"{here}?{query or f'run={run_id}'}"
