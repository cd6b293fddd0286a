"""What the Live page says of all answers: a sentence, a line a model, and charts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd
import streamlit as st

from robustness import models
from robustness.charts import answers, look
from robustness.evaluation.measurement import Measurement
from robustness.ui.kit import results


def headline(rows: Sequence[Measurement], total: int, what: str) -> str:
    """The answer in a sentence, as HTML."""
    kept = sum(row.consistent for row in rows)
    if len(rows) < total:
        text = f"Asking {total} models: {len(rows)} answered, {kept} kept their answer"
    elif kept == total:
        text = (
            f"All {total} models keep their answer" if total > 1 else "The model keeps its answer"
        )
    elif kept == 0:
        text = (
            f"All {total} models change their answer"
            if total > 1
            else "The model changes its answer"
        )
    else:
        text = f"{kept} of {total} models keep their answer"
    return results.headline(f"{text} under {what}.")


def verdicts(rows: Sequence[Measurement], model_names: Sequence[str]) -> str:
    """One line a model: kept or changed, and what it sees now; as HTML."""
    answered = {row.model: row for row in rows}
    lines = []
    for name in model_names:
        row = answered.get(name)
        if row is None:
            state = '<span class="rb-muted">waiting …</span>'
        else:
            seen = escape(models.class_name(name, row.top1))
            state = f"{results.badge(row.consistent)} <span>{seen} {row.probability:.0%}</span>"
        lines.append(f"<li><b>{escape(models.label(name))}</b> {state}</li>")
    return f'<ul class="rb-verdicts">{"".join(lines)}</ul>'


def show_charts(rows: Sequence[Measurement]) -> None:
    """Similarity of features, probability of the clean class, similarity per stage."""
    frame = pd.DataFrame([row.as_row() for row in rows])
    stages = answers.stage_frame(rows)
    similarity, left, departs = st.columns(3, gap="medium")
    similarity.markdown("##### How far the features moved")
    results.chart(
        similarity,
        answers.similarity_bars(frame),
        "similarity",
        look.describe(frame, ["cosine", "euclidean"]),
    )
    similarity.caption(
        "Similarity of the embeddings of both pictures; 1 means that nothing moved. "
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
    results.chart(
        departs,
        answers.stage_lines(stages),
        "stages",
        look.describe(stages.assign(model=stages["model"] + " " + stages["stage"]), ["cosine"]),
    )
    departs.caption("Cosine similarity after each stage, from the first layers to the embedding.")
