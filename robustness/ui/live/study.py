"""The view Study: the published study on one image, its figures beside those measured here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from robustness import report
from robustness.base.text import plain
from robustness.images.framing import Picture
from robustness.measure.loop import evaluate
from robustness.measure.measurement import Measurement
from robustness.measure.request import spec_of, study_conditions
from robustness.measure.strength import labelled
from robustness.report.facts import cautions
from robustness.report.study import fetching, stand_ins
from robustness.statistics.study import Network, networks
from robustness.ui import draw
from robustness.ui.draw import report_button
from robustness.ui.html import html
from robustness.ui.jobs import CachedWork
from robustness.ui.live import stories
from robustness.ui.shared import work_key

_STYLE = Path(__file__).with_name("present_study.css")


def model_names() -> tuple[str, ...]:
    """The models of the view: the study's networks, or what stands in for them."""
    return tuple(network.model for network in networks())


def show(picture: Picture, model_names: Sequence[str], seed: int, truth: str | None) -> None:
    """Draw the view: the sentence, the study's tables, and the ten perturbed images.

    ``model_names`` are those of ``model_names()``.
    """
    study_networks = networks()
    measured = measure(picture, model_names, seed, truth)
    spec = spec_of(picture, model_names, study_conditions(), seed)
    content = report.of_study(spec, picture, measured, study_networks)
    first_section, *others = content.sections
    st.html(draw.headline(content.answer[0]))
    with st.container(key="study"):
        _say_stand_ins(study_networks)
        results, *tables = first_section.blocks
        draw.draw([results])
        st.caption(plain(content.answer[1]))
        if stories.is_presented():
            st.html(_STYLE)
            return
        draw.draw(tables)
        for caution in cautions(measured):
            st.warning(plain(caution), icon=":material/help:")
        st.html(html("target", name="controls"))
        for section in others:
            st.header(section.title, anchor=False)
            draw.draw(section.blocks)
        report_button(lambda: content, "study")


def _say_stand_ins(study_networks: Sequence[Network]) -> None:
    """Say which networks are missing, what stands in for them, and how to get them."""
    text = plain(stand_ins(study_networks))
    if not text:
        return
    if not stories.is_presented():
        text += f" {fetching(study_networks)}"
    st.info(text, icon=":material/model_training:")


def measure(
    picture: Picture, model_names: Sequence[str], seed: int, truth: str | None
) -> list[Measurement]:
    """The measurements under the study's ten perturbations, at its settings."""
    conditions = study_conditions()
    spec = spec_of(picture, model_names, conditions, seed)
    work = CachedWork(
        what="Scoring",
        key=work_key("score", picture, model_names, conditions, seed),
        picture=picture,
        events=lambda nameless: evaluate(spec, [nameless]),
        total=len(model_names) * len(conditions),
    )
    return [labelled(row, truth) for row in work.at_once()]
