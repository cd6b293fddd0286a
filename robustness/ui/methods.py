"""The Methods page: the glossary, and ``methods.md`` with tables drawn from the registries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pandas as pd
import streamlit as st

from robustness.attacks import REGISTRY as ATTACKS
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.pictures.samples import REGISTRY as SAMPLES
from robustness.report import method_tables, methods
from robustness.report.glossary import terms
from robustness.ui.browser.html import html
from robustness.ui.display import results

_IN_CATALOGUE = ["Family", "Study setting", "ImageNet-C", "Random", "Source"]

_TABLES: Mapping[str, Callable[[], pd.DataFrame]] = {
    "Study image": method_tables.fits,
    "Perturbations": lambda: method_tables.perturbations(PERTURBATIONS).drop(columns=_IN_CATALOGUE),
    "Metrics": method_tables.metric_formulas,
    "Attacks": lambda: method_tables.attacks(ATTACKS),
}
"""The table below each section."""

_LONG = 20
"""A table with more rows is folded."""


def show() -> None:
    """Draw the sections."""
    st.header("Glossary", anchor="glossary")
    st.html(html("glossary", terms=terms()))
    for title, text in methods.sections().items():
        st.header(title, anchor=title.lower().replace(" ", "-"))
        st.markdown(re.sub(r"^### (.+)$", r"**\1**", text, flags=re.MULTILINE))
        if title in _TABLES:
            table = methods.as_table(_TABLES[title]())
            long = len(table.rows) > _LONG
            with st.expander(f"All {len(table.rows)} {title.lower()}") if long else st.container():
                st.html(results.html_table(*table))
    st.caption("Sample photos: " + "; ".join(f"{s.label}: {s.credit}" for s in SAMPLES))
