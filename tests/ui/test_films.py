"""Films on the pages: what is offered, how far the work is, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from robustness.base.errors import WeightsError
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import evaluate
from robustness.evaluation.spec import make_spec
from robustness.ui.kit import films
from robustness.ui.kit.components import unpack
from robustness.ui.kit.films import Offer, messages
from tests.support.pages import components, run, sample


def read(offer: Offer) -> list[tuple[dict[str, Any], list[bytes]]]:
    """The messages of ``offer``, as the browser reads them."""
    whole = b"".join(messages(offer, "me"))
    found = []
    while whole:
        size = int.from_bytes(whole[:4])
        found.append(unpack(whole[4 : 4 + size]))
        whole = whole[4 + size :]
    return found


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
    assert "Put a perturbation on" in shown["nothing"]


def offer(key: str, events: Iterator[int], total: int = 4) -> Offer:
    return Offer(key, "A film", lambda: events, total, lambda made: ({"sum": sum(made)}, [b"png"]))


def test_the_work_says_how_far_it_is_and_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "SAY_SECONDS", 0.0)
    *before, last = read(offer("once", iter([1, 2, 3, 4])))
    assert [header["share"] for header, _ in before] == [0.25, 0.5, 0.75, 1.0]
    assert ["left" in header["said"] for header, _ in before] == [False, False, False, True]
    assert (last[0]["film"], last[1]) == ({"sum": 10}, [b"png"])
    assert read(offer("once", iter([]))) == [last], "kept"


def test_work_that_nobody_waits_for_ends_and_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "SAY_SECONDS", 0.0)
    made = iter(range(4))
    coming = messages(offer("left", made), "me")
    next(coming)
    coming.close()  # type: ignore[attr-defined]
    assert list(made) == [1, 2, 3]
    assert films.made(offer("left", made)) is None


def test_an_error_is_its_sentence() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise WeightsError("The weights are gone.")

    assert read(offer("failing", failing())) == [
        ({"error": "The weights are gone.", "sizes": []}, [])
    ]
