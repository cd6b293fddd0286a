"""Films on a page: made once a film, with how far the work is, and then played by the browser.

They are made beside the page's script, by requests of their own: Streamlit lets a script come to
its end before it answers to a slider, and sends all that a page shows again at every run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from robustness.base.errors import AccessError, RobustnessError
from robustness.base.pace import Pace, Unit, duration
from robustness.charts.film import Played
from robustness.ui.kit import components
from robustness.ui.kit.fair_line import LINE
from robustness.ui.kit.kept import Kept
from robustness.ui.kit.sentences import sentence
from robustness.ui.kit.tickets import Tickets, body

LIMIT = 64 * 1024 * 1024
"""Bytes of the films that are kept: a film of 41 frames has 2 to 6 million."""

SAY_SECONDS = 0.2
"""How often the browser is told how far the work is."""

_MOST_BYTES = 4096


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


async def _film(request: Request) -> Response:
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
    # Once nobody listens any longer, as after a click on Cancel, no further message is made.
    return StreamingResponse(
        messages(offer, f"film {ticket}"), media_type="application/octet-stream"
    )


def messages(offer: Offer, who: str) -> Iterator[bytes]:
    """How far the work is, now and then, and at last the film; each with its length before it.

    It is made in turns of ``who``.
    """
    kept = FILMS.get(offer.key)
    if kept is None:
        try:
            made = yield from _made(offer, who)
        except RobustnessError as error:
            yield _sized(components.pack({"error": sentence(error)}, []))
            return
        kept = [made]
        FILMS.put(offer.key, kept)
    yield _sized(kept[0])


def _made(offer: Offer, who: str) -> Generator[bytes, None, bytes]:
    events: list[Any] = []
    pace = Pace(Unit("steps"), offer.total)
    said = time.monotonic()
    for event in LINE.in_parts(offer.events(), who):
        events.append(event)
        pace.note(len(events))
        if time.monotonic() - said >= SAY_SECONDS:
            said = time.monotonic()
            share = min(1.0, len(events) / offer.total)
            yield _sized(components.pack({"share": share, "said": _far(share, pace)}, []))
    data, pictures = offer.finish(events)
    return components.pack({"film": data}, pictures)


def _far(share: float, pace: Pace) -> str:
    left = "" if pace.seconds_left is None else f", {duration(pace.seconds_left)} left"
    return f"Filming: {share:.0%}{left}"


def _sized(message: bytes) -> bytes:
    return len(message).to_bytes(4) + message


ROUTES = [Route("/film/{ticket}", _film, methods=["POST"])]
"""What the server of the dashboard serves beside its pages."""
