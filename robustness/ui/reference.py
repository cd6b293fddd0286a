"""The Reference page: every perturbation at five strengths on one image, and the methods."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np
import streamlit as st

from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.text import counted, plain
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing, study_image
from robustness.images.pixels import to_png
from robustness.measure.condition import Condition
from robustness.perturbations import REGISTRY, Perturbation, apply
from robustness.perturbations.record import find
from robustness.report import methods
from robustness.report.image import link_values
from robustness.report.tables import Table
from robustness.ui import draw
from robustness.ui.html import Html, html
from robustness.ui.inputs import FIRST_SAMPLE
from robustness.ui.session import listed, one_of, page_link, place_of_own
from robustness.ui.shared import cached

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
SIDE = 160
"""Side of an image in a strip, in pixels; parameters in pixels scale with it."""

_TABLES: Mapping[str, Callable[[], Table]] = {
    "Study image": methods.fit_table,
    "Metrics": methods.metric_table,
    "Attacks": lambda: methods.attack_table(ATTACKS),
}
"""The table below each section of the methods."""

_NOTHING = ":material/search_off:"


def show() -> None:
    """Draw the search and the chosen view."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        query = st.text_input(
            "Search",
            key="search",
            bind="query-params",
            live=True,
            placeholder="A name, family, cause or term: rain, jpg, interval",
        )
        view = one_of(
            "View",
            {"perturbations": "Perturbations", "methods": "Methods"},
            "view",
            shows_label=False,
        )
        if view == "perturbations":
            samples = {record.name: record.label for record in SAMPLES}
            sample = listed("Image", samples, "sample", FIRST_SAMPLE)
    with place_of_own(view, ("perturbations", "methods"), "reference-body"):
        if view == "perturbations":
            _perturbations(query or "", sample)
        else:
            _methods(query or "")


# --- the perturbations ----------------------------------------------------------------------------


def _perturbations(query: str, sample: str) -> None:
    """Draw a strip for each perturbation that matches ``query``, by family."""
    answer = find(query)
    matches, _ = answer
    if not matches:
        st.info(plain(f"{answer.no_match} Terms and formulas are under Methods."), icon=_NOTHING)
        return
    families: dict[str, list[Perturbation]] = {}
    for record in matches:
        families.setdefault(record.family, []).append(record)
    count_text = counted(len(REGISTRY), "perturbation")
    if len(matches) < len(REGISTRY):
        count_text = f"{len(matches)} of {count_text}"
    st.caption(
        f"{count_text} at strengths {STRENGTHS[0]} to "
        f"{STRENGTHS[-1]:g}, seed 0. Click a strength to try it on an image.",
        help="Lengths in pixels are for images of 224 pixels and scale with the side; resolution "
        "and compression do not.",
    )
    if len(matches) > 1:
        st.html(html("index", families=list(families.items())))
    for family, records in families.items():
        st.header(family, anchor=family.lower().replace(" & ", "-").replace(" ", "-"))
        for record in records:
            _strip(record, sample)


def _strip(record: Perturbation, sample: str) -> None:
    """Draw the images of ``record`` with links that open them on the first page."""
    strengths = _shown_strengths(record)
    strength_texts = ", ".join(f"{strength:g}" for strength in strengths)
    text_column, image_column = st.columns([2, 5], gap="medium")
    text_column.html(_description(record))
    kind = "strip" if record.graded else "switch"  # its style reserves the place of the image
    with image_column.container(key=f"{kind}-{record.name}"):
        st.image(
            _pictures(record.name, sample),
            width="stretch" if record.graded else SIDE,
            output_format="PNG",
            alt=f"{record.label} at strength {strength_texts}",
        )
        if record.graded:
            captions = [_caption(record, strength) for strength in strengths]
            st.html(html("strip", captions=captions))
        with st.container(horizontal=True, gap=None, wrap=False):  # columns would grow on a phone
            for strength in strengths:
                query = {"sample": sample, **link_values(Condition.of({record.name: strength}))}
                label = f"{strength:g}" if record.graded else "on"
                with st.container(horizontal_alignment="center" if record.graded else "left"):
                    page_link("app.py", label, ":material/tune:", query)


def _shown_strengths(record: Perturbation) -> tuple[float, ...]:
    """The strengths in the strip of ``record``: full strength alone if it is only on or off."""
    if record.graded:
        return STRENGTHS
    return STRENGTHS[-1:]


def _caption(record: Perturbation, strength: float) -> str:
    """The parameter's value at ``strength``, and the severity of ImageNet-C where it is one."""
    caption = record.value_text(strength)
    severity = record.severity_at(strength)
    if severity:
        caption += f" (C{severity})"
    return caption


def _description(record: Perturbation) -> Html:
    parameter = record.parameter
    if record.unit:
        parameter += f", {record.unit}"
    facts = [parameter, f"stands for {record.risk}"]
    if record.imagenet_c:
        facts.append(f"ImageNet-C: {record.imagenet_c}, severity in parentheses")
    if record.random:
        facts.append("random, set by the seed")
    if not record.monotone:
        facts.append("not monotone: a higher strength is not always a larger change")
    if record.study_strength is not None:
        facts.append(f"study setting: {record.value_text(record.study_strength)}")
    return html("perturbation", record=record, facts=facts)


@cached(256)
def _pictures(name: str, sample: str) -> bytes:
    """The strip of one perturbation as a PNG."""
    record = REGISTRY[name]
    clean = study_image(sample_bytes(sample), Framing(side=SIDE), name=sample)[None]
    images = [apply(record, clean, strength)[0] for strength in _shown_strengths(record)]
    return to_png(np.concatenate(images, axis=1))


# --- the methods ----------------------------------------------------------------------------------


def _methods(query: str) -> None:
    """Draw the terms and the sections that contain all words of ``query``."""
    words = query.lower().split()

    def matches(*texts: str) -> bool:
        text = " ".join(texts).lower()
        return all(word in text for word in words)

    glossary = [term for term in methods.glossary() if matches(*term)]
    if glossary:
        st.header("Glossary", anchor="glossary")
        with st.container(key="searched-glossary" if words else "glossary"):
            st.html(html("glossary", terms=glossary))
    has_match = bool(glossary)
    for title, text in methods.sections().items():
        parts = re.split(r"^(?=### )", text, flags=re.MULTILINE)
        body = "\n".join(part for part in parts if matches(title, part))
        table = _TABLES[title]() if title in _TABLES else Table((), [])
        rows = [row for row in table.rows if matches(title, *row)]
        if not body.strip() and not rows:
            continue
        has_match = True
        st.header(title, anchor=title.lower().replace(" ", "-"))
        st.markdown(re.sub(r"^### (.+)$", r"**\1**", body, flags=re.MULTILINE))
        if rows:
            st.html(draw.html_table(table.head, rows))
    if not has_match:
        st.info(
            "No match in the methods. Try “interval”, “similarity” or “epsilon”.", icon=_NOTHING
        )
    credits = "; ".join(f"{sample.label}: {sample.credit}" for sample in SAMPLES)
    st.caption(f"Sample photos: {credits}")
