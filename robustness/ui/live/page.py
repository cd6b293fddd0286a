"""The view Live: images and predictions follow the sliders, charts come at rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import streamlit as st

from robustness import models, report
from robustness.base.text import plain
from robustness.base.turns import PAUSES
from robustness.images.framing import Picture
from robustness.measure.measurement import Measurement
from robustness.models import REGISTRY as MODELS
from robustness.remedies import parse_all
from robustness.report.image import layers, similarity
from robustness.report.threshold import ThresholdInUse
from robustness.ui import components, shared
from robustness.ui import draw as ui_draw
from robustness.ui.draw import copy_button, report_button
from robustness.ui.frame import fragment
from robustness.ui.live import held, remedies, stack, stories
from robustness.ui.live.held import answer_cards
from robustness.ui.live.request import Answer, LiveRequest
from robustness.ui.session import IMAGE, RUN, UPDATES, accept_from, accepted_from

_STANDING = "standing"
OPENED = "live opened"
"""In the session's state once the page has been drawn without its charts."""
_LOADING = 3.0
"""Forward passes that take more seconds than this include the loading of models."""


def show(picture: Picture, model_names: tuple[str, ...], seed: int, truth: str | None) -> None:
    """Draw the view Live."""
    show_thresholds()
    _show_images(picture, model_names, seed, truth)
    _show_details(picture, model_names, seed, truth)


def thresholds() -> Mapping[str, ThresholdInUse]:
    """The safe thresholds in use; none for an image of another run than theirs."""
    in_use = accepted_from()
    run_id = st.query_params.get(RUN)
    if run_id and IMAGE in st.query_params:
        return {name: each for name, each in in_use.items() if each.run == run_id}
    return in_use


def show_thresholds() -> None:
    """Say which run the thresholds in use come from, with the button that ends their use."""
    for run_id in dict.fromkeys(each.run for each in accepted_from().values()):
        with st.container(horizontal=True, vertical_alignment="center", key="thresholds"):
            said = "not used on images of another run" if not thresholds() else "in use"
            st.caption(f"Safe thresholds of the run {plain(run_id)}: {said}.", width="content")
            st.button("Stop using", on_click=accept_from, args=({},), key="stop using thresholds")


@fragment
def _show_images(
    picture: Picture, model_names: tuple[str, ...], seed: int, truth: str | None
) -> None:
    """Draw the images, the predictions and the stack; a fragment that reruns alone."""
    on = stack.current()
    states = {name: models.state(MODELS[name]) for name in model_names}
    failed = {name: state.reason for name, state in states.items() if not state.ready}
    request = LiveRequest(
        picture,
        on.condition,
        usable(model_names),
        seed,
        truth,
        failed=failed,
        thresholds=thresholds(),
    )
    if not on.condition.idle:
        request = request._replace(remedy=remedies.chosen(request.several_models, warn=True))
    stories.show_story(picture, request.models, seed, request.condition.id)
    draw(request, on)


def draw(request: LiveRequest, on: stack.Stack) -> None:
    """Draw the images, the predictions and the sliders of ``on``, within a fragment."""
    follows = st.session_state.pop(_STANDING, None) == request.subject
    with PAUSES.answering(), st.container(key="live"):
        # What a remedy makes of the image may depend on the predictions, so these come first.
        if follows or request.remedy:
            _follow(request, on, follows)
        else:
            _begin(request, on, follows)
    st.session_state[_STANDING] = request.subject  # last: only a complete page can be followed


def _begin(request: LiveRequest, on: stack.Stack, follows: bool) -> None:
    """Draw a new image, and each prediction as it arrives: models may have to load."""
    start = time.perf_counter()
    drawing = components.next_drawing()
    altered = request.change()
    asking = time.perf_counter()
    coming = request.answers(altered)  # while the images are drawn
    ui_draw.show_pictures(
        request.picture, altered.image, request.condition_text, altered.scores, drawing=drawing
    )
    place = st.empty()
    stack.show(on, request, held.TICKETS.give(request), drawing)
    answers: dict[str, Answer] = {}
    components.answers(place, "live answers 0", answer_cards(request, answers), drawing)
    for name, row in coming:
        answers[name] = row
        if len(answers) < len(request.models):
            components.answers(
                place, f"live answers {len(answers)}", answer_cards(request, answers), drawing
            )
    note = _pace(asking, start)
    components.answers(place, "live answers", answer_cards(request, answers, note), drawing)


def _follow(request: LiveRequest, on: stack.Stack, follows: bool) -> None:
    """Draw all changes at once, so that no part of the page is empty in between."""
    start = time.perf_counter()
    drawing = components.next_drawing()
    altered = request.change()
    asking = time.perf_counter()
    coming = request.answers(altered)
    ui_draw.show_pictures(
        request.picture,
        altered.image,
        request.condition_text,
        altered.scores,
        follows=on.dragging and follows,
        remedied=remedies.pair(request, altered),
        drawing=drawing,
    )
    answers = dict(coming)
    remedied = remedies.remedy_effect(request, altered, answers)
    note = _pace(asking, start)
    components.answers(
        nullcontext(), "live answers", answer_cards(request, answers, note, remedied), drawing
    )
    # Last: the browser may then ask for more, which would drop what is not sent yet.
    stack.show(on, request, held.TICKETS.give(request), drawing)


def _pace(asking: float, start: float) -> str:
    """How long this update took, which began at ``start`` and its forward passes at ``asking``."""
    now = time.perf_counter()
    UPDATES.labels("page").observe(now - start)
    if now - asking > _LOADING:
        return f"Updated in {now - start:.1f} s, mostly loading models."
    forward = f"{1000 * (now - asking):.0f} ms of it forward passes"
    return f"Updated in {1000 * (now - start):.0f} ms, {forward}."


def usable(model_names: Sequence[str]) -> tuple[str, ...]:
    """The models that can run: a user's own model may have failed to load."""
    return tuple(name for name in model_names if models.state(MODELS[name]).ready)


@fragment
def _show_details(
    picture: Picture, model_names: tuple[str, ...], seed: int, truth: str | None
) -> None:
    """Draw the charts and exports; a fragment that reruns once the predictions have settled.

    Not on the first drawing of a session: the browser would load Plotly before it draws the images.
    """
    remedies.rerun_if_chosen()
    condition = stack.last_stack().condition
    request = LiveRequest(picture, condition, usable(model_names), seed, truth)
    if not condition.idle:
        request = request._replace(remedy=remedies.chosen(request.several_models))
    opened = st.session_state.get(OPENED, False)
    st.session_state[OPENED] = True
    components.settled("details settled", request.id if opened else "")
    if not opened:
        with st.container(key="live-details"):
            st.space()  # the style keeps the height of the charts, so that the page does not grow
        return
    altered = request.change()
    answers = dict(request.answers(altered))
    rows = [row for name in request.models if isinstance(row := answers[name], Measurement)]
    if not rows:
        return
    with st.container(key="live-details"):
        left, right = st.columns(2, gap="medium")
        with left:
            ui_draw.draw([similarity(rows)])
        with right:
            remedies.show(request, altered, answers)
            with st.container(horizontal=True):
                tried = remedies.table(remedies.remedy_effect(request, altered, answers))
                report_button(lambda: report.of_live(request.spec, picture, rows, tried), "live")
                chain = parse_all(request.remedy)
                copy_button(replace(request.spec, remedies=chain), picture, truth)
        if opened := ui_draw.section_expander("layers, heat maps"):
            with opened:
                _in_detail(request, altered, rows)


def _in_detail(request: LiveRequest, altered: shared.Altered, rows: Sequence[Measurement]) -> None:
    picture = request.picture
    ui_draw.draw([layers(rows)])
    ui_draw.section(
        ["Original", "Perturbed"],
        lambda name: shared.model_view(request.spec, picture, name, altered)[1].frames[0],
        {row.model: tuple(dict.fromkeys((row.clean_top1, row.top1))) for row in rows},
    )
