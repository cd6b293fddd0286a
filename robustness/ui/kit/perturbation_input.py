"""The choice of one perturbation."""

from __future__ import annotations

import streamlit as st

from robustness.perturbations import REGISTRY


def perturbation_input(label: str, first: str, key: str) -> str:
    """The name of one perturbation; ``first`` is what a visitor without a link sees."""
    return str(
        st.selectbox(
            label,
            REGISTRY.names,
            index=REGISTRY.names.index(first),
            format_func=lambda name: REGISTRY[name].label,
            key=key,
            bind="query-params",
        )
    )
