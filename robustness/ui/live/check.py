"""The check of one picture, live: pictures side by side, answers and charts, at every move."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st

from robustness import models, report
from robustness.base.errors import RobustnessError
from robustness.base.text import plain
from robustness.charts import answers, look
from robustness.evaluation.condition import Condition
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.similarity import Stages
from robustness.evaluation.spec import make_spec
from robustness.models import REGISTRY as MODELS
from robustness.pictures.picture import Picture
from robustness.ui.kit import attention, memo, results, stages
from robustness.ui.kit.html import Html, html
from robustness.ui.kit.page import fragment
from robustness.ui.kit.picture_input import current_fit
from robustness.ui.kit.report_button import report_button
from robustness.ui.live.controls import perturbation_controls


@fragment
def show(picture: Picture, model_names: tuple[str, ...], seed: int) -> None:
    """Draws the controls and all answers; reruns alone when a control in it changes."""
    start = time.perf_counter()
    states = {name: models.state(MODELS[name]) for name in model_names}
    for state in states.values():
        if not state.ready:  # one of the user's has turned out unusable since the page was drawn
            st.error(plain(state.reason), icon=":material/model_training:")
    model_names = tuple(name for name, state in states.items() if state.ready)
    summary = st.empty()
    output, controls = st.columns([7, 3], gap="medium")
    with controls, st.container(key="controls", height=450, border=True):
        strengths = perturbation_controls()
    condition = Condition.of(strengths)
    active = [name for name, value in condition.steps if value > 0]
    what = condition.label if active else "no perturbation"
    summary.html(_headline([], len(model_names), what))

    spec = make_spec(model_names, [condition], seed=seed)
    altered = memo.change(picture, condition, seed)
    asking = time.perf_counter()
    coming = memo.answers(spec, picture, model_names, altered)  # while the pictures are drawn
    with output:
        results.show_pictures(picture, altered.image, what, altered.scores)
        if len(active) > 1:
            st.caption("Applied in this order: " + condition.label.replace(" + ", " → ") + ".")
        lines = st.empty()
        lines.html(_verdicts([], model_names))

    slots = dict(zip(model_names, results.card_slots(len(model_names)), strict=True))
    for name, slot in slots.items():
        slot.caption(f"Asking {plain(MODELS[name].label)} …")
    answered: dict[str, Measurement] = {}
    for name, row in coming:
        if isinstance(row, RobustnessError):
            slots[name].error(plain(str(row)), icon=":material/model_training:")
            continue
        answered[name] = row
        slots[name].html(results.card(row))
        summary.html(_headline(list(answered.values()), len(model_names), what))
        lines.html(_verdicts(list(answered.values()), model_names))
    forward = 1000 * (time.perf_counter() - asking)
    rows = [answered[name] for name in model_names if name in answered]
    if not rows:
        return
    _show_charts(rows, lambda name: memo.by_place(spec, picture, name, altered))
    total = 1000 * (time.perf_counter() - start)
    st.caption(
        f"Perturbed and compared in {altered.milliseconds:.0f} ms, "
        f"forward passes {forward:.0f} ms, this update {total:.0f} ms in all."
    )
    fitted = replace(spec, fit=current_fit())
    report_button(partial(report.of_live, fitted, picture, rows), "live")
    attention.section(
        [("Original", picture.image), ("Perturbed", altered.image)],
        {row.model: tuple(dict.fromkeys((row.clean_top1, row.top1))) for row in rows},
    )


def _headline(rows: Sequence[Measurement], total: int, what: str) -> Html:
    """The answer in a sentence."""
    kept = sum(row.consistent for row in rows)
    if len(rows) < total or not total:
        text = f"Asking {total} models: {len(rows)} answered, {kept} kept their answer"
    elif 0 < kept < total:
        text = f"{kept} of {total} models keep their answer"
    elif total > 1:
        text = f"All {total} models {'keep' if kept else 'change'} their answer"
    else:
        text = f"The model {'keeps' if kept else 'changes'} its answer"
    return results.headline(f"{text} under {what}.")


def _verdicts(rows: Sequence[Measurement], model_names: Sequence[str]) -> Html:
    """One line a model: kept or changed, and what it sees now."""
    answered = {row.model: row for row in rows}
    lines = [
        (models.label(name), row := answered.get(name), row and models.class_name(name, row.top1))
        for name in model_names
    ]
    return html("verdicts", lines=lines)


def _show_charts(rows: Sequence[Measurement], by_place: Callable[[str], Stages]) -> None:
    """Similarity of features, probability of the clean class, similarity per stage.

    ``by_place`` gives the stages of a model's row compared place by place.
    """
    frame = pd.DataFrame([row.as_row() for row in rows])
    similarity, left, departs = st.columns(3, gap="medium")
    similarity.markdown("##### How far the features moved")
    results.chart(
        similarity,
        answers.similarity_bars(frame),
        "similarity",
        look.describe(frame, ["cosine", "cosine_rescaled", "euclidean", "euclidean_rescaled"]),
    )
    similarity.caption(
        "Similarity of the embeddings of both pictures: 1 where nothing moved, 0 where they are as "
        "alike as those of unrelated pictures. In brackets what it is before it is rescaled so. "
        "Euclidean: 1 - ‖a - b‖ / (‖a‖ + ‖b‖)."
    )
    left.markdown("##### What is left for the original class")
    results.chart(
        left,
        answers.clean_class_bars(frame),
        "clean_class",
        look.describe(frame, ["clean_probability", "retained_probability"]),
    )
    left.caption("Probability of the class that each model names for the original.")
    departs.markdown("##### Where in the network it departs")
    with departs:
        chosen = stages.by_place_input()
    if chosen:
        rows = [replace(row, stages=by_place(row.model)) for row in rows]
    stages.chart(departs, answers.stage_frame(rows), "cosine", chosen)
