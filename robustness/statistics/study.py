"""The study's ranking, verdicts and published figures; corruption errors as ImageNet-C has them.

CE = sum of the error over severities / AlexNet's; relative CE = the same for the error added to the
clean error; both in percent, lower is better (Hendrycks & Dietterich, ICLR 2019). The published
images were saved as JPEG of quality 85 after the corruption; results with and without that step
are kept apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.text import counted
from robustness.measure.condition import STORED
from robustness.measure.measurement import Measurement
from robustness.measure.request import SEVERITIES
from robustness.metrics.intervals import FEWEST
from robustness.metrics.scores import RESCALED
from robustness.perturbations import SAVED_AS_JPEG
from robustness.statistics.grid import Grid
from robustness.statistics.means import Estimates, differences, image_values, shares


def summarise(rows: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Per model, in order of falling consistency: the study's ranking with intervals over images.

    Models with other classes have a separate ranking, named by ``label_set``; its entries are
    consecutive. ``n`` counts the perturbed images; ``cosine`` and ``euclidean`` are means of the
    embedding's similarity over them, ``cosine_rescaled`` and ``euclidean_rescaled`` of the rescaled
    ones (0: unrelated image). ``consistency_low`` and ``consistency_high`` are None with fewer than
    ``FEWEST`` images. ``clean_accuracy`` and ``perturbed_accuracy`` are None unless every row has a
    label.
    """
    rows_of: dict[str, list[Measurement]] = {}
    for row in rows:
        rows_of.setdefault(row.model, []).append(row)
    entry_of = {model: _summary_entry(model, of_model) for model, of_model in rows_of.items()}
    ranked: list[dict[str, Any]] = []
    for labels, names in models.by_labels(rows_of):
        entries = [
            {**entry, "label_set": labels.title}
            for model, entry in entry_of.items()
            if model in names
        ]
        ranked += sorted(entries, key=lambda entry: -entry["consistency"])
    return ranked


def _summary_entry(model: str, rows: Sequence[Measurement]) -> dict[str, Any]:
    """The entry of one model in ``summarise``, but for its ``label_set``."""
    flags_of_image: dict[str, list[bool]] = {}
    for row in rows:
        flags_of_image.setdefault(row.image_digest, []).append(row.consistent)
    sums = [sum(flags) for flags in flags_of_image.values()]
    counts = [len(flags) for flags in flags_of_image.values()]
    values = image_values(np.array(sums, float)[:, None], np.array(counts, float)[:, None])

    clean_accuracy = None
    perturbed_accuracy = None
    if all(row.label is not None for row in rows):
        # An original counts once, under however many perturbations.
        clean_correct = {row.image_digest: row.clean_top1 == row.label for row in rows}
        clean_accuracy = sum(clean_correct.values()) / len(clean_correct)
        perturbed_accuracy = sum(row.top1 == row.label for row in rows) / len(rows)
    entry = {
        "model": model,
        "n": len(rows),
        **shares(values).named("consistency", 0),
        "clean_accuracy": clean_accuracy,
        "perturbed_accuracy": perturbed_accuracy,
    }
    for name in itertools.chain(*RESCALED.items()):
        entry[name] = float(np.mean([row.scores[name] for row in rows]))
    return entry


EVEN = 0.5

STABLE_FEATURES = 0.5
"""Rescaled cosine similarity below which features count as moved: halfway between the original (1)
and an unrelated image (0)."""

UNSURE = 0.3
"""Top-1 probability on the original below which a change means little."""

VERDICT_RULE = (
    "Robust: the 95% interval of consistency lies above 50%. Fragile: it lies below 50%, or "
    "inconsistent if the features stay similar (mean rescaled cosine of 0.5 or more). Undecided: "
    f"it includes 50%, or there are fewer than {FEWEST} images."
)


@dataclass(frozen=True)
class Published:
    """The study's figures for one of its models: shares and similarities in [0, 1].

    ``top5`` is the accuracy on ImageNet, and ``parameters`` are in millions.
    """

    parameters: float
    top5: float
    consistency: float
    cosine: float
    euclidean: float
    verdict: str


PUBLISHED: Mapping[str, Published] = {
    "DenseNet121": Published(8.0, 0.936, 0.90, 0.65, 0.94, "most robust"),
    "VGG16": Published(138, 0.901, 0.40, 0.62, 0.91, "moderate"),
    "EfficientNetB0": Published(5.3, 0.933, 0.20, 0.27, 0.85, "least robust"),
    "ResNet50": Published(25.6, 0.921, 0.00, 0.47, 0.95, "inconsistent"),
}
"""One image, ten perturbations; strengths and the Euclidean formula were not published."""

STAND_INS: Mapping[str, str] = {
    "VGG16": "SqueezeNet",
    "ResNet50": "EfficientNetLite2",
    "DenseNet121": "EfficientNetLite1",
    "EfficientNetB0": "EfficientNetLite0",
}
"""The bundled model that runs in place of a network of the study without weights.

Only EfficientNet-Lite0 is related to the network that it stands in for. The others are given out by
the number of parameters, but for SqueezeNet: like VGG16 it has no shortcuts.
"""


class Network(NamedTuple):
    """A network of the study, and the ``model`` that runs for it: itself, or its stand-in."""

    name: str
    model: str

    @property
    def is_missing(self) -> bool:
        """Whether it has no weights that can be used, so that another model stands in for it."""
        return self.model != self.name


def networks() -> list[Network]:
    """The study's four networks in its order.

    Raises ``WeightsError`` if neither a network nor its stand-in can run.
    """
    found = []
    for record in models.REGISTRY:
        if record.group != models.STUDY:
            continue
        if models.state(record).ready:
            found.append(Network(record.name, record.name))
            continue
        (stand_in,) = models.resolve([STAND_INS[record.name]])
        found.append(Network(record.name, stand_in))
    return found


def network_entries(
    networks: Sequence[Network], summary: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The study's own table: what it published of each network, beside what is known here.

    ``parameters`` and ``top5`` are those of the catalogue, which differ from the study's in places;
    ``top5`` is in [0, 1]. ``consistency``, ``cosine`` and ``euclidean`` are measured on ``model``,
    and come from the entries ``summary`` of ``summarise``.
    """
    summary_of = {entry["model"]: entry for entry in summary}
    entries = []
    for network in networks:
        record = models.REGISTRY[network.name]
        published = PUBLISHED[network.name]
        measured = summary_of[network.model]
        top5 = record.published.top5
        entry = {
            "network": network.name,
            "model": network.model,
            "stands_in": network.is_missing,
            "type": record.family,
            "published_parameters": round(published.parameters * 1e6),
            "parameters": record.parameters,
            "published_top5": published.top5,
            "top5": None if top5 is None else round(top5 / 100, 4),
        }
        for name in ("consistency", "cosine", "euclidean"):
            entry[f"published_{name}"] = getattr(published, name)
            entry[name] = measured[name]
        entry["published_verdict"] = published.verdict
        entries.append(entry)
    return entries


PUBLISHED_NOTE = (
    "The study scored one image under ten perturbations. It published neither its strengths nor "
    "its Euclidean formula, so measured figures may differ."
)


def verdict(entry: Mapping[str, Any]) -> str:
    """The verdict on one entry of ``summarise`` by ``VERDICT_RULE``."""
    if entry["consistency_low"] is None:
        return "undecided"
    if entry["consistency_low"] > EVEN:
        return "robust"
    if entry["consistency_high"] < EVEN:
        return "inconsistent" if entry["cosine_rescaled"] >= STABLE_FEATURES else "fragile"
    return "undecided"


def ends(
    ranking: Sequence[Mapping[str, Any]], quantity: str = "consistency"
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """All entries with the largest ``quantity``, and all with the smallest; none if all are equal.

    ``ranking`` is one of models with the same classes.
    """
    values = [entry[quantity] for entry in ranking]
    best = [entry for entry in ranking if abs(entry[quantity] - max(values)) < _SAME]
    worst = [entry for entry in ranking if abs(entry[quantity] - min(values)) < _SAME]
    if worst == best:
        return best, []
    return best, worst


_SAME = 1e-12
"""Smaller differences of shares are due to rounding."""


def has_intervals(summary: Sequence[Mapping[str, Any]]) -> bool:
    """Whether ``summarise`` has enough images for intervals."""
    return all(entry["consistency_low"] is not None for entry in summary)


def rankings(summary: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """``summary`` in its separate rankings, one for each set of classes."""
    groups = itertools.groupby(summary, key=lambda entry: entry["label_set"])
    return [list(entries) for _, entries in groups]


def unsure(rows: Sequence[Measurement]) -> list[tuple[str, str, float]]:
    """(image, model, clean top-1 probability) wherever that is below ``UNSURE``."""
    probability_of = {}
    for row in rows:
        if row.clean_probability < UNSURE:
            probability_of[row.image, row.model] = row.clean_probability
    return [(image, model, value) for (image, model), value in probability_of.items()]


def moved(row: Measurement) -> str:
    """The quadrant of a measurement: whether the features moved and the prediction changed.

    Features count as moved below a rescaled cosine similarity of ``STABLE_FEATURES``, the decision
    if the top-1 class changed.
    """
    features = "moved" if row.scores["cosine_rescaled"] < STABLE_FEATURES else "stayed"
    decision = "stayed" if row.consistent else "moved"
    return f"features {features}, decision {decision}"


def insight(rows: Sequence[Measurement]) -> str:
    """How often features and prediction disagree: the study's insight."""
    quadrants = [moved(row) for row in rows]
    surprising = quadrants.count("features stayed, decision moved")
    reassuring = quadrants.count("features moved, decision stayed")
    cases = counted(len(rows), "case")
    if not surprising and not reassuring:
        return f"Features and prediction changed together in {cases}."
    return (
        f"In {surprising} of {cases} the prediction changed although the "
        f"features barely moved; in {reassuring or 'none'} it stayed although they moved."
    )


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
    imagenet = models.imagenet().key
    comparable = []
    for grid in grids:
        labels = models.classes(grid.model)
        if labels and labels.key == imagenet:
            comparable.append(grid)
    entries = []
    for protocol in _PROTOCOLS:
        for grid in comparable:
            entry = _corruption_entry(grid, protocol)
            if entry is not None:
                entries.append(entry)
    return entries


def _corruption_entry(grid: Grid, protocol: str) -> dict[str, Any] | None:
    """The entry of one model in ``corruption_errors``; None without a complete corruption."""
    columns_of = _complete_corruptions(grid, protocol)
    if not columns_of:
        return None
    columns = list(itertools.chain(*columns_of.values()))
    clean_errors = 1 - grid.per_image("clean_correct")
    errors = 1 - grid.values("correct")[:, columns]
    is_complete = ~np.isnan(np.column_stack([clean_errors, errors])).any(axis=1)
    if not is_complete.any():
        return None
    by_severity = errors[is_complete].reshape(-1, len(columns_of), len(SEVERITIES))
    totals = by_severity.sum(axis=2)
    added = totals - len(SEVERITIES) * clean_errors[is_complete, None]
    alexnet = np.array([sum(ALEXNET_ERRORS[name]) for name in columns_of])
    alexnet_added = alexnet - len(SEVERITIES) * ALEXNET_CLEAN_ERROR
    ce = _percent(shares, totals, alexnet)
    relative_ce = _percent(differences, added, alexnet_added)
    corruptions = []
    for index, name in enumerate(columns_of, start=1):
        corruptions.append(
            {
                "corruption": name,
                **ce.named("ce", index),
                **relative_ce.named("relative_ce", index),
            }
        )
    return {
        "model": grid.model,
        "n_images": int(is_complete.sum()),
        "note": protocol,
        **ce.named("mean_ce", 0),
        **relative_ce.named("mean_relative_ce", 0),
        "corruptions": corruptions,
    }


def _complete_corruptions(grid: Grid, protocol: str) -> dict[str, list[int]]:
    """The columns of the five severities, by corruption that has all of them in the protocol."""
    column_of = {(key.perturbation, key.severity): i for i, key in enumerate(grid.conditions)}
    complete = {}
    for name in ALEXNET_ERRORS:
        perturbation = _PROTOCOLS[protocol].format(name)
        keys = [(perturbation, severity) for severity in SEVERITIES]
        if all(key in column_of for key in keys):
            complete[name] = [column_of[key] for key in keys]
    return complete


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


def _percent(estimate: Callable[[Floats], Estimates], totals: Floats, alexnet: Floats) -> Estimates:
    """The mean of k percentages relative to AlexNet, then each: (1 + k,), from ``totals`` (n, k).

    ``estimate`` is that of values up to 1, so percentages are divided by the largest possible ones.
    """
    percent = 100 * totals / alexnet
    percent = np.column_stack([percent.mean(axis=1), percent])
    most = 100 * len(SEVERITIES) / alexnet
    most = np.array([most.mean(), *most])
    value, low, high = estimate(percent / most)
    return Estimates(value * most, low * most, high * most)
