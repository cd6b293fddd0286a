"""Images and predictions while a slider is held, served past the page's script.

A run of the script draws the whole page, which is too slow for a moving slider. These answers are
temporary: once the slider is released, the script runs and shows the last state.

The predictions of Live: a headline, and a row and a card for each model.
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
from itertools import repeat
from typing import Any
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
from robustness.report.tables import correct_models, tally
from robustness.ui import components, draw, session
from robustness.ui.cells import cells, pass_seconds
from robustness.ui.html import Html, html
from robustness.ui.live import remedies
from robustness.ui.live.remedies import RemedyEffect
from robustness.ui.live.request import Answer, LiveRequest, ThresholdVerdict
from robustness.ui.live.stack import Stack, checked, said
from robustness.ui.session import UPDATES, sentence

_NO_REMEDY = RemedyEffect()


def answer_cards(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    note: str = "",
    remedied: RemedyEffect = _NO_REMEDY,
) -> components.Answers:
    """The headline, a row and a card per model; ``answers`` holds the results so far."""
    rows = {name: row for name, row in answers.items() if isinstance(row, Measurement)}
    accepted = request.acceptances(rows)
    return components.Answers(
        headline=_headline(request, answers, accepted, remedied),
        rows=_rows(request, answers, accepted, remedied),
        cards=[
            draw.card(row, alone=False, accepted=accepted[name].text)
            if isinstance(row := answers.get(name), Measurement)
            else html(
                "card_without",
                label=models.label(name),
                text="Waiting …" if row is None else str(row),
                failed=row is not None,
            )
            for name in request.models
        ],
        note=note,
    )


def _headline(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    accepted: Mapping[str, ThresholdVerdict],
    remedied: RemedyEffect,
) -> Html:
    """The result in one sentence of at most twelve words, most of the time."""
    idle = request.condition.idle
    total = len(request.models)
    rows = [row for row in answers.values() if isinstance(row, Measurement)]
    if len(answers) < total or not rows:
        text = f"{len(rows)} of {counted(total, 'model')} done"
    elif marks := remedied.marks:
        text = tally(rows).partition(";")[0]  # correct (unchanged) without the remedy
        good = f"{sum(mark.good for mark in marks)} of {len(marks)} with {remedied.label}"
        alone = f"; with {remedied.label}: {marks[0].text}"
        text += alone if len(marks) == 1 else f", {good}"
    else:
        text = correct_models(rows) if idle else tally(rows)
    if rejected := sum(acceptance.mark.tone == "rejected" for acceptance in accepted.values()):
        text += f"; {rejected} would be rejected" if total > 1 else "; it would be rejected"
    if not text:
        return draw.headline("No perturbation yet.")
    steps = [REGISTRY[name].label for name, _ in request.condition.steps]
    if idle:
        what = "Original"
    elif len(steps) == 1:
        what = steps[0]
    else:
        what = f"{steps[0]} and {len(steps) - 1} more"
    return draw.headline(f"{what}: {text}.")


def _rows(
    request: LiveRequest,
    answers: Mapping[str, Answer],
    accepted: Mapping[str, ThresholdVerdict],
    remedied: RemedyEffect,
) -> Html:
    """One row per model: its verdict, its prediction, and that with the remedy."""
    lines = []
    after = {line.label: line for line in remedied.lines}
    for name in (*request.models, *request.failed):
        answer = answers.get(name)
        label = models.label(name)
        row = answer if isinstance(answer, Measurement) else None
        mark = row and accepted[name].mark
        title = row and models.class_name(name, row.top1)
        failure = sentence(answer) if isinstance(answer, RobustnessError) else ""
        error = request.failed.get(name) or failure
        lines.append((name, label, row, mark, title, after.pop(label, None), error))
    knows_class = request.truth is not None
    return html(
        "rows",
        lines=lines,
        good="correct" if knows_class else "unchanged",
        bad="incorrect" if knows_class else "changed",
        knows_class=knows_class,
        remedy=remedied.label,
        together=after.values(),
    )


MOST_BYTES = 1_000_000
"""Limit of a request with an image; a camera frame takes 200,000."""

MOST_BYTES_OF_STEPS = 50_000
"""Limit of a request without an image; each perturbation takes 100."""

SECONDS_OVERLAPPING = 0.5
"""Delay before a superseded or surplus request is answered. A page rarely sends either; without the
delay, a client that never pauses would occupy the server."""

Message = tuple[dict[str, object], list[bytes]]
"""The arguments of ``components.pack``."""

MOST_PIXELS = 1_000_000
"""Limit of a camera frame, which has a short side of 256."""

_MOST_THREADS = 128

_BAND_THREADS = ThreadPoolExecutor(4, thread_name_prefix="bands")
"""Bands wait for idle turns, so they must not take the threads of what is waited for."""

_THREADS = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="held")
"""A separate pool: requests that wait for their turn must not block the server."""

_STATE = "ticket of Live"
"""Key of the session's part in ``Tickets``."""

MOST_OF_A_TICKET = 2
"""Requests of one kind and ticket that may be open at once: an image and its predictions."""


@dataclass(eq=False)
class _TicketState:
    """The part of a session's state that ends with the session."""

    ticket: str
    browser: str
    value: tuple[Who, LiveRequest]
    outstanding: Counter[str] = field(default_factory=Counter)


class Tickets:
    """What each session may request, by its ticket; thread-safe."""

    def __init__(self) -> None:
        """No ticket is given yet."""
        self._states: WeakValueDictionary[str, _TicketState] = WeakValueDictionary()

    def give(self, what: LiveRequest) -> str:
        """Return this session's unguessable ticket, which stands for ``what`` from now on.

        Raises ``AccessError`` if the session may not measure.
        """
        session.require(Action.MEASURE)
        connection = session.connection()
        browser = connection.cookies.get(session.COOKIE, "") if connection else ""
        value = session.who(), what
        state: _TicketState | None = st.session_state.get(_STATE)
        if state is None:
            state = _TicketState(secrets.token_urlsafe(24), browser, value)
            st.session_state[_STATE] = state
        state.browser = browser
        state.value = value
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
        if state is None or not state.browser or cookies.get(session.COOKIE) != state.browser:
            return None
        who, what = state.value
        check(action, who, None, policy())
        return what

    @contextmanager
    def place(self, ticket: str, kind: str = "") -> Iterator[bool]:
        """Count one open request of ``kind`` and ``ticket``; yield whether it is allowed.

        Only for the server's event loop.
        """
        state = self._states.get(ticket)
        if state is None or state.outstanding[kind] >= MOST_OF_A_TICKET:
            yield False
            return
        state.outstanding[kind] += 1
        try:
            yield True
        finally:
            state.outstanding[kind] -= 1


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
    ticket = request.path_params["ticket"]
    try:
        live = TICKETS.get(ticket, request.cookies)
    except AccessError as error:
        return _refused(error)
    if live is None:
        return Response(status_code=404)
    with TICKETS.place(ticket) as free:
        if free:
            return await _answered(request, ticket, live)
        await asyncio.sleep(SECONDS_OVERLAPPING)
        return Response(status_code=429)


async def _answered(request: Request, ticket: str, live: LiveRequest) -> Response:
    try:
        TICKETS.get(ticket, request.cookies, Action.UPLOAD)
        may_not_upload = None
    except AccessError as error:
        may_not_upload = error
    message = await body(request, MOST_BYTES_OF_STEPS if may_not_upload else MOST_BYTES)
    if message is None:
        return _refused(may_not_upload) if may_not_upload else Response(status_code=413)
    try:
        request_header, pictures = components.unpack(message, most=1)
        steps = checked(request_header["steps"])
        want = request_header["want"]
        make = _MAKERS[want] if want != "bands" else _answers
    except (ValueError, TypeError, KeyError, RecursionError):
        return Response(status_code=400)
    if pictures and may_not_upload:
        return _refused(may_not_upload)
    live = live._replace(condition=Stack(tuple(steps)).condition)
    if want == "bands":
        return await _bands(request, ticket, live, request_header)

    def make_undisturbed() -> Message:
        with PAUSES.answering():
            return make(live, pictures, f"held {ticket}")

    start = time.perf_counter()
    try:
        header, images = await asyncio.get_running_loop().run_in_executor(
            _THREADS, make_undisturbed
        )
        UPDATES.labels(request_header["want"]).observe(time.perf_counter() - start)
    except SupersededError:
        await asyncio.sleep(SECONDS_OVERLAPPING)
        return Response(status_code=409)
    except ImageError as error:
        return Response(sentence(error), status_code=422, media_type="text/plain")
    texts = {step.name: said(step) for step in steps}
    packed = components.pack({**header, "texts": texts}, images)
    return Response(packed, media_type="application/octet-stream")


async def _bands(
    request: Request, ticket: str, live: LiveRequest, header: Mapping[str, Any]
) -> Response:
    """The first ``count`` cells of each model's band under the perturbation ``of``.

    Nobody's image or prediction waits for them; they end with the request.
    """
    name = str(header.get("of"))
    count = header.get("count")
    if name not in REGISTRY or not REGISTRY[name].graded:
        return Response(status_code=400)
    if not isinstance(count, int) or count not in ROUNDS:
        return Response(status_code=400)
    with TICKETS.place(ticket, "bands") as free:
        if not free:
            return Response(status_code=429)
        answers = {}
        seconds = 0.0
        work = _drawn_bands(live, name, count, f"bands {ticket}")
        loop = asyncio.get_running_loop()
        while (answer := await loop.run_in_executor(_BAND_THREADS, next, work, None)) is not None:
            if await request.is_disconnected():
                return Response(status_code=409)
            answers[answer[0]] = answer[1]
            seconds += answer[2]
    return JSONResponse({"bands": answers, "seconds": seconds})


def _drawn_bands(
    live: LiveRequest, perturbation: str, count: int, who: str
) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Yield each model with its band, drawn, and the estimated seconds of so many passes."""
    every = sorted(strengths(REGISTRY[perturbation], count))
    remedy = "" if not live.remedy or parse(live.remedy).several_models else live.remedy

    def predicted(
        condition: Condition, at: Sequence[float], remedy: str = ""
    ) -> Iterator[tuple[str, list[Cell] | RobustnessError]]:
        return cells(
            live.picture,
            live.models,
            condition,
            perturbation,
            at,
            live.seed,
            lambda: TURNS.turn(who, idle=True),
            remedy,
        )

    originals = dict(predicted(Condition.of({}), [0.0]))
    remedied = predicted(live.condition, every, remedy) if remedy else repeat(("", []))
    pairs = zip(predicted(live.condition, every), remedied, strict=False)
    for (model, own), (_, behind) in pairs:
        answers = [originals[model], own, *([behind] if remedy else [])]
        rows = [answer for answer in answers if not isinstance(answer, RobustnessError)]
        bands = []
        if len(rows) == len(answers):  # else the row of the model has the sentence
            (original,), *drawn = rows
            bands = [
                Band(model, perturbation, tuple(each), original).labelled(live.truth)
                for each in drawn
            ]
        of_whom = f"{models.label(model)}, {REGISTRY[perturbation].label}"
        html = "".join(strip(band).html_of(of_whom) for band in bands)
        rate = pass_seconds(model, version_for(live.picture, model).side) or 0.0
        answer = {"html": html, "breaksAt": bands[0].breaks_at if bands else None}
        yield model, answer, rate * count


async def _search(request: Request) -> Response:
    """The names of the perturbations that match a search."""
    ticket = request.path_params["ticket"]
    try:
        if TICKETS.get(ticket, request.cookies) is None:
            return Response(status_code=404)
    except AccessError as error:
        return _refused(error)
    with TICKETS.place(ticket, "search") as free:
        if not free:
            return Response(status_code=429)
        matches = await run_in_threadpool(find, request.query_params.get("words", ""))
    names = [record.name for record in matches.records]
    return JSONResponse({"names": names, "no_match": matches.no_match})


def _refused(error: AccessError) -> Response:
    return Response(sentence(error), status_code=403, media_type="text/plain")


def _picture(live: LiveRequest, _pictures: list[bytes], who: str) -> Message:
    altered = live.change()
    header, after = draw.pair_of(live.picture, altered.image, live.condition_text, altered.scores)
    texts, remedied = remedies.pair(live, altered, f"{who} image")
    return {**header, **texts}, [b"", after, *map(to_png, remedied)]


def _answers(live: LiveRequest, _pictures: list[bytes], who: str) -> Message:
    altered = live.change()
    answers: dict[str, Answer] = dict(live.answers(altered, who))
    remedied = remedies.remedy_effect(live, altered, answers, who)
    return {"answers": answer_cards(live, answers, remedied=remedied)._asdict()}, []


def _camera(live: LiveRequest, pictures: list[bytes], who: str) -> Message:
    """The image and predictions of a camera frame, which replaces the image."""
    if len(pictures) != 1:
        raise ImageError(f"Expected one frame of the camera, got {len(pictures)}.")

    framings = [version.framing for version in live.picture.versions]
    frame = framed_image(pictures[0], framings, name="camera", pixels=MOST_PIXELS)
    picture = frame.picture("camera", framings, overrides=live.picture.overrides)
    live = live._replace(picture=picture, truth=None)
    header, (_, *changed) = _picture(live, [], who)
    answers, _ = _answers(live, [], who)
    return {**header, **answers}, [to_png(picture.image), *changed]


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
