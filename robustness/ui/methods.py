"""The Methods page: the glossary, and ``methods.md`` with tables drawn from the registries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pandas as pd
import streamlit as st

from robustness import models
from robustness.attacks import REGISTRY as ATTACKS
from robustness.models.weights.ready import parameters_text, size_text, state_text
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.pictures.samples import REGISTRY as SAMPLES
from robustness.report import method_tables, methods
from robustness.report.glossary import TERMS
from robustness.ui.browser.html import html

_TABLES: Mapping[str, Callable[[], pd.DataFrame]] = {
    "Study image": method_tables.fits,
    "Perturbations": lambda: method_tables.perturbations(PERTURBATIONS),
    "Metrics": method_tables.metric_formulas,
    "Attacks": lambda: method_tables.attacks(ATTACKS),
}
"""The table below each section."""


def show() -> None:
    """Draw the sections."""
    st.header("Glossary", anchor="glossary")
    st.html(html("glossary", terms=TERMS))
    for title, text in methods.sections().items():
        st.header(title, anchor=title.lower().replace(" ", "-"))
        st.markdown(re.sub(r"^### (.+)$", r"**\1**", text, flags=re.MULTILINE))
        if title in _TABLES:
            st.dataframe(_TABLES[title](), hide_index=True, height="content")
    st.caption("Sample photos: " + "; ".join(f"{s.label}: {s.credit}" for s in SAMPLES))
    st.header("Models", anchor="models")
    st.dataframe(_models(), hide_index=True, height="content")


def _models() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": record.label,
            "Group": record.group,
            "Family": record.family,
            "Year": record.year,
            "Parameters": parameters_text(record),
            "Input": record.input_text,
            "Weights": size_text(record),
            "State": state_text(record, models.state(record)),
        }
        for record in models.REGISTRY
    )
