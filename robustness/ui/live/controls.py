"""The controls of the Live page: a slider or switch for every perturbation, by family."""

from __future__ import annotations

import contextlib
from typing import Any

import streamlit as st

from robustness.perturbations import REGISTRY, Perturbation
from robustness.ui.kit.inputs import strength_input

FIRST_STRENGTHS = {"gaussian_blur": 0.6}
"""What a visitor without a link sees first: a change that some models survive and some do not."""


def start_state() -> None:
    """Gives a first visit without a link something to look at; leaves a link's state alone.

    Called by the Live page, ahead of the controls.
    """
    if "visited" not in st.session_state:
        st.session_state["visited"] = True
        if not st.query_params:
            for name, strength in FIRST_STRENGTHS.items():
                st.session_state[name] = strength
                st.query_params[name] = f"{strength:g}"  # a widget's first value is not written


def perturbation_controls() -> dict[str, float]:
    """Sliders and switches for every perturbation, by family; {name: strength}."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("##### Perturb", width="stretch")
        st.button(
            "Reset",
            icon=":material/restart_alt:",
            on_click=st.session_state.update,
            args=({record.name: 0.0 if record.graded else False for record in REGISTRY},),
            key="reset",
            help="Sets every perturbation to 0.",
        )
    families: dict[str, list[Perturbation]] = {}
    for record in REGISTRY:
        families.setdefault(record.family, []).append(record)
    strengths = {}
    for family, records in families.items():
        if any(record.in_study for record in records):
            st.markdown(f"**{family}**")
            place: Any = contextlib.nullcontext()
        else:
            active = any(
                st.session_state.get(record.name) or record.name in st.query_params
                for record in records
            )
            place = st.expander(f"**{family}**", expanded=active)
        with place:
            for record in records:
                strengths[record.name] = _control(record)
    return strengths


def _control(record: Perturbation) -> float:
    if not record.graded:
        return float(st.toggle(record.label, key=record.name, bind="query-params"))
    strength = strength_input(
        record.label,
        record.name,
        help=f"{record.parameter[0].upper()}{record.parameter[1:]}. {record.source}",
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
        st.caption(_physical(record, strength), width="stretch")
        if record.study_strength is not None:
            st.button(
                "Study",
                key=f"study_{record.name}",
                type="tertiary",
                on_click=st.session_state.update,
                args=({record.name: record.study_strength},),
                help=f"The study's setting: {record.value_text(record.study_strength)}",
            )
    return strength


def _physical(record: Perturbation, strength: float) -> str:
    text = record.value_text(strength)
    severity = record.severity_at(strength)
    return f"{text} · ImageNet-C severity {severity}" if severity else text
