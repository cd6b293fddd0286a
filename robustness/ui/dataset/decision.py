"""The decision card of a run: the answer, its price, and the images that speak against it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import streamlit as st

from robustness import models, report
from robustness import statistics as figures
from robustness.base.errors import ImageError, RobustnessError
from robustness.base.text import plain
from robustness.evaluation.condition import perturbation_label
from robustness.report import Report
from robustness.report.results import run_choice
from robustness.runs import Run
from robustness.runs.behind_remedies import weighable
from robustness.runs.candidates import with_abstaining
from robustness.runs.cases import Chosen
from robustness.runs.gate import choosing
from robustness.statistics import Criteria, Figures, ModelChoice
from robustness.statistics.criteria import MARGIN, OTHERS
from robustness.ui.dataset import cases
from robustness.ui.dataset.saved_run import Opened
from robustness.ui.session.inputs import forget_unless
from robustness.ui.shown import blocks, results, thumbnails
from robustness.ui.shown.report_button import report_button

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
            criteria, remedies = _criteria_input(run, found)
            with st.popover("Share", icon=":material/link:"):
                st.caption("Opens this run, for whoever can open this server.")
                st.code(_link(run.id), language=None, wrap_lines=True)
            report_button(partial(report.of_run, run.run), run.id)
        if by_own := remedies or criteria != Criteria():
            chosen = _chosen(run.id, run.written, criteria, remedies, found, run.run)
        else:
            chosen = with_abstaining(run.run, found.choice, {})
        with answer:
            _answer(run, found, told, chosen, by_own)
        if failures and (first := _worst(chosen)):
            asked = _conditions(found, *first)
            label = perturbation_label(first[1]) if first[1] else "any perturbation"
            cases.cell(run.run, found, label, asked, first[0], place="card")
        if alone:
            cases.selected(run.run, found, alone, "card")


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
    thumbnails.row(shots, "failing")


@st.cache_data(show_spinner=False, max_entries=16)
def _shots(
    run_id: str, written: int, model: str, perturbation: str, _run: Run
) -> list[thumbnails.Thumbnail]:
    """The images that ``model`` fails most clearly; raises ``ImageError`` if none can be read."""
    found: list[thumbnails.Thumbnail] = []
    unread: ImageError | None = None
    for row in _run.cases.first(
        Chosen(model=model, perturbation=perturbation), figures.WORST, THUMBNAILS
    ):
        was = row["clean_top1"] if row["label"] is None else row["label"]
        classes = int(was), int(row["top1"])
        image, condition = str(row["image"]), str(row["condition"])
        try:
            shot = thumbnails.thumbnail(_run, model, image, condition, classes)
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
    picked = [
        st.selectbox(
            label,
            names,
            index=place,
            format_func=models.label,
            key=f"compare_{label.lower()}",
            bind="query-params",
        )
        for place, label in enumerate(("Model", "Against"))
    ]
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
    shown = options.__getitem__
    return st.pills("Images", options, format_func=shown, key="alone", bind="query-params") or ""


def _criteria_input(run: Opened, found: Figures) -> tuple[Criteria, bool]:
    """Draw what matters to the user; (the criteria, whether remedies make further candidates)."""
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
    criteria = Criteria(
        dict.fromkeys(most, 3.0) | ({OTHERS: 1.0} if most else {}),
        None if floor is None else floor / 100,
        latency,
        size,
        MARGIN if margin is None else margin / 100,
    )
    return criteria, remedies


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


@st.cache_resource(
    show_spinner="Choosing …",
    max_entries=16,
    hash_funcs={Criteria: lambda asked: repr(asked)},
)
def _chosen(
    run_id: str, written: int, criteria: Criteria, remedies: bool, _found: Figures, _run: Run
) -> ModelChoice:
    return choosing.of_run(_run, _found, criteria, remedies=remedies)


def _link(run_id: str) -> str:
    here, _, query = (st.context.url or "").partition("?")
    return f"{here}?{query or f'run={run_id}'}"
