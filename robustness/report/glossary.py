"""The terms of the pages and reports, each in a sentence or two, in reading order."""

from __future__ import annotations

from robustness.evaluation.sweep import DEFAULT_STEPS
from robustness.metrics import FEATURES, PICTURE, PREDICTION
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics.intervals import FEWEST

_TERMS: tuple[tuple[str, str] | str, ...] = (
    (
        "Perturbation",
        "A change that the world, a camera or a file format may make to an image, such as fog, "
        "blur, a rotation or JPEG compression. The image before it is the original.",
    ),
    (
        "Strength",
        "How much of a perturbation is applied, from 0 (none) to 1 (the strongest sensible "
        "setting). The physical value, such as a radius in pixels, stands beside it.",
    ),
    (
        "Corruption severity",
        "One of the five levels of each corruption of ImageNet-C, from 1 (mild) to 5 (severe). "
        "Where a perturbation equals such a corruption, the levels lie at the strengths 0.2, 0.4, "
        "0.6, 0.8 and 1.",
    ),
    (
        "Top-1 and top-5",
        "The most probable class, which is the prediction of the model, and the five most probable "
        "classes. Confidence is the probability of the top-1 class.",
    ),
    (
        "Correct and changed",
        "With a true class a prediction is correct or incorrect. It is changed if it differs from "
        "the prediction on the original, otherwise unchanged.",
    ),
    (
        "Flip rate",
        "The share of perturbed images with a changed prediction: 1 - consistency. Under attack, "
        "labelled images that were incorrect before count neither as changed nor as unchanged.",
    ),
    (
        "Attack success",
        "The share of the images that were correct before an attack and are incorrect after it. "
        "Without labels: the share of all images with a changed prediction.",
    ),
    PREDICTION,
    (
        "Feature similarity",
        "The similarity of the original and the perturbed image in the network: it compares the "
        "features of a stage, not the predictions. Features can change while the prediction does "
        "not, and the reverse.",
    ),
    FEATURES,
    (
        "Rescaled similarity",
        "A feature similarity on a scale per model and stage: 1 is identical, 0 is as different as "
        "unrelated images. Use it to compare models and stages.",
    ),
    PICTURE,
    (
        "Band and map",
        "A band shows what one model predicts along the strength of one perturbation; a map has "
        "the bands of several. A model breaks at its first incorrect cell or, without a true "
        "class, at its first changed one. A model that is incorrect on the original does not "
        "break.",
    ),
    (
        "Breaking strength",
        "The smallest strength at which the prediction changes or, with a true class, becomes "
        f"incorrect: on a grid of {DEFAULT_STEPS} strengths, finer where the prediction is close "
        "to changing. A random perturbation has one draw, scaled by the strength.",
    ),
    (
        "Epsilon",
        "The largest change of the image that an attack may make, measured in L∞ or L2.",
    ),
    (
        "L∞ and L2",
        "Two ways to measure a change of the image. L∞ is the largest change of any value of a "
        "pixel, where 8/255 is eight steps of an 8-bit image; L2 is the square root of the "
        "summed squares of all changes.",
    ),
    (
        "Robust accuracy",
        "The share of all labelled images that are correct under every attack tried up to an "
        "epsilon: one successful attack loses the image. Without labels: the share of unchanged "
        "predictions.",
    ),
    (
        "mCE",
        "Mean corruption error of ImageNet-C: the errors of a model under a corruption, summed "
        "over the five severities, in percent of AlexNet's; then the mean over the corruptions. "
        "100 is as many errors as AlexNet makes, and lower is better.",
    ),
    (
        "95% confidence interval",
        "A range around a figure that contains the value for all images of the kind in about 95 "
        f"of 100 runs. Its unit is the image; fewer than {FEWEST} images are too few for one.",
    ),
    (
        "Significant",
        "A difference is significant if its paired interval excludes 0 and its test, corrected "
        "for the number of comparisons, has p < 0.05.",
    ),
)
"""(term, what it means); a subject stands for its metrics."""


def terms() -> list[tuple[str, str]]:
    """(term, what it means), with every registered metric."""
    glossary: list[tuple[str, str]] = []
    for entry in _TERMS:
        if isinstance(entry, str):
            metrics = [metric for metric in METRICS if metric.subject == entry]
            glossary += [(metric.label, metric.meaning or metric.formula) for metric in metrics]
        else:
            glossary.append(entry)
    return glossary
