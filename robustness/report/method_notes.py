"""What is measured and how, in words: the Methods page and the reports say the same."""

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
    "A photo is turned upright, converted to 8-bit RGB (its numbers as stored; only CMYK goes "
    "through its colour profile) and composited on white where it is transparent. Its short side "
    "becomes 256 pixels and the central 224 x 224 are kept (crop; squash and letterbox keep the "
    "whole picture). Perturbations act on this study image, so every model sees the same one. What "
    "they make of it is rounded to 8 bits: the picture on the page, in a saved file and before the "
    "model are one and the same. Each model then normalises it as it was trained to; one of "
    "another input size enlarges it first, which is not quite what it would be shown of the photo "
    "at that size."
)

FITS = (
    "The fit can move accuracy by more than a perturbation does, so runs compare only where it is "
    f"the same. Top-1 accuracy in percent, measured on {FIT_PHOTOGRAPHS} labelled photographs, one "
    "a class; differences of less than about 4 points may be chance."
)

STRENGTHS = (
    "Strength runs from 0, no change, to 1, the strongest sensible setting. Where ImageNet-C has "
    "the same corruption, its severities 1 to 5 lie at 0.2, 0.4, 0.6, 0.8 and 1. Several at once "
    "are applied in this fixed order: scene, geometry, optics, exposure, sensor, file."
)

FEATURES = (
    "Features are each stage's activations averaged over height and width; the last stage is the "
    "embedding that the classifier head reads (SqueezeNet's head reads it place by place, before "
    "the average). Activations are seldom negative, so those of unrelated pictures are alike, too, "
    "in each model and stage to another degree: the floor. It is measured once a model, as the "
    "mean similarity of pictures that are made of different ones of the five bundled photographs, "
    "each as it is, brighter and in grey. Rescaled similarity is (similarity - floor) / (1 - "
    "floor): 1 is unchanged, 0 as alike as unrelated pictures, and below 0 less alike than they. "
    "Models and stages are compared by it, and features count as moved below 0.5 of the cosine, "
    "more than half way to an unrelated picture."
)

FLOORS = (
    "Over all pairs of 200 ImageNet photographs of different classes, the embedding's floor of "
    "cosine similarity is 0.31 (SqueezeNet 1.1), 0.19, 0.18 and 0.22 (EfficientNet-Lite0 to 2); "
    "that from the bundled pictures is within 0.021 of it. At stages before it the floor lies "
    "between 0.01 and 0.84, and that from the bundled pictures, which have less variety than "
    "photographs at large, is up to 0.08 off (0.12 at the first of SqueezeNet), mostly too low: "
    "rescaled similarity is then too high, by up to 0.25 for a similarity of 0.9."
)
"""How good the floor is; ``benchmarks/similarity_floors.py`` measures it."""

BY_PLACE = (
    "Averaged over the picture, a flip leaves the first stages as they were (0.99). Place by "
    "place, whole activations are compared instead, with a floor of their own (within 0.05 of that "
    "of the 200 photographs): what moved within the picture then counts as much as what became "
    "another. Linear CKA, which compares how two "
    "sets of pictures lie to each other, is undefined for one picture and so not offered."
)
"""On the two ways to compare a stage."""

STAGES = (
    "Cosine similarity after each stage, averaged over the picture, from the first layers to the "
    "embedding: 1 where nothing changed, 0 where both are as alike as unrelated pictures."
)

ATTACKS = (
    "An attack changes the study image by at most epsilon: in L∞ no value by more (8/255 is eight "
    "of the 255 steps of an 8-bit picture), in L2 the square root of the summed squares of all "
    "changes. What it raises is the lead of all other classes over the model's clean answer, "
    "log((1 - p) / p), or of the target over all others. Its gradient points where that of the "
    "cross-entropy log(1 + exp(lead)) does, and does not vanish where p rounds to 1; it is taken "
    "of the logits under the closing softmax, and leads through resizing and normalisation to the "
    "study image. 'Steepest' is the sign of the gradient in L∞ and the gradient over its length "
    "in L2; 'project' moves a change to the nearest one within epsilon, and values are clipped to "
    "0 to 1 after each step. DLR is the lead of another class in units of the spread between the "
    "highest logits, which the model's confidence does not change.",
    "The best picture of all steps and restarts is rounded to 8 bits, never beyond epsilon, and "
    "judged anew by an independent pass: every figure is of that picture. A minimal attack's "
    "change is enlarged, as little as it takes, where 8 bits cannot hold it. APGD, FAB, Square and "
    "AutoAttack end with the first success that holds in 8 bits; AutoAttack's members take turns "
    "at what is unbroken, and the one that broke it is named.",
)
"""Paragraphs on how an attack works, whoever runs it."""

NOISE = (
    "Beside each attack stand 16 random changes of the same size (signs in L∞, normal numbers in "
    "L2), rounded and judged in the same way: an attack is only news if it beats the best of them."
)
"""On the control of a single attack; the rows of a run have none."""

SMALLEST = (
    "The smallest epsilon is found by doubling and then bisection, by a minimal attack in one run, "
    "of the picture before it is rounded. Signs that gradients mislead, so that a model only seems "
    "robust (Athalye, Carlini & Wagner, ICML 2018), are reported: success that does not rise with "
    "epsilon, a black-box attack that succeeds where white-box ones fail, a gradient of zero."
)

MANY_IMAGES = (
    (
        "Intervals",
        "The image is the unit: several conditions of one image are not independent, so an image "
        f"counts once, with all its rows. {figures.INTERVAL_RULE} The effective number is n "
        "divided by the design effect, with three pseudo-pictures at either end of the range, "
        "times (z/t)², and no less than n: pictures that are alike under all conditions are single "
        "answers. Won and lost are two such rates, and their intervals make that of the difference "
        "(Zou & Donner's recovery of variances). Differences between models, conditions and runs "
        "are paired. In simulations of 5 to 1,000 pictures under 1 to 95 conditions a rate or a "
        "difference is in its interval in at least 94 % of all cases, and beyond either bound in "
        "3 % at most.",
    ),
    (
        "Figures",
        "Flip rate = 1 - consistency. With labels: accuracy lost = clean - perturbed accuracy, and "
        "relative to the clean accuracy. Accuracies count labelled images only.",
    ),
    (
        "Comparing models",
        "d is, per image, the number of conditions under which model A went well and B did not, "
        "minus the reverse. If the models were equal, the sign of each d would be a coin toss; p "
        "is the chance that tosses give a total as far from 0. It is worked out exactly, and for "
        "large runs by (Σd)² / Σd² on the chi-squared distribution with one degree of freedom, the "
        "cluster-adjusted McNemar test of Durkalski et al. With one condition it is McNemar's "
        "test. Holm's correction covers all pairs; the tests of single conditions are corrected "
        "over all pairs and conditions. A difference is established where the corrected p is below "
        "0.05 and its interval leaves out 0: the tosses take equal models for interchangeable, and "
        "where most pictures gain a little and a few lose much, they are not.",
    ),
    (
        "More images",
        "With n images, a difference D and the lower bound L of its interval, s = (D - L) / "
        "z(0.975) and a = z(1 - 0.025 / number of pairs), n · ((a + z(0.8)) · s / (D - 0.75 · a · "
        "s))² images are enough. The 0.75 allows for a true difference smaller than the one found: "
        "in simulations of 20 to 100 images, where the true difference is 3 points or more, the "
        "power at that number is at least 75 % on average. No number is named below "
        f"{figures.FEWEST_TO_PLAN} images, nor where D is below 0.75 · a · s.",
    ),
    (
        "Calibration",
        f"ECE = Σ over {figures.BINS} bins of equal width of (share of answers in the bin) · "
        "|accuracy - mean confidence|. By chance, a perfectly calibrated model shows about Σ over "
        "the bins of √(2/π · Σ p(1 - p)) / N. Its interval is that of the mean over pictures of "
        "accuracy - confidence, each with the sign of its bin. Signs that are found and not known "
        "make the error seem larger, by √(2/π) standard errors of a calibrated bin; the lower "
        "bound allows for that.",
    ),
    (
        "Corruption error",
        "CE = 100 · Σ error / Σ error of AlexNet over the severities 1 to 5; relative CE = 100 · Σ "
        "(error - clean error) / the same of AlexNet; their means over the corruptions that were "
        f"run whole. {figures.IN_MEMORY}.",
    ),
)
"""(title, text) on runs over many images."""

ANSWERS = (
    "The answer of a report is worked out from its rows, in three sentences. Of a run over many "
    "images it names a model as ahead of others only where the corrected test establishes that, "
    "and perturbations as the lowest and the highest only where their paired difference is "
    "significant after a correction for all pairs of perturbations; those that do not differ "
    "significantly from either are named. Of a Scorecard it takes a model as ahead where "
    "its interval lies above all others, of a sweep as the first to break where its range over the "
    "seeds lies below all others. Cases are the answers whose clean class lost most probability, "
    "and those that survived the most visible change, each picture once."
)

ANECDOTE = f"One picture is one picture, under however many perturbations. {figures.TOO_FEW}"

LIMITS = (
    "Consistency is not accuracy: a model that is wrong and stays wrong is consistent. Where a "
    "model gives its answer for the original less than 30 %, keeping it means little.",
    "Perturbations are applied in memory, without the JPEG step of the published ImageNet-C "
    "images, unless its suite saved as JPEG is asked for: these numbers are not its mCE. Measured "
    "on 200 photographs, the step takes SqueezeNet 12 points of consistency under contrast and 9 "
    "under fog, and gives it 4 under impulse noise and 3 under Gaussian and speckle noise.",
)
"""What no result of this program can say."""

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
    """How a report's rows came about: the picture, what ``conditions`` did to it, the metrics.

    ``notes`` are (title, text) on what was worked out from the rows.
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
        Titled("What they were allowed", allowed),
    ]


def effort(spec: AttackSpec) -> str:
    """Steps and restarts of an attack, in words."""
    restarts = f", {counted(spec.restarts, 'restart')}" if spec.restarts > 1 else ""
    return f"{counted(spec.steps, 'step')}{restarts}"


def _as_table(frame: pd.DataFrame) -> Table:
    """``frame`` as text; nothing for what is not known."""
    rows = [
        tuple("" if pd.isna(cell) else _text(cell) for cell in row)
        for row in frame.itertuples(index=False, name=None)
    ]
    return Table(tuple(map(str, frame.columns)), rows)


def _text(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)
