"""The check of one image, live: images and answers at every move, charts once it rests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import pandas as pd
import streamlit as st

from robustness import models, report
from robustness.base.text import plain
from robustness.base.turns import PAUSES
from robustness.charts import answers, look
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.similarity import Stages
from robustness.models import REGISTRY as MODELS
from robustness.pictures.picture import Picture
from robustness.ui.browser import components
from robustness.ui.frame.page import fragment
from robustness.ui.live import film, held, presenting, stack
from robustness.ui.live.asked import Answer, LiveRequest, shown
from robustness.ui.server.latency import UPDATES
from robustness.ui.shown import attention, results, stages
from robustness.ui.shown.copy_button import copy_button
from robustness.ui.shown.report_button import report_button
from robustness.ui.work import memo

_STANDING = "standing"


@fragment
def show(picture: Picture, model_names: tuple[str, ...], seed: int, truth: str | None) -> None:
    """Draws the images, the answers and the stack; reruns alone when something is changed."""
    on = stack.current()
    _say_who_cannot_run(model_names)
    asked = LiveRequest(picture, on.condition, _usable(model_names), seed, truth)
    follows = st.session_state.pop(_STANDING, None) == asked.of_whom
    presenting.told(picture, asked.models, seed, asked.condition.id)
    with PAUSES.answering(), st.container(key="live"):
        (_follow if follows else _begin)(asked, on)
    st.session_state[_STANDING] = asked.of_whom  # only once all of it stands


def _begin(asked: LiveRequest, on: stack.Stack) -> None:
    """Draws an image anew, and each answer as it comes: models may have to be loaded."""
    start = time.perf_counter()
    altered = asked.change()
    asking, coming = time.perf_counter(), asked.answers(altered)  # while the images are drawn
    results.show_pictures(asked.picture, altered.image, asked.what, altered.scores)
    place = st.empty()
    stack.show(on, asked.picture, asked.id, held.ticket(asked))
    found: dict[str, Answer] = {}
    components.answers(place, "live answers 0", shown(asked, found))
    for name, row in coming:
        found[name] = row
        if len(found) < len(asked.models):
            components.answers(place, f"live answers {len(found)}", shown(asked, found))
    note = _pace(asking, start)
    components.answers(place, "live answers", shown(asked, found, note))


def _follow(asked: LiveRequest, on: stack.Stack) -> None:
    """Draws what changes, all at once: nothing is emptied before its successor is there."""
    start = time.perf_counter()
    altered = asked.change()
    asking, coming = time.perf_counter(), asked.answers(altered)
    results.show_pictures(asked.picture, altered.image, asked.what, altered.scores, follows=on.held)
    found = dict(coming)
    note = _pace(asking, start)
    components.answers(nullcontext(), "live answers", shown(asked, found, note))
    # Last: once the browser has it, it may ask for more, and what is unsent then is dropped.
    stack.show(on, asked.picture, asked.id, held.ticket(asked))


def _pace(asking: float, start: float) -> str:
    """How long it took from ``start``, once all have answered who are asked since ``asking``.

    An image that was perturbed before takes no time again.
    """
    now = time.perf_counter()
    UPDATES.note("page", now - start)
    return (
        f"Perturbed and compared in {1000 * (asking - start):.0f} ms, "
        f"forward passes {1000 * (now - asking):.0f} ms, "
        f"this update {1000 * (now - start):.0f} ms in all."
    )


def _usable(model_names: Sequence[str]) -> tuple[str, ...]:
    """Those of the models that can run: one of the user's may have turned out unusable."""
    return tuple(name for name in model_names if models.state(MODELS[name]).ready)


def _say_who_cannot_run(model_names: Sequence[str]) -> None:
    for state in (models.state(MODELS[name]) for name in model_names):
        if not state.ready:
            st.error(plain(state.reason), icon=":material/model_training:")


@fragment
def show_details(
    picture: Picture, model_names: tuple[str, ...], seed: int, truth: str | None
) -> None:
    """Draws the charts and what else need not move along; reruns once the answers have settled."""
    condition = stack.kept().condition
    asked = LiveRequest(picture, condition, _usable(model_names), seed, truth)
    components.settled("details settled", asked.id)
    film.show(asked)
    altered = asked.change()
    found = dict(asked.answers(altered))
    rows = [row for name in asked.models if isinstance(row := found[name], Measurement)]
    if not rows:
        return
    with st.container(key="live-details"):
        st.subheader("In detail", anchor=False)
        _show_charts(rows, lambda name: memo.by_place(asked.spec, picture, name, altered))
        with st.container(horizontal=True):
            report_button(
                lambda: report.of_live(asked.spec, picture, rows, film.made(asked)), "live"
            )
            copy_button(asked.spec, picture, truth)
        attention.section(
            [("Original", picture.image), ("Perturbed", altered.image)],
            {row.model: tuple(dict.fromkeys((row.clean_top1, row.top1))) for row in rows},
        )


def _show_charts(rows: Sequence[Measurement], by_place: Callable[[str], Stages]) -> None:
    """Similarity of features, probability of the clean class, similarity per stage.

    ``by_place`` gives the stages of a model's row compared place by place.
    """
    frame = pd.DataFrame([row.as_row() for row in rows])
    similarity, left, departs = st.columns(3, gap="medium")
    similarity.markdown("### How far the features moved")
    results.chart(
        similarity,
        answers.similarity_bars(frame),
        "similarity",
        look.describe(frame, ["cosine", "cosine_rescaled", "euclidean", "euclidean_rescaled"]),
    )
    similarity.caption(
        "Similarity of the embeddings of both images: 1 where nothing moved, 0 where they are as "
        "alike as those of unrelated images. In brackets what it is before it is rescaled so. "
        "Euclidean: 1 - ‖a - b‖ / (‖a‖ + ‖b‖)."
    )
    left.markdown("### What is left for the original class")
    results.chart(
        left,
        answers.clean_class_bars(frame),
        "clean_class",
        look.describe(frame, ["clean_probability", "retained_probability"]),
    )
    left.caption("Probability of the class that each model names for the original.")
    departs.markdown("### Where in the network it departs")
    with departs:
        chosen = stages.by_place_input()
    if chosen:
        rows = [replace(row, stages=by_place(row.model)) for row in rows]
    stages.chart(departs, answers.stage_frame(rows), "cosine", chosen)
