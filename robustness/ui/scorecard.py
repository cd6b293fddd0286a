"""The Scorecard: conditions, ranking and verdicts, outcomes, gallery, features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from robustness import models
from robustness.base.text import plain, some, visible
from robustness.charts import answers, style, tables
from robustness.charts.scorecard import MOVEMENT, OUTCOMES, movement, outcomes, ranking
from robustness.charts.verdict import verdict
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import evaluate, perturbed, stages_by_place
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import spec_of
from robustness.evaluation.suites import study_conditions
from robustness.perturbations import REGISTRY, Perturbation
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture
from robustness.report.answers import ranked
from robustness.report.results.measured import several_label_sets
from robustness.statistics import scorecard
from robustness.statistics.scorecard import summarise
from robustness.ui.browser.components import first_strength
from robustness.ui.browser.html import Html, html
from robustness.ui.computation.cache import work_key
from robustness.ui.computation.progress import Measuring
from robustness.ui.display import explanations, results
from robustness.ui.session.inputs import one_of, slider, strengths

STUDY, SAME, INDIVIDUAL = "study", "same", "individual"
_MODES = {STUDY: "Study settings", SAME: "Same strength", INDIVIDUAL: "Individual strengths"}
_RENAMED = {"one dial": SAME, "each its own": INDIVIDUAL}
"""Modes in links of earlier versions."""


def study_conditions_input() -> tuple[Condition, ...]:
    """The study's ten conditions: at its settings, at one strength, or at individual strengths."""
    if (said := st.query_params.get("mode")) in _RENAMED:
        st.session_state["mode"] = st.query_params["mode"] = _RENAMED[said]
    mode = one_of("Strength of the ten perturbations", _MODES, "mode")
    if mode == STUDY:
        return study_conditions()
    if mode == SAME:
        values = [round(0.05 * step, 2) for step in range(1, 21)]
        dial = slider("Strength of all ten", {value: f"{value:g}" for value in values}, "dial", 0.6)
        conditions = study_conditions(strength=dial)
    else:
        records = [record for record in REGISTRY if record.in_study]
        own = []
        for record, column in zip(records, results.cells(5, gap="medium"), strict=False):
            with column:
                own.append(Condition.of({record.name: _own_strength(record)}))
        conditions = tuple(own)
    st.caption(
        "Where ImageNet-C has the perturbation, 0.2 is its severity 1 and 1 its severity 5. "
        "Flips have no strength."
    )
    return conditions


def _own_strength(record: Perturbation) -> float:
    key = f"own_{record.name}"
    if record.graded:
        first = first_strength(record)
        return slider(record.label, strengths(record, first), key, first)
    return float(st.toggle(record.label, value=True, key=key, bind="query-params"))


def measure(
    pictures: Sequence[Picture], names: Sequence[str], conditions: Sequence[Condition], seed: int
) -> list[Measurement]:
    """The rows of the scorecard, cached or computed with progress; stops the page if cancelled."""
    spec = spec_of(pictures[0], names, conditions, seed)
    return Measuring(
        "Scoring",
        work_key("score", pictures, names, conditions, seed),
        pictures,
        lambda nameless: evaluate(spec, nameless),
        len(pictures) * len(names) * len(conditions),
    ).at_once()


def show(
    rows: Sequence[Measurement],
    pictures: Sequence[Picture],
    conditions: Sequence[Condition],
    seed: int,
) -> None:
    """Draw the sections."""
    summary = summarise(rows)
    frame = pd.DataFrame([row.as_row() for row in rows])
    _headline(summary, pictures, rows)
    results.warn_of_the_unsure(rows)
    left, right = st.columns([1, 2], gap="medium")
    with left:
        st.header("Ranking", anchor=False)
        table = pd.DataFrame(summary)
        results.chart(
            st,
            ranking(table),
            "ranking",
            style.describe(table, ["consistency", "consistency_low", "consistency_high"]),
        )
    with right:
        st.header("Verdict", anchor=False)
        st.html(results.html_table(*tables.verdicts(summary)))
        st.caption(scorecard.VERDICT_RULE)
    published = [entry["model"] for entry in summary if entry["model"] in scorecard.PUBLISHED]
    with st.expander(
        "The study's published figures", expanded=bool(published), icon=":material/history_edu:"
    ):
        st.html(results.html_table(*tables.published(summary)))
        st.caption(scorecard.PUBLISHED_NOTE)
    st.header("What each perturbation did", anchor=False)
    results.chart(
        st,
        outcomes(frame),
        "outcomes",
        "The prediction of each model under each perturbation; the images below show each one.",
    )
    st.caption(f"{OUTCOMES} Hover over a cell for the confidence in the original class.")
    _gallery(rows, pictures, conditions, seed)
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Features and predictions", anchor=False)
        st.markdown(scorecard.insight(rows))
        results.chart(st, movement(frame), "movement", scorecard.insight(rows))
        st.caption(MOVEMENT)
    with right:
        st.header("Where the features diverge", anchor=False)
        st.markdown("Mean similarity over all perturbations, from the first stage to the last.")
        metric = one_of(
            "Similarity", ("cosine", "euclidean"), "stage_metric", shows_label=False, in_link=False
        )
        chosen = explanations.by_place_input()
        if chosen:
            rows = _by_place(rows, pictures, conditions, seed)
        explanations.chart(st, answers.stage_means(rows), metric, chosen)


def _by_place(
    rows: Sequence[Measurement],
    pictures: Sequence[Picture],
    conditions: Sequence[Condition],
    seed: int,
) -> list[Measurement]:
    """``rows`` with their stages compared place by place, cached or computed with progress."""
    names = list(dict.fromkeys(row.model for row in rows))
    spec = spec_of(pictures[0], names, conditions, seed)
    what = "Comparing place by place"
    found = Measuring(
        what,
        work_key(what, pictures, spec.model_names, conditions, seed),
        pictures,
        lambda nameless: stages_by_place(spec, nameless),
        len(rows),
    ).at_once()
    of = dict(found)
    return [replace(r, stages=of[r.image_digest, r.model, r.condition]) for r in rows]


def _headline(
    summary: Sequence[dict[str, Any]], pictures: Sequence[Picture], rows: Sequence[Measurement]
) -> None:
    scored = some([visible(picture.name) for picture in pictures], 3)
    st.html(results.headline(f"{scored}: {ranked.of_scorecard(summary, rows, len(pictures))}"))
    for caution in several_label_sets(entry["model"] for entry in summary):
        st.info(plain(caution), icon=":material/rule:")
    if doubt := scorecard.doubt(summary):
        few = not scorecard.has_intervals(summary)
        st.info(plain(doubt), icon=":material/science:" if few else ":material/balance:")


def _gallery(
    rows: Sequence[Measurement],
    pictures: Sequence[Picture],
    conditions: Sequence[Condition],
    seed: int,
) -> None:
    st.header("Perturbed images and predictions", anchor=False)
    picture = pictures[0]
    if len(pictures) > 1:
        by_name = {f"{place}: {visible(p.name)}": p for place, p in enumerate(pictures, start=1)}
        picture = by_name[st.selectbox("Image", list(by_name), key="gallery_picture")]
    images = perturbed(picture, conditions, seed)
    with st.container(key="answers"):
        for condition, image in zip(conditions, images, strict=True):
            cell = st.container()
            cell.image(
                to_png(image),
                width="stretch",
                output_format="PNG",
                alt=f"{picture.name} under {condition.label}",
            )
            mine = [
                row
                for row in rows
                if row.image_digest == picture.digest and row.condition == condition.id
            ]
            cell.html(_answers(condition, mine))


def _answers(condition: Condition, rows: Sequence[Measurement]) -> Html:
    lines = [
        (models.label(row.model), row, verdict(row), models.class_name(row.model, row.top1))
        for row in rows
    ]
    return html("answers", title=condition.label, lines=lines)
