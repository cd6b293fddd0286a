"""The tables of the Methods page, drawn from the registries."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from robustness import metrics, models
from robustness.attacks import NORMS
from robustness.attacks import REGISTRY as ATTACKS
from robustness.models.weights import parameters_text, size_text
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.samples import REGISTRY as SAMPLES

_ATTACKS = (
    "An attack changes the study image by at most epsilon: in L∞ no value by more (8/255 is eight "
    "of the 255 steps of an 8-bit picture), in L2 the square root of the summed squares of all "
    "changes. What it raises is the lead of all other classes over the model's clean answer, "
    "log((1 - p) / p), or of the target over all others. Its gradient points where that of the "
    "cross-entropy log(1 + exp(lead)) does, and does not vanish where p rounds to 1; it is taken "
    "of the logits under the closing softmax, and leads through resizing and normalisation to the "
    "study image. *Steepest* is the sign of the gradient in L∞ and the gradient over its length "
    "in L2; *project* moves a change to the nearest one within epsilon, and values are clipped to "
    "0 to 1 after each step.\n\n"
    "The best picture of all steps and restarts is rounded to 8 bits, never beyond epsilon, and "
    "judged anew by an independent pass: every figure is of that picture. A minimal attack's "
    "change is enlarged, as little as it takes, where 8 bits cannot hold it. Beside each attack "
    "stand 16 random changes of the same size (signs in L∞, normal numbers in L2), rounded and "
    "judged in the same way: an attack is only news if it beats the best of them.\n\n"
    "The smallest epsilon is found by doubling and then bisection, of the picture before it is "
    "rounded. Signs that gradients mislead, so that a model only seems robust (Athalye, Carlini & "
    "Wagner, ICML 2018), are reported: success that does not rise with epsilon, a black-box "
    "attack that succeeds where white-box ones fail, a gradient of zero."
)


def show() -> None:
    """Draws the sections top to bottom."""
    st.subheader("From photo to study image", anchor="study-image")
    st.markdown(
        "A photo is turned upright, converted to 8-bit RGB (its numbers as stored; only CMYK goes "
        "through its colour profile) and composited on white where it is transparent. Its short "
        "side becomes 256 pixels and the central 224 x 224 are kept (*crop*; *squash* and "
        "*letterbox* keep the whole picture). Perturbations act on this study image, so every "
        "model sees the same one. Each model then resizes and normalises it as it was trained to."
    )
    st.subheader("Perturbations", anchor="perturbations")
    st.markdown(
        "Strength runs from 0, no change, to 1, the strongest sensible setting. Where ImageNet-C "
        "has the same corruption, its severities 1 to 5 lie at 0.2, 0.4, 0.6, 0.8 and 1. Several "
        "at once are applied in this fixed order: scene, geometry, optics, exposure, sensor, file."
    )
    st.dataframe(_perturbations(), hide_index=True, height="content")
    st.subheader("Metrics", anchor="metrics")
    st.markdown(
        "Rates carry a 95 % Wilson interval. Features are each stage's activations averaged over "
        "height and width; the last stage is the embedding that the classifier head reads."
    )
    st.dataframe(_metrics(), hide_index=True, height="content")
    st.subheader("Attacks", anchor="attacks")
    st.markdown(_ATTACKS)
    st.dataframe(_attacks(), hide_index=True, height="content")
    st.subheader("Models", anchor="models")
    st.dataframe(_models(), hide_index=True, height="content")
    st.subheader("What the numbers cannot say", anchor="limits")
    st.markdown(
        "- One picture under ten perturbations is ten samples: 9 of 10 kept means anything from "
        "60 % to 98 %, 0 of 10 anything from 0 % to 28 % (95 % Wilson interval).\n"
        "- Consistency is not accuracy: a model that is wrong and stays wrong is consistent. Where "
        "a model gives its answer for the original less than 30 %, keeping it means little.\n"
        "- Perturbations are applied in memory, without the JPEG step of the published ImageNet-C "
        "images, and are slightly easier for it: these numbers are not its mCE.\n"
        "- The study that this grew from did not publish its strengths, so its figures cannot be "
        "reproduced exactly."
    )
    st.subheader("Sources", anchor="sources")
    st.markdown(
        "Hendrycks & Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions "
        "and Perturbations*, ICLR 2019. Wang et al., *Image Quality Assessment*, IEEE TIP 2004 "
        "(SSIM). Wilson, JASA 1927 (interval). Lin, IEEE TIT 1991 (Jensen-Shannon divergence)."
    )
    st.caption("Sample photos: " + "; ".join(f"{s.label}: {s.credit}" for s in SAMPLES))


def _perturbations() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Perturbation": record.label,
                "Family": record.family,
                "Acts on": record.stage.name.lower(),
                "Parameter": record.parameter,
                "At strength 0.2": record.value_text(0.2),
                "At strength 1": record.value_text(1.0),
                "Study setting": ""
                if record.study_strength is None
                else record.value_text(record.study_strength),
                "ImageNet-C": record.imagenet_c or "none",
                "Random": "yes" if record.random else "no",
                "Source": record.source,
            }
            for record in PERTURBATIONS
        ]
    )


def _metrics() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Metric": metric.label,
                "Compares": metric.subject,
                "Formula": metric.formula,
                "Better": "higher" if metric.higher_is_better else "lower",
            }
            for metric in metrics.REGISTRY
        ]
    )


def _attacks() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Attack": record.label,
                "Sees": "gradients" if record.white_box else "answers alone",
                "Measured by": ", ".join(NORMS[norm].label for norm in record.norms),
                "Target": "can aim" if record.targeted else "none",
                "Steps": record.steps,
                "Formula": record.formula,
                "Source": record.source,
            }
            for record in ATTACKS
        ]
    )


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
