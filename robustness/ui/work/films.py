"""Films on a page: rendered once, with progress, and played by the browser.

Separate requests render them, not the page's script: Streamlit finishes a script before it reacts
to a slider, and sends the whole page again at every run.
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
"""Bytes of cached films; a film of 41 frames takes 2 to 6 million."""

SAY_SECONDS = 0.2
"""Seconds between progress messages to the browser."""

_MOST_BYTES = 4096

_THREADS = ThreadPoolExecutor(8, thread_name_prefix="film")
"""A pool of their own: films waiting for a turn would block the rest of the server."""


@dataclass(frozen=True)
class Offer:
    """A film on offer: ``events`` yields about ``total`` steps, which ``finish`` joins.

    ``key`` identifies its whole content; ``finish`` returns what ``charts.film.played`` does.
    """

    key: str
    label: str
    events: Callable[[], Iterator[Any]]
    total: int
    finish: Callable[[Sequence[Any]], Played]


_OFFERS: Tickets[dict[str, Offer]] = Tickets("films")

FILMS = Kept(LIMIT)
"""This server's cache of rendered films."""

_MAKING: dict[str, _Making] = {}
"""Films in progress by key; only for the server's event loop."""


def show(key: str, offers: Sequence[Offer], nothing: str = "") -> None:
    """Draw the player for one of ``offers``, once a page; shows ``nothing`` if there are none."""
    ticket = _OFFERS.give({offer.key: offer for offer in offers})
    components.film_place(key, ticket, [(offer.key, offer.label) for offer in offers], nothing)


def made(offer: Offer) -> Played | None:
    """The film of ``offer`` if it is cached."""
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
    """A film that a thread renders for everyone who waits for it."""

    def __init__(self, offer: Offer, who: str) -> None:
        self.waiting, self.given_up = 0, False
        self.share, self.said = 0.0, ""
        self._offer, self._who = offer, who
        self.made = _THREADS.submit(self._make)

    def _make(self) -> list[bytes]:
        """Render and caches the film; returns nothing once it is given up."""
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
    """Yield progress messages and finally the film, each prefixed with its length.

    A film that several wait for is rendered once, in turns of the first ``who``. It is given up
    when nobody waits any longer, such as after Cancel.
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
                making.made.cancel()  # if it has not started
                del _MAKING[offer.key]
    yield _sized(kept[0])


def _far(share: float, pace: Pace) -> str:
    left = "" if pace.seconds_left is None else f", {duration(pace.seconds_left)} left"
    return f"Filming: {share:.0%}{left}"


def _sized(message: bytes) -> bytes:
    return len(message).to_bytes(4) + message


ROUTES = [Route("/film/{ticket}", _film, methods=["POST"])]
"""Routes that the dashboard serves besides its pages."""
