"""The film of a condition: one perturbation moves from 0 to 1, the others stay."""

from __future__ import annotations

from functools import partial

import streamlit as st

from robustness.charts.film import Played, moving, played
from robustness.evaluation import film
from robustness.evaluation.correctness import labelled
from robustness.ui.live.asked import LiveRequest
from robustness.ui.session.kept import work_key
from robustness.ui.work import films


def show(asked: LiveRequest) -> None:
    """Draw the film player."""
    with st.container(key="live-film"):
        films.show("film", _offers(asked), "Add a perturbation to play it from strength 0 to 1.")


def made(asked: LiveRequest) -> list[Played]:
    """The cached films of ``asked``."""
    found = [films.made(offer) for offer in _offers(asked)]
    return [played for played in found if played is not None]


def _offers(asked: LiveRequest) -> list[films.Offer]:
    on = [name for name, strength in asked.condition.steps if strength and asked.models]
    return [_offer(asked, name) for name in on]


def _offer(asked: LiveRequest, name: str) -> films.Offer:
    picture, condition, seed = asked.picture, asked.condition, asked.seed
    wanted = film.conditions(condition, name)
    key = work_key("film", [picture], asked.models, wanted, seed)
    return films.Offer(
        key=f"{key} {name} {asked.truth}",
        label=moving(name),
        events=partial(
            film.shoot,
            *(picture, condition, name, asked.models),
            seed=seed,
            fit=picture.fit,
            side=asked.spec.asked_side,
        ),
        total=len(wanted) * (1 + len(asked.models)),
        finish=lambda events: played(
            film.assembled(condition, name, [labelled(each, asked.truth) for each in events]),
            picture,
        ),
    )
