"""The tables of the Methods page, drawn from the registries."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from robustness import metrics, models
from robustness import statistics as figures
from robustness.attacks import NORMS
from robustness.attacks import REGISTRY as ATTACKS
from robustness.models.weights import parameters_text, size_text
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.samples import REGISTRY as SAMPLES

_ATTENTION = """
Grad-CAM (Selvaraju et al. 2017), for one class and one picture: `map = ReLU(Σ_k w_k A_k)`, where
`A_k` is channel k of the last feature maps and `w_k` the gradient `∂y/∂A_k` averaged over all
cells. `y` is the logit of the class, before the softmax: a probability near 1 has no gradient
left. The map is enlarged bilinearly to the size of the picture.

- *Last feature maps*: the output of the last convolutional stage, before what makes a vector of
  it (a global average, or a flattening), and before a last local pooling as in VGG16. Of a vision
  transformer: the 14 x 14 patches as the attention of the last block reads them, the only ones
  that the class token still takes something from.
- *Unit and scale*: logits a cell. Where the head is a global average and at most one dense layer,
  as in most of these networks, the cells before the ReLU sum to the logit less its bias;
  elsewhere they approximate it. All maps of a model share one scale, from 0 to the strongest cell
  among its pictures and classes, and *peak* is each map's strongest cell on it. Scales of two
  models do not compare.
- *How to read it*: ask whether the evidence lies on the object, and whether a perturbation moved
  it elsewhere or only weakened it. The map of the new class shows what the model took for it.
- *What it cannot say*: nothing finer than a cell (7 x 7 to 14 x 14); nothing of evidence against a
  class, which the ReLU drops; nothing of what the model sees there. A map on the object does not
  make the answer right.
- *Sanity*: with other weights in the last layer the map must change (Adebayo et al. 2018); the
  tests check that, and the formula against one written out apart from the product.
- *Without a map*: a SavedModel, whose layers cannot be reached, and a network whose answer is not
  computed of one grid of features.
"""
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
    _many_images()
    st.subheader("Where the model looks", anchor="attention")
    st.markdown(_ATTENTION)
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
        "(SSIM). Wilson, JASA 1927 (interval). Lin, IEEE TIT 1991 (Jensen-Shannon divergence). "
        "Efron, Annals of Statistics 1979 (bootstrap). McNemar, Psychometrika 1947. "
        "Durkalski, Palesch, Lipsitz & Rust, Statistics in Medicine 2003 (clustered pairs). Holm, "
        "Scandinavian Journal of Statistics 1979. Guo, Pleiss, Sun & Weinberger, "
        "ICML 2017 (calibration). "
        "Selvaraju et al., *Grad-CAM*, ICCV 2017. Adebayo et al., *Sanity Checks for Saliency "
        "Maps*, NeurIPS 2018."
    )
    st.caption("Sample photos: " + "; ".join(f"{s.label}: {s.credit}" for s in SAMPLES))


def _many_images() -> None:
    st.subheader("Runs over many images", anchor="datasets")
    st.markdown(
        "**Intervals.** The image is the unit: several conditions of one image are not "
        "independent, so an image is drawn with all its rows or not at all. "
        f"{figures.INTERVAL_RULE} All figures see the same resamples, so differences between "
        "models, conditions and runs are paired. With fewer than some thirty images "
        "percentile intervals are too narrow.\n\n"
        "**Figures.** Flip rate = 1 - consistency. With labels: accuracy lost = clean - perturbed "
        "accuracy, and relative to the clean accuracy. Accuracies count labelled images only.\n\n"
        "**Comparing models.** d is, per image, the number of conditions under which model A went "
        "well and B did not, minus the reverse. If the models were equal, the sign of each d would "
        "be a coin toss; p is the chance that tosses give a total as far from 0. It is worked out "
        "exactly, and for large runs by (Σd)² / Σd² on the chi-squared distribution with one "
        "degree of freedom, the cluster-adjusted McNemar test of Durkalski et al. With one "
        "condition it is McNemar's test. Holm's correction covers all pairs; the tests of single "
        "conditions are corrected over all pairs and conditions. A difference is established where "
        "the corrected p is below 0.05.\n\n"
        "**More images.** n = ((z(1 - α/2) + z(0.8)) · sd(d) / mean(d))² images find the "
        "difference, if it is what it seems, with 80 % power; α = 0.05 by the number of pairs. No "
        "fewer are named than the exact test can ever do with.\n\n"
        f"**Calibration.** ECE = Σ over {figures.BINS} bins of equal width of (share of answers in "
        "the bin) · |accuracy - mean confidence|. By chance, a perfectly calibrated model shows "
        "about Σ over the bins of √(2/π · Σ p(1 - p)) / N.\n\n"
        "**Corruption error.** CE = 100 · Σ error / Σ error of AlexNet over the severities 1 to 5; "
        "relative CE = 100 · Σ (error - clean error) / the same of AlexNet; their means over the "
        f"corruptions that were run whole. {figures.CAUTION[0].upper()}{figures.CAUTION[1:]}."
    )


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
