"""Films on the pages: what is offered, how far the work is, and what is kept of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from robustness.base.errors import WeightsError
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import evaluate
from robustness.evaluation.spec import make_spec
from robustness.ui.browser.components import unpack
from robustness.ui.work import films
from robustness.ui.work.films import Offer, messages
from tests.support.pages import components, run, sample

Message = tuple[dict[str, Any], list[bytes]]


def read(offer: Offer) -> list[Message]:
    """The messages of ``offer``, as the browser reads them."""
    return asyncio.run(coming(offer))


async def coming(
    offer: Offer, first: int = 10**9, found: list[Message] | None = None
) -> list[Message]:
    """The messages of ``offer``, in ``found`` as they come; nobody listens after the ``first``."""
    found = [] if found is None else found
    stream = messages(offer, "me")
    async for sized in stream:
        assert int.from_bytes(sized[:4]) == len(sized) - 4
        found.append(unpack(sized[4:]))
        if len(found) == first:
            await stream.aclose()
    return found


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def offered(shown: dict[str, Any]) -> list[Offer]:
    offers = films._OFFERS.get(shown["ticket"])
    assert offers is not None
    return [offers[film["key"]] for film in shown["films"]]


def test_the_live_page_offers_what_is_on_and_a_frame_has_the_row_of_its_strength() -> None:
    app = run(sample="coffee", models="SqueezeNet", fog="0.2", gaussian_blur="0.6", seed="3")
    (shown,) = components(app, "film")
    labels = [film["label"] for film in shown["films"]]
    assert labels == ["Fog effect from 0 to 1", "Gaussian blur from 0 to 1"]
    header, pictures = read(offered(shown)[1])[-1]
    film = header["film"]
    assert len(film["frames"]) == 41 == len(pictures) - 1
    condition = Condition.of({"fog": 0.2, "gaussian_blur": 0.6})
    (row,) = evaluate(make_spec(["SqueezeNet"], [condition], seed=3), [sample("coffee")])
    (model,) = film["models"]
    assert film["frames"][24]["strength"] == 0.6
    shares = [share for _, share in model["frames"][24]["top5"]]
    assert shares == pytest.approx(row.top5_probabilities, abs=1e-4)
    app.query_params.pop("fog")
    app.query_params.pop("gaussian_blur")
    app.run()
    (shown,) = components(app, "film")
    assert shown["films"] == []
    assert "Add a perturbation" in shown["nothing"]


class Work:
    """The events of a film, each made when the test says so."""

    def __init__(self, total: int = 4) -> None:
        self.total = total
        self.begun = 0
        self.made: list[int] = []
        self._allowed = threading.Semaphore(0)

    def __call__(self) -> Iterator[int]:
        self.begun += 1
        for number in range(self.total):
            self._allowed.acquire()
            self.made.append(number)
            yield number

    def go_on(self, events: int) -> None:
        self._allowed.release(events)

    def offer(self, key: str) -> Offer:
        return Offer(key, "A film", self, self.total, lambda made: ({"sum": sum(made)}, [b"png"]))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "SAY_SECONDS", 0.01)


def all_were_told(every: list[list[Message]], share: float) -> bool:
    return all(found and found[-1][0]["share"] == share for found in every)


def test_the_work_says_how_far_it_is_and_is_done_once() -> None:
    work = Work(8)
    every: list[list[Message]] = [[] for _ in range(80)]

    async def watch() -> None:
        offer = work.offer("once")
        waiting = [asyncio.create_task(coming(offer, found=found)) for found in every]
        for made in range(1, 8):
            work.go_on(1)
            await until(partial(all_were_told, every, made / 8))
        work.go_on(1)
        for task in waiting:
            await task

    asyncio.run(watch())
    assert work.begun == 1
    for *before, last in every:
        shares = [header["share"] for header, _ in before]
        assert shares == sorted(shares)
        assert {n / 8 for n in range(1, 8)} <= set(shares) <= {n / 8 for n in range(9)}
        assert any("left" in header["said"] for header, _ in before)
        assert (last[0]["film"], last[1]) == ({"sum": 28}, [b"png"])
    assert read(work.offer("once")) == [every[0][-1]], "kept"
    assert work.begun == 1


def test_work_that_nobody_waits_for_ends_and_is_not_kept() -> None:
    work = Work(1000)
    offer = work.offer("left")

    async def leave() -> None:
        staying = asyncio.create_task(coming(offer, first=40))
        await coming(offer, first=1)
        work.go_on(1)
        await until(lambda: len(work.made) == 1)
        await staying

    asyncio.run(leave())
    work.go_on(1000)
    deadline = time.monotonic() + 240
    while len(work.made) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(work.made) == 2, "one was being made when the last one left"
    assert films.made(offer) is None


def test_an_error_is_its_sentence() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise WeightsError("The weights are gone.")

    offer = Offer("failing", "A film", failing, 4, lambda made: ({}, []))
    assert read(offer)[-1] == ({"error": "The weights are gone.", "sizes": []}, [])
