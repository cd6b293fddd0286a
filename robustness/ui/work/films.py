"""Films on a page: made once a film, with how far the work is, and then played by the browser.

They are made beside the page's script, by requests of their own: Streamlit lets a script come to
its end before it answers to a slider, and sends all that a page shows again at every run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from robustness.base.errors import AccessError, RobustnessError
from robustness.base.pace import Pace, Unit, duration
from robustness.base.turns import TURNS
from robustness.charts.film import Played
from robustness.ui.browser import components
from robustness.ui.session.kept import Kept
from robustness.ui.session.sentences import sentence
from robustness.ui.session.tickets import Tickets, body

LIMIT = 64 * 1024 * 1024
"""Bytes of the films that are kept: a film of 41 frames has 2 to 6 million."""

SAY_SECONDS = 0.2
"""How often the browser is told how far the work is."""

_MOST_BYTES = 4096

_THREADS = ThreadPoolExecutor(8, thread_name_prefix="film")
"""Of their own: films that wait for their turns would keep the rest of the server waiting."""


@dataclass(frozen=True)
class Offer:
    """A film that may be played: about ``total`` events are made, which ``finish`` joins.

    ``key`` says all of what is to be seen; ``finish`` gives what ``charts.film.played`` does.
    """

    key: str
    label: str
    events: Callable[[], Iterator[Any]]
    total: int
    finish: Callable[[Sequence[Any]], Played]


_OFFERS: Tickets[dict[str, Offer]] = Tickets("films")

FILMS = Kept(LIMIT)
"""The films of this server that have been played."""

_MAKING: dict[str, _Making] = {}
"""Those that are being made, by their keys; of the server's event loop alone."""


def show(key: str, offers: Sequence[Offer], nothing: str = "") -> None:
    """Draws the place where one of ``offers`` is played, once a page; ``nothing`` if none is."""
    ticket = _OFFERS.give({offer.key: offer for offer in offers})
    components.film_place(key, ticket, [(offer.key, offer.label) for offer in offers], nothing)


def made(offer: Offer) -> Played | None:
    """The film of ``offer`` if it has been played and is kept."""
    kept = FILMS.get(offer.key)
    if kept is None:
        return None
    header, pictures = components.unpack(kept[0])
    return header["film"], pictures


async def _film(request: Request) -> ASGIApp:
    ticket = request.path_params["ticket"]
    try:
        offers = _OFFERS.get(ticket)
    except AccessError as error:
        return Response(str(error), status_code=403, media_type="text/plain")
    wanted = await body(request, _MOST_BYTES)
    if wanted is None:
        return Response(status_code=413)
    offer = (offers or {}).get(wanted.decode("utf-8", "replace"))
    if offer is None:
        return Response(status_code=404)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        with _OFFERS.place(ticket) as free:
            found = (
                StreamingResponse(
                    messages(offer, f"film {ticket}"), media_type="application/octet-stream"
                )
                if free
                else Response(status_code=429)
            )
            await found(scope, receive, send)

    return answer


class _Making:
    """A film that is being made in a thread, for all who wait for it."""

    def __init__(self, offer: Offer, who: str) -> None:
        self.waiting, self.given_up = 0, False
        self.share, self.said = 0.0, ""
        self._offer, self._who = offer, who
        self.made = _THREADS.submit(self._make)

    def _make(self) -> list[bytes]:
        """The film; nothing, and nothing is kept, once it is given up."""
        offer, events = self._offer, list[Any]()
        pace = Pace(Unit("steps"), offer.total)
        for event in TURNS.in_parts(offer.events(), self._who):
            if self.given_up:
                return []
            events.append(event)
            pace.note(len(events))
            self.share = min(1.0, len(events) / offer.total)
            self.said = _far(self.share, pace)
        data, pictures = offer.finish(events)
        kept = [components.pack({"film": data}, pictures)]
        FILMS.put(offer.key, kept)
        return kept


async def messages(offer: Offer, who: str) -> AsyncGenerator[bytes]:
    """How far the work is, now and then, and at last the film; each with its length before it.

    A film that several wait for is made once, in turns of the first ``who``; it is given up once
    nobody waits any longer, as after a click on Cancel.
    """
    kept = FILMS.get(offer.key)
    if kept is None:
        making = _MAKING.get(offer.key)
        if making is None:
            making = _MAKING[offer.key] = _Making(offer, who)
        making.waiting += 1
        try:
            made = asyncio.wrap_future(making.made)
            while not (await asyncio.wait([made], timeout=SAY_SECONDS))[0]:
                yield _sized(components.pack({"share": making.share, "said": making.said}, []))
            kept = made.result()
        except RobustnessError as error:
            yield _sized(components.pack({"error": sentence(error)}, []))
            return
        finally:
            making.waiting -= 1
            if not making.waiting:
                making.given_up = True
                making.made.cancel()  # where it has not begun
                del _MAKING[offer.key]
    yield _sized(kept[0])


def _far(share: float, pace: Pace) -> str:
    left = "" if pace.seconds_left is None else f", {duration(pace.seconds_left)} left"
    return f"Filming: {share:.0%}{left}"


def _sized(message: bytes) -> bytes:
    return len(message).to_bytes(4) + message


ROUTES = [Route("/film/{ticket}", _film, methods=["POST"])]
"""What the server of the dashboard serves beside its pages."""
