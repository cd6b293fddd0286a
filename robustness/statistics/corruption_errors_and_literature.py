"""Corruption errors as ImageNet-C defines them, relative to AlexNet.

CE = sum of the error over severities / AlexNet's; relative CE = the same for the error added to the
clean error; both in percent, lower is better (Hendrycks & Dietterich, ICLR 2019). The published
images were saved as JPEG of quality 85 after the corruption; results with and without that step
are kept apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.evaluation.perturbation_and_attack_conditions import STORED
from robustness.evaluation.suites_and_strengths import SEVERITIES
from robustness.perturbations import SAVED_AS_JPEG
from robustness.statistics.means_with_intervals import Estimates, differences, shares
from robustness.statistics.measurement_grid import Grid

Floats = NDArray[np.float64]

IN_MEMORY = (
    "In memory, without the JPEG step of the published files: not comparable with published mCE. "
    "That step makes some corruptions harder and others easier; the suite imagenet-c-jpeg has it"
)
AS_JPEG = (
    "Saved as JPEG of quality 85, as the published files were: the protocol of published mCE, on "
    "these images in place of ImageNet's validation set"
)
AS_STORED = (
    "The files of ImageNet-C as they were published, read and not made here: published mCE, if "
    "these are the 50,000 images of ImageNet's validation set"
)
_PROTOCOLS = {IN_MEMORY: "{}", AS_JPEG: f"{{}}+{SAVED_AS_JPEG}", AS_STORED: f"{STORED}{{}}"}
"""Names of perturbations in each protocol."""

ALEXNET_CLEAN_ERROR = 0.435
ALEXNET_ERRORS: Mapping[str, tuple[float, float, float, float, float]] = {
    "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse_noise": (0.78374, 0.89808, 0.9487, 0.9872, 0.99548),
    "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion_blur": (0.5843, 0.70048, 0.82108, 0.8975, 0.92638),
    "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.9187, 0.94952),
    "frost": (0.6139, 0.79734, 0.8879, 0.89942, 0.9343),
    "fog": (0.67474, 0.7605, 0.84378, 0.8726, 0.945),
    "brightness": (0.4514, 0.48502, 0.54048, 0.62166, 0.7244),
    "contrast": (0.64548, 0.7615, 0.88874, 0.9776, 0.9927),
    "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.5462, 0.73728, 0.87092, 0.91262),
    "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}
"""Top-1 errors at severities 1 to 5: hendrycks/robustness, issue 10; the clean error: the paper."""


def corruption_errors(grids: Sequence[Grid]) -> list[dict[str, Any]]:
    """CE and relative CE per protocol and ImageNet-1k model, for all five severities.

    Keys: ``model``, ``n_images``, ``note`` (``IN_MEMORY``, whose entries come first, ``AS_JPEG``,
    ``AS_STORED``), ``corruptions``, and with intervals ``mean_ce`` and ``mean_relative_ce`` over
    its corruptions. ``corruptions`` is a list of ``corruption``, ``ce`` and ``relative_ce`` with
    intervals. All in percent. A model without labels or without such a corruption is left out.
    """
    labels, imagenet = [models.classes(grid.model) for grid in grids], models.imagenet().key
    comparable = [g for g, own in zip(grids, labels, strict=True) if own and own.key == imagenet]
    entries: list[dict[str, Any]] = []
    for note, grid in itertools.product(_PROTOCOLS, comparable):
        places = {(key.perturbation, key.severity): at for at, key in enumerate(grid.conditions)}
        names = {name: _PROTOCOLS[note].format(name) for name in ALEXNET_ERRORS}
        complete = {
            name: [places[applied, level] for level in SEVERITIES]
            for name, applied in names.items()
            if all((applied, level) in places for level in SEVERITIES)
        }
        if not complete:
            continue
        chosen = [at for levels in complete.values() for at in levels]
        errors, clean = 1 - grid.values("correct")[:, chosen], 1 - grid.per_image("clean_correct")
        whole = ~np.isnan(np.column_stack([clean, errors])).any(axis=1)
        if not whole.any():
            continue
        sums = errors[whole].reshape(-1, len(complete), len(SEVERITIES)).sum(axis=2)
        added = sums - len(SEVERITIES) * clean[whole, None]
        alexnet = np.array([sum(ALEXNET_ERRORS[name]) for name in complete])
        absolute = _percent(shares, sums, alexnet)
        alexnet_added = alexnet - len(SEVERITIES) * ALEXNET_CLEAN_ERROR
        relative = _percent(differences, added, alexnet_added)
        corruptions = [
            {"corruption": name, **absolute.named("ce", at), **relative.named("relative_ce", at)}
            for at, name in enumerate(complete, start=1)
        ]
        entries.append(
            {
                "model": grid.model,
                "n_images": int(whole.sum()),
                "note": note,
                **absolute.named("mean_ce", 0),
                **relative.named("mean_relative_ce", 0),
                "corruptions": corruptions,
            }
        )
    return entries


def published(names: list[str]) -> list[dict[str, Any]]:
    """Published ImageNet-C results of the models ``names``, AlexNet's 100 first.

    Keys: ``model``, ``mce``, ``relative_mce``, both in percent, and ``source``.
    """
    rows: list[dict[str, Any]] = [
        {"model": "AlexNet", "mce": 100.0, "relative_mce": 100.0, "source": "by definition"}
    ]
    for name in names:
        scores = models.REGISTRY[name].published if name in models.REGISTRY else None
        if scores is not None and scores.mce is not None:
            rows.append(
                {
                    "model": name,
                    "mce": scores.mce,
                    "relative_mce": scores.relative_mce,
                    "source": scores.robustness_source,
                }
            )
    return rows


def _percent(of: Callable[[Floats], Estimates], totals: Floats, alexnet: Floats) -> Estimates:
    """The mean of k percentages relative to AlexNet, then each: (1 + k,), from ``totals`` (n, k).

    ``of`` estimates them from ``totals`` as shares of the largest possible total.
    """
    percent = 100 * totals / alexnet
    percent = np.column_stack([percent.mean(axis=1), percent])
    most = 100 * len(SEVERITIES) / alexnet
    most = np.array([most.mean(), *most])
    return Estimates(*(part * most for part in of(percent / most)))
