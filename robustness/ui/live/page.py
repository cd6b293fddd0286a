"""The view Live: images and predictions follow the sliders, charts come at rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import streamlit as st

from robustness import models, report
from robustness.base.text import plain
from robustness.base.turns import PAUSES
from robustness.images.framing import Picture
from robustness.measure.measurement import Measurement
from robustness.models import REGISTRY as MODELS
from robustness.perturbations import Images
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
"""Session key: the subject of the request that the page shows, once all of it is drawn."""

OPENED = "live opened"
"""Session key: whether the page has been drawn, at first without its charts."""

_LOADING_SECONDS = 3.0
"""Forward passes that take longer than this include the loading of models."""


def show(picture: Picture, model_names: tuple[str, ...], seed: int, truth: str | None) -> None:
    """Draw the view Live."""
    show_thresholds()
    _show_images(picture, model_names, seed, truth)
    _show_details(picture, model_names, seed, truth)


def thresholds() -> Mapping[str, ThresholdInUse]:
    """The safe thresholds in use, by model; none for an image of another run than theirs."""
    in_use = accepted_from()
    run_id = st.query_params.get(RUN)
    if not run_id or IMAGE not in st.query_params:
        return in_use
    return {name: threshold for name, threshold in in_use.items() if threshold.run == run_id}


def show_thresholds() -> None:
    """Say which run the thresholds in use come from, with the button that ends their use."""
    run_ids = dict.fromkeys(threshold.run for threshold in accepted_from().values())
    for run_id in run_ids:
        with st.container(horizontal=True, vertical_alignment="center", key="thresholds"):
            state = "in use"
            if not thresholds():
                state = "not used on images of another run"
            st.caption(f"Safe thresholds of the run {plain(run_id)}: {state}.", width="content")
            st.button("Stop using", on_click=accept_from, args=({},), key="stop using thresholds")


@fragment
def _show_images(
    picture: Picture, model_names: tuple[str, ...], seed: int, truth: str | None
) -> None:
    """Draw the images, the predictions and the stack; a fragment that reruns alone."""
    current_stack = stack.current()
    failed = {}
    for name in model_names:
        state = models.state(MODELS[name])
        if not state.ready:
            failed[name] = state.reason
    request = LiveRequest(
        picture,
        current_stack.condition,
        usable(model_names),
        seed,
        truth,
        failed=failed,
        thresholds=thresholds(),
    )
    if not current_stack.condition.idle:
        request = request._replace(remedy=remedies.chosen(request.several_models, warn=True))
    stories.show_story(picture, request.models, seed, request.condition.id)
    draw(request, current_stack)


def draw(request: LiveRequest, current_stack: stack.Stack) -> None:
    """Draw the images, the predictions and the sliders of the stack, within a fragment."""
    is_same_subject = st.session_state.pop(_STANDING, None) == request.subject
    with PAUSES.answering(), st.container(key="live"):
        # What a remedy makes of the image may depend on the predictions, so these come first.
        if is_same_subject or request.remedy:
            _follow(request, current_stack, is_same_subject)
        else:
            _begin(request, current_stack)
    st.session_state[_STANDING] = request.subject  # last: only a complete page can be followed


def _begin(request: LiveRequest, current_stack: stack.Stack) -> None:
    """Draw a new image, and each prediction as it arrives: models may have to load."""
    start = time.perf_counter()
    drawing = components.next_drawing()
    altered = request.change()
    start_of_passes = time.perf_counter()
    arriving = request.answers(altered)  # computed while the images are drawn
    ui_draw.show_pictures(
        request.picture, altered.image, request.condition_text, altered.scores, drawing=drawing
    )
    place = st.empty()
    stack.show(current_stack, request, held.TICKETS.give(request), drawing)
    answers: dict[str, Answer] = {}
    components.answers(place, "live answers 0", answer_cards(request, answers), drawing)
    for name, answer in arriving:
        answers[name] = answer
        is_last = len(answers) == len(request.models)
        if not is_last:  # the last are drawn below, with a note
            cards = answer_cards(request, answers)
            components.answers(place, f"live answers {len(answers)}", cards, drawing)
    note = _pace(start_of_passes, start)
    components.answers(place, "live answers", answer_cards(request, answers, note), drawing)


def _follow(request: LiveRequest, current_stack: stack.Stack, is_same_subject: bool) -> None:
    """Draw all changes at once, so that no part of the page is empty in between."""
    start = time.perf_counter()
    drawing = components.next_drawing()
    altered = request.change()
    start_of_passes = time.perf_counter()
    arriving = request.answers(altered)
    ui_draw.show_pictures(
        request.picture,
        altered.image,
        request.condition_text,
        altered.scores,
        follows=current_stack.dragging and is_same_subject,
        remedied=remedies.pair(request, altered),
        drawing=drawing,
    )
    answers = dict(arriving)
    remedied = remedies.remedy_effect(request, altered, answers)
    cards = answer_cards(request, answers, _pace(start_of_passes, start), remedied)
    components.answers(nullcontext(), "live answers", cards, drawing)
    # Last: the browser may then ask for more, which would drop what is not sent yet.
    stack.show(current_stack, request, held.TICKETS.give(request), drawing)


def _pace(start_of_passes: float, start: float) -> str:
    """How long the update took that began at ``start``, for the note below the predictions."""
    now = time.perf_counter()
    seconds = now - start
    seconds_of_passes = now - start_of_passes
    UPDATES.labels("page").observe(seconds)
    if seconds_of_passes > _LOADING_SECONDS:
        return f"Updated in {seconds:.1f} s, mostly loading models."
    return (
        f"Updated in {1000 * seconds:.0f} ms, {1000 * seconds_of_passes:.0f} ms of it forward "
        "passes."
    )


def usable(model_names: Sequence[str]) -> tuple[str, ...]:
    """The models that can run: a user's own model may have failed to load."""
    return tuple(name for name in model_names if models.state(MODELS[name]).ready)


def say_unusable(model_names: Sequence[str]) -> None:
    """Draw why those of the models that cannot run cannot."""
    for name in model_names:
        state = models.state(MODELS[name])
        if not state.ready:
            st.error(plain(state.reason), icon=":material/model_training:")


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
    was_drawn = st.session_state.get(OPENED, False)
    st.session_state[OPENED] = True
    components.settled("details settled", request.id if was_drawn else "")
    if not was_drawn:
        with st.container(key="live-details"):
            st.space()  # the style keeps the height of the charts, so that the page does not grow
        return
    altered = request.change()
    answers = dict(request.answers(altered))
    rows = []
    for name in request.models:
        answer = answers[name]
        if isinstance(answer, Measurement):
            rows.append(answer)
    if not rows:
        return
    with st.container(key="live-details"):
        left, right = st.columns(2, gap="medium")
        with left:
            ui_draw.draw([similarity(rows)])
        with right:
            remedies.show(request, altered, answers)
            with st.container(horizontal=True):
                _show_exports(request, altered, answers, rows)
        details = ui_draw.section_expander("layers, heat maps")
        if details is not None:
            with details:
                _in_detail(request, altered, rows)


def _show_exports(
    request: LiveRequest,
    altered: shared.Altered,
    answers: Mapping[str, Answer],
    rows: Sequence[Measurement],
) -> None:
    """Draw the button of the report and that which copies the request."""
    with_remedy = remedies.table(remedies.remedy_effect(request, altered, answers))

    def build() -> report.Report:
        return report.of_live(request.spec, request.picture, rows, with_remedy)

    report_button(build, "live")
    spec = request.spec.with_remedies(parse_all(request.remedy))
    copy_button(spec, request.picture, request.truth)


def _in_detail(request: LiveRequest, altered: shared.Altered, rows: Sequence[Measurement]) -> None:
    """Draw the similarity of each layer, and where the models look."""
    ui_draw.draw([layers(rows)])

    def images_of(model_name: str) -> Images:
        _, batch = shared.model_view(request.spec, request.picture, model_name, altered)
        return batch.frames[0]

    ui_draw.section(["Original", "Perturbed"], images_of, classes_to_explain(rows))


def classes_to_explain(rows: Sequence[Measurement]) -> dict[str, tuple[int, ...]]:
    """The distinct classes that each model predicts, the original's first, for ``draw.section``."""
    return {row.model: tuple(dict.fromkeys((row.clean_top1, row.top1))) for row in rows}
