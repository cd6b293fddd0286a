"""Explanations of methods, shared by the Methods page and the reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from robustness import statistics as figures
from robustness.attacks import NORMS, AttackSpec
from robustness.base.text import counted
from robustness.charts.tables import Table
from robustness.evaluation.condition import Condition
from robustness.models.model_record import FIT_PHOTOGRAPHS
from robustness.perturbations import REGISTRY
from robustness.report import method_tables
from robustness.report.content import Block, Text, Titled

STUDY_IMAGE = (
    "A photo is turned upright, converted to 8-bit RGB (stored values; only CMYK uses its colour "
    "profile) and composited on white where it is transparent. Its short side becomes 256 pixels, "
    "and the central 224 x 224 are kept (crop; squash and letterbox keep the whole image). "
    "Perturbations act on this study image, so every model sees the same one. The result is "
    "rounded to 8 bits: page, saved file and model have the same image. Each model then "
    "normalises it as in its training. A model with a larger input enlarges it first, which "
    "differs slightly from the photo at that size."
)

FITS = (
    "The fit can change accuracy more than a perturbation does, so only runs with the same fit "
    f"compare. Top-1 accuracy in percent on {FIT_PHOTOGRAPHS} labelled photographs, one per class; "
    "differences below about 4 points may be chance."
)

STRENGTHS = (
    "Strength runs from 0, no change, to 1, the strongest sensible setting. ImageNet-C's "
    "severities 1 to 5 are at 0.2, 0.4, 0.6, 0.8 and 1 where it has the same corruption. Several "
    "perturbations are applied in a fixed order: scene, geometry, optics, exposure, sensor, file."
)

FEATURES = (
    "Features are a stage's activations averaged over height and width; the last stage is the "
    "embedding that the classifier reads (SqueezeNet's classifier reads it before the average). "
    "Activations are rarely negative, so unrelated images have similar features, too: the floor, "
    "which differs by model and stage. It is measured once per model, as the mean similarity of "
    "different bundled photographs, original, brighter and grey. Rescaled similarity is "
    "(similarity - floor) / (1 - floor): 1 is unchanged, 0 as similar as unrelated images, less "
    "than 0 less similar. It compares models and stages. Features count as moved below a rescaled "
    "cosine of 0.5, half way to an unrelated image."
)

FLOORS = (
    "Over all pairs of 200 ImageNet photographs of different classes, the embedding's floor of "
    "cosine similarity is 0.31 (SqueezeNet 1.1), 0.19, 0.18 and 0.22 (EfficientNet-Lite0 to 2); "
    "the bundled images give it within 0.021. At earlier stages the floor is 0.01 to 0.84, and "
    "the bundled images, which vary less than photographs in general, are off by up to 0.08 (0.12 "
    "at SqueezeNet's first), mostly too low: rescaled similarity is then too high, by up to 0.25 "
    "at a similarity of 0.9."
)
"""Accuracy of the floor, measured by ``benchmarks/similarity_floors.py``."""

BY_PLACE = (
    "Averaged over the image, a flip leaves the first stages unchanged (0.99). The place-by-place "
    "comparison uses whole activations, with a floor of its own (within 0.05 of that of the 200 "
    "photographs), so movement within the image counts as much as change. Linear CKA needs a set "
    "of images and is undefined for one."
)
"""The two ways to compare a stage."""

STAGES = (
    "Cosine similarity after each stage, averaged over the image, from the first layers to the "
    "embedding: 1 is unchanged, 0 is as similar as unrelated images."
)

ATTACKS = (
    "An attack changes the study image by at most epsilon: in L∞ no value by more (8/255 is eight "
    "of the 255 steps of an 8-bit image), in L2 the square root of the summed squares of all "
    "changes. It raises the lead of all other classes over the model's original prediction, "
    "log((1 - p) / p), or of the target over all others. The gradient has the direction of that of "
    "the cross-entropy log(1 + exp(lead)) and does not vanish where p rounds to 1. It is taken of "
    "the logits before the final softmax, through normalisation and resizing, to the study image. "
    "'Steepest' is the sign of the gradient in L∞ and the gradient over its length in L2; "
    "'project' moves a change to the nearest one within epsilon, and values are clipped to 0 to 1 "
    "after each step. DLR is the lead of another class in units of the spread between the highest "
    "logits, which the model's confidence does not change.",
    "The best image of all steps and restarts is rounded to 8 bits, never beyond epsilon, and "
    "judged by an independent pass; every figure is of that image. A minimal attack's change is "
    "enlarged as little as needed if 8 bits cannot hold it. APGD, FAB, Square and AutoAttack end "
    "with the first success that holds in 8 bits. AutoAttack's members take turns on images that "
    "are still unbroken; the member that succeeds is named.",
)
"""Paragraphs on how an attack works."""

NOISE = (
    "Each attack is compared with 16 random changes of the same size (signs in L∞, normal numbers "
    "in L2), rounded and judged the same way: an attack matters only if it beats the best of them."
)
"""The control of a single attack; runs have none."""

SMALLEST = (
    "The smallest epsilon is found by doubling, then bisection; a minimal attack finds it in one "
    "run, before rounding. Signs of misleading gradients, with which a model only seems robust "
    "(Athalye, Carlini & Wagner, ICML 2018), are reported: success that does not rise with "
    "epsilon, a black-box attack that succeeds where white-box ones fail, a gradient of zero."
)

MANY_IMAGES = (
    (
        "Intervals",
        "The image is the unit: the conditions of one image are not independent, so an image "
        f"counts once, with all its rows. {figures.INTERVAL_RULE} The effective number is n "
        "divided by the design effect, with three pseudo-images at each end of the range, times "
        "(z/t)², and at least n: images with the same result under all conditions are single "
        "predictions. Gains and losses are two such rates, and their intervals give that of the "
        "difference (Zou & Donner's recovery of variances). Differences between models, conditions "
        "and runs are paired. In simulations of 5 to 1,000 images under 1 to 95 conditions the "
        "interval contains the true rate or difference in at least 94 % of all cases, and each "
        "bound is missed in at most 3 %.",
    ),
    (
        "Figures",
        "Flip rate = 1 - consistency. With labels: accuracy lost = clean - perturbed accuracy, and "
        "relative to the clean accuracy. Accuracies count labelled images only.",
    ),
    (
        "Comparing models",
        "d is, per image, the number of conditions under which model A succeeded and B did not, "
        "minus the reverse. If the models were equal, the sign of each d would be a coin toss; p "
        "is the probability that tosses give a total as far from 0. It is computed exactly, and "
        "for large runs by (Σd)² / Σd² on the chi-squared distribution with one degree of freedom, "
        "the cluster-adjusted McNemar test of Durkalski et al. With one condition it is McNemar's "
        "test. Holm's correction covers all pairs; tests of single conditions are corrected over "
        "all pairs and conditions. A difference is significant if the corrected p is below 0.05 "
        "and its interval excludes 0: the tosses assume exchangeable models, which fails if most "
        "images gain a little and a few lose much.",
    ),
    (
        "More images",
        "With n images, a difference D and the lower bound L of its interval, s = (D - L) / "
        "z(0.975), a = z(1 - 0.025 / number of pairs) and c = 0.4 + 8 / n, n · ((a + z(0.8)) · s / "
        "(D - c · a · s))² images are enough. c allows for a true difference smaller than the one "
        "found: in simulations of 20 to 100 images, where the true difference is 3 points or more, "
        "the power at that number is at least 75 % on average. No number is named below "
        f"{figures.FEWEST_TO_PLAN} images, nor where D is below c · a · s.",
    ),
    (
        "Calibration",
        f"ECE = Σ over {figures.BINS} bins of equal width of (share of predictions in the bin) · "
        "|accuracy - mean confidence|. By chance, a perfectly calibrated model shows about Σ over "
        "the bins of √(2/π · Σ p(1 - p)) / N. The interval is that of the mean over images of "
        "accuracy - confidence, each with the sign of its bin. Estimated signs make the error seem "
        "larger, by √(2/π) standard errors of a calibrated bin; the lower bound allows for that.",
    ),
    (
        "Corruption error",
        "CE = 100 · Σ error / Σ error of AlexNet over the severities 1 to 5; relative CE = 100 · Σ "
        "(error - clean error) / the same for AlexNet; then the means over all complete "
        f"corruptions. {figures.IN_MEMORY}.",
    ),
)
"""(title, text) about runs over many images."""

ANSWERS = (
    "A report answers in three sentences, derived from its rows. For a run over many images it "
    "names a model as ahead of others only if the corrected test is significant, and perturbations "
    "as the lowest and the highest only if their paired difference is significant after a "
    "correction for all pairs of perturbations; those that do not differ significantly from either "
    "are named. In a Scorecard a model is ahead if its interval lies above all others; in a sweep "
    "it breaks first if its range over the seeds lies below all others. Cases are the predictions "
    "whose original class lost most probability, and those unchanged under the most visible "
    "change, each image once."
)

ANECDOTE = f"One image is an anecdote, whatever the number of perturbations. {figures.TOO_FEW}"

LIMITS = (
    "Consistency is not accuracy: a model that is wrong and stays wrong is consistent. An "
    "unchanged prediction means little if its confidence on the original is below 30 %.",
    "Perturbations are applied in memory, without the JPEG step of the published ImageNet-C "
    "images, except in the suite saved as JPEG: these numbers are not its mCE. On 200 photographs "
    "the step costs SqueezeNet 12 points of consistency under contrast and 9 under fog, and gains "
    "4 under impulse noise and 3 under Gaussian and speckle noise.",
)
"""Limits of every result."""

SOURCES = (
    "Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions "
    "and Perturbations, ICLR 2019. Wang et al., Image Quality Assessment, IEEE TIP 2004 "
    "(SSIM). Clopper & Pearson, Biometrika 1934; Korn & Graubard, Survey Methodology 1998; Dean & "
    "Pagano, Journal of Survey Statistics and Methodology 2015; Zou & Donner, Statistics in "
    "Medicine 2008 (intervals). Wilson, JASA 1927 (the chance that noise alone did it). Lin, IEEE "
    "TIT 1991 (Jensen-Shannon divergence). McNemar, Psychometrika 1947. "
    "Durkalski, Palesch, Lipsitz & Rust, Statistics in Medicine 2003 (clustered pairs). Holm, "
    "Scandinavian Journal of Statistics 1979. Guo, Pleiss, Sun & Weinberger, "
    "ICML 2017 (calibration). Selvaraju et al., Grad-CAM, ICCV 2017. Adebayo et al., Sanity Checks "
    "for Saliency Maps, NeurIPS 2018."
)


def blocks(conditions: Iterable[Condition], notes: Sequence[tuple[str, str]]) -> list[Block]:
    """How a report's rows were made: study image, ``conditions``, metrics.

    ``notes`` are (title, text) about figures derived from the rows.
    """
    asked = list(conditions)
    specs = [attack for c in asked for attack in c.attacks]
    names = dict.fromkeys(name for c in asked for name in c.perturbations)
    return [
        Text(STUDY_IMAGE),
        *(_perturbations(list(names)) if names else ()),
        *(_attacks(specs) if specs else ()),
        Text(FEATURES),
        Titled("The metrics", _as_table(method_tables.metric_formulas())),
        *(Text(f"{title}. {text}") for title, text in notes),
        Text(f"Sources. {SOURCES}"),
    ]


def _perturbations(names: Sequence[str]) -> list[Block]:
    used = method_tables.perturbations(REGISTRY[name] for name in names)
    table = _as_table(used.drop(columns=["Family", "Acts on", "Study setting", "Random"]))
    return [Text(STRENGTHS), Titled("The perturbations", table)]


def _attacks(specs: Sequence[AttackSpec]) -> list[Block]:
    known = method_tables.attacks({spec.name: spec.record for spec in specs}.values())
    allowed = Table(
        ("Attack", "Measured by", "Epsilon, its strength", "Effort"),
        [
            (spec.record.label, NORMS[spec.norm].label, spec.size_text, effort(spec))
            for spec in dict.fromkeys(specs)
        ],
    )
    return [
        *(Text(text) for text in ATTACKS),
        Titled("The attacks", _as_table(known.drop(columns=["Target", "Steps", "Measured by"]))),
        Titled("Attack budgets", allowed),
    ]


def effort(spec: AttackSpec) -> str:
    """Steps and restarts of an attack, in words."""
    restarts = f", {counted(spec.restarts, 'restart')}" if spec.restarts > 1 else ""
    return f"{counted(spec.steps, 'step')}{restarts}"


def _as_table(frame: pd.DataFrame) -> Table:
    """``frame`` as text; empty for unknown values."""
    rows = [
        tuple("" if pd.isna(cell) else _text(cell) for cell in row)
        for row in frame.itertuples(index=False, name=None)
    ]
    return Table(tuple(map(str, frame.columns)), rows)


def _text(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)
