"""The words of the pages and reports, each in a sentence or two, in the order of reading."""

from __future__ import annotations

from robustness.evaluation.sweep import DEFAULT_REPEATS, DEFAULT_STEPS
from robustness.metrics import REGISTRY as METRICS
from robustness.metrics.intervals import FEWEST

TERMS: tuple[tuple[str, str], ...] = (
    (
        "Perturbation",
        "A change that the world, a camera or a file format may make to an image, such as fog, "
        "blur, a rotation or JPEG compression. The image before it is the clean image.",
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
        "The class that a model finds most probable, which is its answer, and the five classes "
        "that it finds most probable.",
    ),
    (
        METRICS["consistent"].label,
        "The share of perturbed images for which the answer is the one that the model gave for "
        "the clean image. It is not accuracy: a model that is wrong and stays wrong is "
        "consistent.",
    ),
    (
        "Flip rate",
        "The share of perturbed images with a changed prediction: 1 - consistency. An attack has "
        "nothing to break in a labelled image that the model already gets wrong, so such an image "
        "counts neither as changed nor as unchanged.",
    ),
    (
        "Attack success",
        "The share of the images that a model got right before an attack, and wrong after it. "
        "Without labels: the share of all images whose prediction changed.",
    ),
    (
        METRICS["top5_overlap"].label,
        "The share of the clean image's top-5 that is still among the top-5, in any order.",
    ),
    (
        METRICS["confidence_change"].label,
        "By how much the probability of the clean image's answer rose; it is negative where it "
        "fell.",
    ),
    (
        METRICS["divergence"].label,
        "How far apart the probabilities of all classes lie before and after, in bits: 0 where "
        "they are equal, 1 where no class has a probability in both.",
    ),
    (
        "Feature similarity",
        "How alike the clean and the perturbed image are to the network itself: what its stages "
        "compute of them is compared, rather than the answer. Features may move while the answer "
        "stays, and the other way round.",
    ),
    (
        METRICS["cosine"].label,
        "Compares the direction of two features, whatever their length: 1 where it is the same, 0 "
        "where they have nothing in common.",
    ),
    (
        METRICS["euclidean"].label,
        "Compares direction and length: 1 less the distance of the two features, divided by the "
        "sum of their lengths. 1 where they are equal, 0 where they point in opposite directions.",
    ),
    (
        "Rescaled similarity",
        "A similarity of features on a scale of the model and stage: 1 where nothing moved, 0 "
        "where the two images are as alike as unrelated ones. Models and stages are compared by "
        "this one.",
    ),
    (
        METRICS["ssim"].label,
        "Structural similarity: how alike two images look, by the brightness, contrast and "
        "structure around each pixel. 1 where they are identical.",
    ),
    (
        METRICS["psnr"].label,
        "Peak signal-to-noise ratio: how small the squared difference of two images is, in "
        "decibels. The higher, the more alike; infinite where they are identical.",
    ),
    (
        "Breaking point",
        "The smallest strength at which the answer was seen to change: on a grid of "
        f"{DEFAULT_STEPS} strengths, and finer where the answer is close to changing. Of a random "
        f"perturbation it is the median over {DEFAULT_REPEATS} seeds.",
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
        "The share of all labelled images that a model gets right under every attack that was "
        "tried up to an epsilon: one attack that succeeds is enough to lose an image. Without "
        "labels it is the share of unchanged predictions.",
    ),
    (
        "mCE",
        "Mean corruption error of ImageNet-C: the errors of a model under a corruption, summed "
        "over the five severities, in percent of AlexNet's; then the mean over the corruptions. "
        "100 is as many errors as AlexNet makes, and lower is better.",
    ),
    (
        "95 % confidence interval",
        "A range around a figure, made so that in about 95 of 100 runs on other images of the "
        "kind it holds what all of them would give. It takes the image as the unit, however many "
        f"perturbations each has met; fewer than {FEWEST} images are too few for one.",
    ),
)
"""(term, what it means)"""
