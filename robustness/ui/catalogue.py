"""The Catalogue: every perturbation at five strengths on one image, from the registry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from robustness.base.text import plain
from robustness.evaluation.condition import Condition
from robustness.perturbations import REGISTRY, Perturbation, apply
from robustness.perturbations.search import find
from robustness.pictures.fitting import study_image, to_png
from robustness.pictures.samples import REGISTRY as SAMPLES
from robustness.pictures.samples import sample_bytes
from robustness.report.copy_as import link_values
from robustness.ui.browser.html import Html, html
from robustness.ui.session.run_link import page_link

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
SIDE = 160
"""Side of an image in a strip, in pixels; parameters in pixels scale with it."""


def show(sample: str) -> None:
    """Draw a strip for each perturbation found, by family."""
    query = st.text_input(
        "Search",
        key="search",
        bind="query-params",
        placeholder="Name, family or cause: rain, jpg, night",
    )
    found, _ = answer = find(query or "")
    if not found:
        st.info(plain(answer.no_match), icon=":material/search_off:")
        return
    families: dict[str, list[Perturbation]] = {}
    for record in found:
        families.setdefault(record.family, []).append(record)
    of = f"{len(found)} of " if len(found) < len(REGISTRY) else ""
    st.caption(
        f"{of}{len(REGISTRY)} perturbations on “{SAMPLES[sample].label}”, seed 0, from strength "
        f"{STRENGTHS[0]} on the left to {STRENGTHS[-1]:g} on the right. The strength under an "
        "image opens it on the Live page. Lengths in pixels are for images of 224 pixels and scale "
        "with the side, so that a strength looks the same at any side; resolution and compression "
        "act on the pixels there are."
    )
    for family, records in families.items():
        st.header(family, anchor=family.lower().replace(" & ", "-").replace(" ", "-"))
        for record in records:
            _strip(record, sample)


def _strip(record: Perturbation, sample: str) -> None:
    strengths = STRENGTHS if record.graded else STRENGTHS[-1:]
    text, strip = st.columns([2, 5], gap="medium")
    text.html(_description(record))
    with strip.container(key=f"strip-{record.name}"):
        st.image(
            _pictures(record.name, sample),
            width="stretch" if record.graded else SIDE,
            output_format="PNG",
            alt=f"{record.label} at strength {', '.join(f'{s:g}' for s in strengths)}",
        )
        if record.graded:
            st.html(html("strip", captions=[_caption(record, s) for s in strengths]))
        _links(record, sample, strengths)


def _links(record: Perturbation, sample: str, strengths: Sequence[float]) -> None:
    """Links below the images that open them on the Live page."""
    with st.container(horizontal=True, gap=None, wrap=False):  # columns would grow on a phone
        for strength in strengths:
            query = {"sample": sample, **link_values(Condition.of({record.name: strength}))}
            label = f"{strength:g}" if record.graded else "on"
            with st.container(horizontal_alignment="center" if record.graded else "left"):
                page_link("app.py", label, ":material/tune:", query)


def _caption(record: Perturbation, strength: float) -> str:
    severity = record.severity_at(strength)
    text = record.value_text(strength)
    return f"{text} (C{severity})" if severity else text


def _description(record: Perturbation) -> Html:
    facts = [f"{record.parameter}" + (f", {record.unit}" if record.unit else "")]
    facts.append(f"stands for {record.risk}")
    if record.imagenet_c:
        facts.append(f"ImageNet-C: {record.imagenet_c}, severity in parentheses")
    if record.random:
        facts.append("random, set by the seed")
    if not record.monotone:
        facts.append("not monotone: a higher strength is not always a larger change")
    if record.study_strength is not None:
        facts.append(f"study setting: {record.value_text(record.study_strength)}")
    return html("perturbation", record=record, facts=facts)


@st.cache_data(show_spinner=False, max_entries=256)
def _pictures(name: str, sample: str) -> bytes:
    """The strip of one perturbation as a PNG."""
    record = REGISTRY[name]
    clean = study_image(sample_bytes(sample), name=sample, side=SIDE)[None]
    strengths = STRENGTHS if record.graded else STRENGTHS[-1:]
    return to_png(np.concatenate([apply(record, clean, s)[0] for s in strengths], axis=1))
