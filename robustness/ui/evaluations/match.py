"""Match my camera: from production and reference images to perturbations and expected accuracy."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import streamlit as st

from robustness import matching
from robustness.base.permissions import Action
from robustness.base.text import plain
from robustness.datasets import Dataset
from robustness.evaluation.framings import common_framing
from robustness.matching import Match
from robustness.pictures.fitting import Framing
from robustness.report import match as results
from robustness.ui.computation.progress import Work
from robustness.ui.controls.model_choice import model_input, seed_input
from robustness.ui.controls.picture_input import fit_input, side_input
from robustness.ui.display import blocks
from robustness.ui.display import results as results_on_page
from robustness.ui.evaluations import preflight
from robustness.ui.evaluations.request import COMPARE, QUESTION, source_input, take_file
from robustness.ui.page import boundary
from robustness.ui.session import access

PROFILE = "match.toml"
_ANSWER = "answer of the match"
_LOOK_SECONDS = 0.5

_ONE_AT_A_TIME = threading.Lock()
"""A match takes all cores for a minute: others wait."""


def show() -> None:
    """Draw the two sources, the button, and the answer once it is there."""
    left, right = st.columns(2, gap="large")
    with left:
        production = source_input("Images of my camera", "production_", samples=False)
        st.caption("20 or more, without labels.")
    with right:
        reference = source_input("Reference images", samples=False)
        st.caption(
            "At least 20 images of the same kind of scene. With labels, you get an accuracy."
        )
    with st.expander("Settings", icon=":material/tune:"):
        names = model_input()
        seed = seed_input()
        fit, side = fit_input("dataset_fit"), side_input("dataset_side")
    sources = [source for source in (production, reference) if source is not None]
    key = f"{[(s, preflight.last_written(s)) for s in sources]} {names} {seed} {fit} {side}"
    work = Work("match", key)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Match",
            type="primary",
            icon=":material/compare:",
            on_click=work.ask,
            **access.allowed(Action.EVALUATE, key="match", disabled=len(sources) < 2),
        )
        st.caption("Takes about two minutes, or half a minute if you reuse a reference.")
    if len(sources) < 2:
        return
    datasets = [preflight.dataset_of(s, preflight.last_written(s)) for s in sources]
    if work.requested:
        with boundary():
            access.require(Action.EVALUATE)
            answer = _match(work, datasets, names, common_framing(fit, side, names), seed)
            st.session_state[_ANSWER] = key, answer
    of, *answers = st.session_state.get(_ANSWER, ("",))
    if of == key:
        _answer(*answers)


def _match(
    work: Work, datasets: Sequence[Dataset], names: Sequence[str], framing: Framing, seed: int
) -> Match:
    with work.bar("Waiting for another match …") as bar:
        while not _ONE_AT_A_TIME.acquire(timeout=_LOOK_SECONDS):
            bar(0.0, "Waiting for another match …")
        try:
            return matching.match(
                datasets[0],
                datasets[1],
                names,
                framing=framing,
                seed=seed,
                note=lambda what, done, of: bar(done / max(1, of), f"{what}: {done:,} of {of:,}"),
            )
        finally:
            _ONE_AT_A_TIME.release()


def _answer(answer: Match) -> None:
    """Draw the answer, what to do with the profile, and pairs of images."""
    first, *rest = results.sentences(answer)
    st.html(results_on_page.headline(first))
    if rest:
        st.markdown(plain(" ".join(rest)))
    profile = matching.as_toml(answer)
    with st.container(horizontal=True):
        st.button(
            "Evaluate with this profile",
            type="primary" if answer.matched else "secondary",
            icon=":material/play_arrow:",
            on_click=_evaluate,
            args=(profile,),
            disabled=not answer.conditions,  # nothing to evaluate
        )
        st.download_button(
            "Download the profile",
            profile,
            PROFILE,
            "application/toml",
            icon=":material/download:",
            on_click="ignore",
        )
    blocks.draw(list(results.blocks(answer)))


def _evaluate(profile: str) -> None:
    """Ask for an evaluation of the reference under the profile."""
    st.session_state[QUESTION] = COMPARE
    take_file(PROFILE, profile.encode())
