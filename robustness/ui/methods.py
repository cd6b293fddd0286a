"""The tables of the Methods page, drawn from the registries."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from robustness import models
from robustness.attacks import REGISTRY as ATTACKS
from robustness.models.weights.ready import parameters_text, size_text, state_text
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.pictures.samples import REGISTRY as SAMPLES
from robustness.report import method_notes, method_tables
from robustness.report.glossary import TERMS
from robustness.ui.browser.html import html

_ATTENTION = """
Grad-CAM (Selvaraju et al. 2017), for one class and one image: `map = ReLU(Σ_k w_k A_k)`, where
`A_k` is channel k of the last feature maps and `w_k` the gradient `∂y/∂A_k` averaged over all
cells. `y` is the logit of the class, before the softmax, since a probability near 1 has no
gradient. The map is enlarged bilinearly to the size of the image.

- *Last feature maps*: the output of the last convolutional stage, before it becomes a vector
  (global average or flattening) and before a last local pooling as in VGG16. For a vision
  transformer, the 14 x 14 patches that the last block's attention reads, the last ones that the
  class token uses.
- *Unit and scale*: logits per cell. If the classifier is a global average and at most one dense
  layer, as in most of these networks, the cells before the ReLU sum to the logit minus its bias;
  otherwise they approximate it. All maps of a model share one scale, from 0 to its strongest
  cell; *peak* is each map's strongest cell. Scales of two models do not compare.
- *How to read it*: check whether the evidence lies on the object, and whether a perturbation
  moved or only weakened it. The map of the new class shows what the model mistook for it.
- *Limits*: nothing finer than a cell (7 x 7 to 14 x 14), no evidence against a class (the ReLU
  drops it), and not what the model sees there. A map on the object does not make the prediction
  correct.
- *Sanity check*: with other weights in the last layer the map must change (Adebayo et al. 2018).
  The tests check that, and the formula against an independent implementation.
- *No map* for a network whose output does not come from one grid of features, or that has an
  operation without a gradient here.
"""


def show() -> None:
    """Draws the sections top to bottom."""
    st.header("Glossary", anchor="glossary")
    st.html(html("glossary", terms=TERMS))
    st.header("From photo to study image", anchor="study-image")
    st.markdown(f"{method_notes.STUDY_IMAGE}\n\n{method_notes.FITS}")
    st.dataframe(method_tables.fits(), hide_index=True, height="content")
    st.header("Perturbations", anchor="perturbations")
    st.markdown(method_notes.STRENGTHS)
    st.dataframe(method_tables.perturbations(PERTURBATIONS), hide_index=True, height="content")
    st.header("Metrics", anchor="metrics")
    st.markdown(f"{method_notes.FEATURES} {method_notes.FLOORS}")
    st.markdown(method_notes.BY_PLACE)
    st.dataframe(method_tables.metric_formulas(), hide_index=True, height="content")
    st.header("Runs over many images", anchor="datasets")
    st.markdown("\n\n".join(f"**{title}.** {text}" for title, text in method_notes.MANY_IMAGES))
    st.header("Where the model looks", anchor="attention")
    st.markdown(_ATTENTION)
    st.header("Attacks", anchor="attacks")
    st.markdown("\n\n".join((*method_notes.ATTACKS, method_notes.NOISE, method_notes.SMALLEST)))
    st.dataframe(method_tables.attacks(ATTACKS), hide_index=True, height="content")
    st.header("Reports", anchor="reports")
    st.markdown(method_notes.ANSWERS)
    st.header("Models", anchor="models")
    st.dataframe(_models(), hide_index=True, height="content")
    st.header("What the numbers cannot say", anchor="limits")
    limits = (
        method_notes.ANECDOTE,
        *method_notes.LIMITS,
        "The original study did not publish its strengths, so its figures cannot be reproduced "
        "exactly.",
    )
    st.markdown("\n".join(f"- {limit}" for limit in limits))
    st.header("Sources", anchor="sources")
    st.markdown(method_notes.SOURCES)
    st.caption("Sample photos: " + "; ".join(f"{s.label}: {s.credit}" for s in SAMPLES))


def _models() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": record.label,
            "Group": record.group,
            "Family": record.family,
            "Year": record.year,
            "Parameters": parameters_text(record),
            "Input": f"{record.input_size} px",
            "Weights": size_text(record),
            "State": state_text(record, models.state(record)),
        }
        for record in models.REGISTRY
    )
