"""The tables of the Methods page, drawn from the registries."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from robustness import method_notes, models
from robustness.models.weights import parameters_text, size_text
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.samples import REGISTRY as SAMPLES


def show() -> None:
    """Draws the sections top to bottom."""
    st.subheader("From photo to study image", anchor="study-image")
    st.markdown(method_notes.STUDY_IMAGE)
    st.subheader("Perturbations", anchor="perturbations")
    st.markdown(method_notes.STRENGTHS)
    st.dataframe(method_notes.perturbations(PERTURBATIONS), hide_index=True, height="content")
    st.subheader("Metrics", anchor="metrics")
    st.markdown(f"{method_notes.WILSON} {method_notes.FEATURES}")
    st.dataframe(method_notes.metric_formulas(), hide_index=True, height="content")
    _many_images()
    st.subheader("Reports", anchor="reports")
    st.markdown(method_notes.ANSWERS)
    st.subheader("Models", anchor="models")
    st.dataframe(_models(), hide_index=True, height="content")
    st.subheader("What the numbers cannot say", anchor="limits")
    limits = (
        method_notes.ANECDOTE,
        *method_notes.LIMITS,
        "The study that this grew from did not publish its strengths, so its figures cannot be "
        "reproduced exactly.",
    )
    st.markdown("\n".join(f"- {limit}" for limit in limits))
    st.subheader("Sources", anchor="sources")
    st.markdown(method_notes.SOURCES)
    st.caption("Sample photos: " + "; ".join(f"{s.label}: {s.credit}" for s in SAMPLES))


def _many_images() -> None:
    st.subheader("Runs over many images", anchor="datasets")
    st.markdown("\n\n".join(f"**{title}.** {text}" for title, text in method_notes.MANY_IMAGES))


def _models() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Model": record.label,
                "Group": record.group,
                "Family": record.family,
                "Year": record.year,
                "Parameters": parameters_text(record),
                "Input": f"{record.input_size} px",
                "Weights": size_text(record),
                "State": "ready" if models.state(record).ready else "weights missing",
            }
            for record in models.REGISTRY
        ]
    )
