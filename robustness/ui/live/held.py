"""Images and predictions while a slider is held, served past the page's script.

A run of the script draws the whole page, which is too slow for a moving slider. These answers are
temporary: once the slider is released, the script runs and shows the last state.

The predictions of Live, which the script draws too, are made here: a headline, and a row and a card
for each model.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from robustness import models
from robustness.base.errors import AccessError, ImageError, RobustnessError
from robustness.base.roles import Action, Who, check, policy
from robustness.base.text import counted
from robustness.base.turns import PAUSES, TURNS, SupersededError
from robustness.images.pixels import to_png
from robustness.images.sandbox import framed_image
from robustness.measure.condition import Condition
from robustness.measure.measurement import Measurement
from robustness.measure.request import version_for
from robustness.measure.strength import ROUNDS, Band, Cell, strengths
from robustness.perturbations import REGISTRY
from robustness.perturbations.record import find
from robustness.remedies import parse
from robustness.report.maps import strip
from robustness.report.tables import LOW_CONFIDENCE, Mark, correct_models, tally
from robustness.ui import components, draw, session
from robustness.ui.cells import cells, pass_seconds
from robustness.ui.html import Html, html
from robustness.ui.live import remedies
from robustness.ui.live.remedies import RemedyEffect, RemedyLine
from robustness.ui.live.request import Answer, LiveRequest, ThresholdVerdict
from robustness.ui.live.stack import Stack, StackStep, checked, said
from robustness.ui.session import UPDATES, sentence

MOST_BYTES = 1_000_000
"""Limit of a request with an image; a camera frame takes 200,000."""

MOST_BYTES_OF_STEPS = 50_000
"""Limit of a request without an image; each perturbation takes 100."""

MOST_PIXELS = 1_000_000
"""Limit of a camera frame, which has a short side of 256."""

SECONDS_OVERLAPPING = 0.5
"""Delay before a superseded or surplus request is answered. A page rarely sends either; without the
delay, a client that never pauses would occupy the server."""

MOST_OF_A_TICKET = 2
"""Requests of one kind and ticket that may be open at once: an image and its predictions."""

Message = tuple[dict[str, object], list[bytes]]
"""The header and the images of an answer, which ``components.pack`` makes one message."""

_STATE = "ticket of Live"
"""Session key: the session's part in ``Tickets``."""

_BANDS = "bands"
"""What a request wants that no function of ``_MAKERS`` makes."""

_MOST_THREADS = 128

_THREADS = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="held")
"""A separate pool: requests that wait for their turn must not block the server."""

_BAND_THREADS = ThreadPoolExecutor(4, thread_name_prefix="bands")
"""Bands wait for idle turns, so they must not take the threads of what is waited for."""

_NO_REMEDY = RemedyEffect()


# --- predictions ----------------------------------------------------------------------------------


class _Row(NamedTuple):
    """What the macro ``rows`` shows of a model; ``remedied`` is its prediction with the remedy."""

    model: str
    label: str
    prediction: Measurement | None
    mark: Mark | None
    class_name: str
    remedied: RemedyLine | None
    error: str


def answer_cards(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    note: str = "",
    remedied: RemedyEffect = _NO_REMEDY,
) -> components.Answers:
    """The headline, a row and a card per model; ``answers`` holds the results so far."""
    measured = {name: row for name, row in answers.items() if isinstance(row, Measurement)}
    acceptances = request.acceptances(measured)
    return components.Answers(
        headline=_headline(request, answers, acceptances, remedied),
        rows=_rows(request, answers, acceptances, remedied),
        cards=[_card(name, answers.get(name), acceptances) for name in request.models],
        note=note,
    )


def _card(
    model_name: str, answer: Answer | None, acceptances: Mapping[str, ThresholdVerdict]
) -> Html:
    if isinstance(answer, Measurement):
        return draw.card(answer, alone=False, accepted=acceptances[model_name].text)
    label = models.label(model_name)
    if answer is None:
        return html("card_without", label=label, text="Waiting …", failed=False)
    return html("card_without", label=label, text=str(answer), failed=True)


def _headline(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    acceptances: Mapping[str, ThresholdVerdict],
    remedied: RemedyEffect,
) -> Html:
    """The result in one sentence of at most twelve words, most of the time."""
    text = _outcome(request, answers, remedied)
    rejected_count = sum(acceptance.mark.tone == "rejected" for acceptance in acceptances.values())
    if rejected_count:
        if len(request.models) > 1:
            text += f"; {rejected_count} would be rejected"
        else:
            text += "; it would be rejected"
    if not text:
        return draw.headline("No perturbation yet.")
    labels = [REGISTRY[name].label for name, _ in request.condition.steps]
    if request.condition.idle:
        subject = "Original"
    elif len(labels) == 1:
        subject = labels[0]
    else:
        subject = f"{labels[0]} and {len(labels) - 1} more"
    return draw.headline(f"{subject}: {text}.")


def _outcome(request: LiveRequest, answers: Mapping[str, Answer], remedied: RemedyEffect) -> str:
    """How many predictions are good; "" for an original whose true class is unknown."""
    rows = [row for row in answers.values() if isinstance(row, Measurement)]
    model_count = len(request.models)
    if len(answers) < model_count or not rows:
        return f"{len(rows)} of {counted(model_count, 'model')} done"
    marks = remedied.marks
    if not marks:
        if request.condition.idle:
            return correct_models(rows)
        return tally(rows)
    without_remedy = tally(rows).partition(";")[0]  # the count alone, as a sentence is short
    if len(marks) == 1:
        return f"{without_remedy}; with {remedied.label}: {marks[0].text}"
    good_count = sum(mark.good for mark in marks)
    return f"{without_remedy}, {good_count} of {len(marks)} with {remedied.label}"


def _rows(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    acceptances: Mapping[str, ThresholdVerdict],
    remedied: RemedyEffect,
) -> Html:
    """One row per model: its verdict, its prediction, and that with the remedy."""
    rows = []
    lines_left = {line.label: line for line in remedied.lines}
    for name in (*request.models, *request.failed):
        answer = answers.get(name)
        prediction = None
        mark = None
        class_name = ""
        error = request.failed.get(name, "")
        if isinstance(answer, Measurement):
            prediction = answer
            mark = acceptances[name].mark
            class_name = models.class_name(name, answer.top1)
        elif isinstance(answer, RobustnessError) and not error:
            error = sentence(answer)
        label = models.label(name)
        line = lines_left.pop(label, None)
        rows.append(_Row(name, label, prediction, mark, class_name, line, error))
    knows_class = request.truth is not None
    return html(
        "rows",
        lines=rows,
        good="correct" if knows_class else "unchanged",
        bad="incorrect" if knows_class else "changed",
        unsure=LOW_CONFIDENCE,
        knows_class=knows_class,
        remedy=remedied.label,
        together=lines_left.values(),
    )


# --- tickets --------------------------------------------------------------------------------------


@dataclass(eq=False)
class _TicketState:
    """The part of a session's state that ends with the session."""

    ticket: str
    browser: str
    holder_and_request: tuple[Who, LiveRequest]
    """In one attribute: the server's thread reads both while the session's may set them."""
    open_counts: Counter[str] = field(default_factory=Counter)


class Tickets:
    """What each session may request, by its ticket; thread-safe."""

    def __init__(self) -> None:
        """No ticket is given yet."""
        self._states: WeakValueDictionary[str, _TicketState] = WeakValueDictionary()

    def give(self, request: LiveRequest) -> str:
        """Return this session's unguessable ticket, which stands for ``request`` from now on.

        Raises ``AccessError`` if the session may not measure.
        """
        session.require(Action.MEASURE)
        connection = session.connection()
        browser = ""
        if connection is not None:
            browser = connection.cookies.get(session.COOKIE, "")
        holder_and_request = (session.who(), request)
        state: _TicketState | None = st.session_state.get(_STATE)
        if state is None:
            state = _TicketState(secrets.token_urlsafe(24), browser, holder_and_request)
            st.session_state[_STATE] = state
        state.browser = browser
        state.holder_and_request = holder_and_request
        self._states[state.ticket] = state
        return state.ticket

    def get(
        self, ticket: str, cookies: Mapping[str, str], action: Action = Action.MEASURE
    ) -> LiveRequest | None:
        """Return what ``ticket`` stands for; None if it is unknown or its session has ended.

        It is unknown, too, without the ``cookies`` of the browser of its session. Raises
        ``AccessError`` if its holder may no longer do ``action``.
        """
        state = self._states.get(ticket)
        if state is None or not state.browser:  # all browsers without cookies would be the same
            return None
        if cookies.get(session.COOKIE) != state.browser:
            return None
        holder, request = state.holder_and_request
        check(action, holder, None, policy())
        return request

    @contextmanager
    def reserve(self, ticket: str, kind: str = "") -> Iterator[bool]:
        """Count one open request of ``kind`` and ``ticket``; yield whether it is allowed.

        Only for the server's event loop.
        """
        state = self._states.get(ticket)
        if state is None or state.open_counts[kind] >= MOST_OF_A_TICKET:
            yield False
            return
        state.open_counts[kind] += 1
        try:
            yield True
        finally:
            state.open_counts[kind] -= 1


TICKETS = Tickets()
"""With a ticket, a session's browser may ask for its request under any condition."""


# --- requests -------------------------------------------------------------------------------------


async def body(request: Request, most: int) -> bytes | None:
    """Read the body of ``request``; stop and return None once it exceeds ``most`` bytes."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most:
            return None
    return bytes(data)


async def _answer(request: Request) -> Response:
    """The image, the predictions or the bands that a browser asks for while a slider is held."""
    ticket = request.path_params["ticket"]
    try:
        live = TICKETS.get(ticket, request.cookies)
    except AccessError as error:
        return _refused(error)
    if live is None:
        return Response(status_code=404)
    with TICKETS.reserve(ticket) as is_allowed:
        if not is_allowed:
            await asyncio.sleep(SECONDS_OVERLAPPING)
            return Response(status_code=429)
        return await _answer_allowed(request, ticket, live)


async def _answer_allowed(request: Request, ticket: str, live: LiveRequest) -> Response:
    upload_refusal: AccessError | None = None
    try:
        TICKETS.get(ticket, request.cookies, Action.UPLOAD)
    except AccessError as error:
        upload_refusal = error
    # Who may not upload images sends no more than the steps of a condition.
    byte_limit = MOST_BYTES if upload_refusal is None else MOST_BYTES_OF_STEPS
    message = await body(request, byte_limit)
    if message is None:
        if upload_refusal is not None:
            return _refused(upload_refusal)
        return Response(status_code=413)
    try:
        header, images = components.unpack(message, most=1)
        steps = checked(header["steps"])
        wanted = header["want"]
        is_known = wanted == _BANDS or wanted in _MAKERS
    except (ValueError, TypeError, KeyError, RecursionError):  # the message is not one of ours
        return Response(status_code=400)
    if not is_known:
        return Response(status_code=400)
    if images and upload_refusal is not None:
        return _refused(upload_refusal)
    live = live._replace(condition=Stack(tuple(steps)).condition)
    if wanted == _BANDS:
        return await _bands(request, ticket, live, header)
    return await _image_or_answers(wanted, ticket, live, images, steps)


async def _image_or_answers(
    wanted: str, ticket: str, live: LiveRequest, images: list[bytes], steps: Sequence[StackStep]
) -> Response:
    """The message that the maker of ``wanted`` makes, with the texts of ``steps``."""
    make = _MAKERS[wanted]

    def make_undisturbed() -> Message:
        with PAUSES.answering():
            return make(live, images, f"held {ticket}")

    start = time.perf_counter()
    loop = asyncio.get_running_loop()
    try:
        header, answer_images = await loop.run_in_executor(_THREADS, make_undisturbed)
    except SupersededError:
        await asyncio.sleep(SECONDS_OVERLAPPING)
        return Response(status_code=409)
    except ImageError as error:
        return Response(sentence(error), status_code=422, media_type="text/plain")
    UPDATES.labels(wanted).observe(time.perf_counter() - start)
    texts = {step.name: said(step) for step in steps}
    packed = components.pack({**header, "texts": texts}, answer_images)
    return Response(packed, media_type="application/octet-stream")


async def _bands(
    request: Request, ticket: str, live: LiveRequest, header: Mapping[str, Any]
) -> Response:
    """The first ``count`` cells of each model's band under the perturbation ``of``.

    Nobody's image or prediction waits for them; they end with the request.
    """
    perturbation = str(header.get("of"))
    count = header.get("count")
    if perturbation not in REGISTRY or not REGISTRY[perturbation].graded:
        return Response(status_code=400)
    if not isinstance(count, int) or count not in ROUNDS:
        return Response(status_code=400)
    with TICKETS.reserve(ticket, _BANDS) as is_allowed:
        if not is_allowed:
            return Response(status_code=429)
        bands = {}
        seconds = 0.0
        drawn_bands = _drawn_bands(live, perturbation, count, f"bands {ticket}")
        loop = asyncio.get_running_loop()
        while True:
            drawn = await loop.run_in_executor(_BAND_THREADS, next, drawn_bands, None)
            if drawn is None:
                break
            if await request.is_disconnected():
                return Response(status_code=409)
            bands[drawn.model] = {"html": drawn.html, "breaksAt": drawn.breaks_at}
            seconds += drawn.seconds
    return JSONResponse({"bands": bands, "seconds": seconds})


class _DrawnBand(NamedTuple):
    """The band of a model as HTML, above that with the remedy, if there is one.

    ``breaks_at`` is the strength at which the model breaks without the remedy. ``seconds`` is the
    estimated time of as many passes as a band has cells, 0 if it is unknown.
    """

    model: str
    html: str
    breaks_at: float | None
    seconds: float


def _drawn_bands(
    live: LiveRequest, perturbation: str, count: int, who: str
) -> Iterator[_DrawnBand]:
    """Compute and draw the band of each model, in idle turns of ``who``."""
    band_strengths = sorted(strengths(REGISTRY[perturbation], count))
    remedy = live.remedy
    if remedy and parse(remedy).several_models:
        remedy = ""  # its prediction is that of no single model

    def predict(
        condition: Condition, at_strengths: Sequence[float], chain: str = ""
    ) -> Iterator[tuple[str, list[Cell] | RobustnessError]]:
        return cells(
            live.picture,
            live.models,
            condition,
            perturbation,
            at_strengths,
            live.seed,
            lambda: TURNS.turn(who, idle=True),
            chain,
        )

    originals = dict(predict(Condition.of({}), [0.0]))
    with_remedy = None
    if remedy:
        with_remedy = predict(live.condition, band_strengths, remedy)
    for model, band_cells in predict(live.condition, band_strengths):
        results = [originals[model], band_cells]
        if with_remedy is not None:
            _, remedied_cells = next(with_remedy)  # both come in the order of the models
            results.append(remedied_cells)
        bands = _labelled_bands(live, model, perturbation, results)
        label = f"{models.label(model)}, {REGISTRY[perturbation].label}"
        seconds_per_pass = pass_seconds(model, version_for(live.picture, model).side) or 0.0
        yield _DrawnBand(
            model,
            html="".join(strip(band).html_of(label) for band in bands),
            breaks_at=bands[0].breaks_at if bands else None,
            seconds=seconds_per_pass * count,
        )


def _labelled_bands(
    live: LiveRequest,
    model: str,
    perturbation: str,
    results: Sequence[list[Cell] | RobustnessError],
) -> list[Band]:
    """The bands of the cells in ``results``, whose first is that of the original.

    There are none if one of ``results`` is an error, which the row of the model shows.
    """
    cells_of_bands = []
    for result in results:
        if isinstance(result, RobustnessError):
            return []
        cells_of_bands.append(tuple(result))
    (original,), *others = cells_of_bands
    return [
        Band(model, perturbation, band_cells, original).labelled(live.truth)
        for band_cells in others
    ]


async def _search(request: Request) -> Response:
    """The names of the perturbations that match a search."""
    ticket = request.path_params["ticket"]
    try:
        if TICKETS.get(ticket, request.cookies) is None:
            return Response(status_code=404)
    except AccessError as error:
        return _refused(error)
    with TICKETS.reserve(ticket, "search") as is_allowed:
        if not is_allowed:
            return Response(status_code=429)
        matches = await run_in_threadpool(find, request.query_params.get("words", ""))
    names = [record.name for record in matches.records]
    return JSONResponse({"names": names, "no_match": matches.no_match})


def _refused(error: AccessError) -> Response:
    return Response(sentence(error), status_code=403, media_type="text/plain")


def _picture(live: LiveRequest, _images: list[bytes], who: str) -> Message:
    """The perturbed image and that with the remedy; the browser has the original."""
    altered = live.change()
    header, perturbed = draw.pair_of(
        live.picture, altered.image, live.condition_text, altered.scores
    )
    remedy_texts, remedied_images = remedies.pair(live, altered, f"{who} image")
    images = [b"", perturbed]
    images += [to_png(image) for image in remedied_images]
    return {**header, **remedy_texts}, images


def _answers(live: LiveRequest, _images: list[bytes], who: str) -> Message:
    """The headline, and the row and the card of each model."""
    altered = live.change()
    answers: dict[str, Answer] = dict(live.answers(altered, who))
    remedied = remedies.remedy_effect(live, altered, answers, who)
    return {"answers": answer_cards(live, answers, remedied=remedied)._asdict()}, []


def _camera(live: LiveRequest, images: list[bytes], who: str) -> Message:
    """The image and predictions of a camera frame, which replaces the image."""
    if len(images) != 1:
        raise ImageError(f"Expected one frame of the camera, got {len(images)}.")
    framings = [version.framing for version in live.picture.versions]
    frame = framed_image(images[0], framings, name="camera", pixels=MOST_PIXELS)
    picture = frame.picture("camera", framings, overrides=live.picture.overrides)
    live = live._replace(picture=picture, truth=None)
    header, answer_images = _picture(live, [], who)
    answers, _ = _answers(live, [], who)
    answer_images[0] = to_png(picture.image)  # the browser lacks this original
    return {**header, **answers}, answer_images


_MAKERS: dict[str, Callable[[LiveRequest, list[bytes], str], Message]] = {
    "picture": _picture,
    "answers": _answers,
    "camera": _camera,
}

ROUTES = [
    Route("/live/{ticket}", _answer, methods=["POST"]),
    Route("/live/{ticket}/perturbations", _search, methods=["GET"]),
]
"""Routes that the server serves beside the pages."""
