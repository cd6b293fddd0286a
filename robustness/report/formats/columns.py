"""What every column of the rows means: the data dictionary of the files that are handed on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from robustness import metrics
from robustness.evaluation.row_schema import schema
from robustness.metrics.features import RESCALED


class Column(NamedTuple):
    """One column: its name and type, its unit, the values it takes, and what it means."""

    column: str
    type: str
    unit: str
    values: str
    meaning: str


_INDEX = "a class index of the model, from 0"
_SHARE = "0 to 1"
_INDICES, _SHARES = (f"up to five, each {what}" for what in (_INDEX, _SHARE))
_TRUTH = "true or false"

_MEANINGS: Mapping[str, tuple[str, str, str]] = {
    "position": ("", "from 0", "place of the image among those that were asked for"),
    "image": ("", "text", "name of the image"),
    "image_digest": ("", "64 hexadecimal digits", "SHA-256 of the study image's pixels"),
    "fit": ("", "crop, squash or letterbox", "how the image was made square"),
    "side": ("pixels", "a whole number", "width and height of the study image"),
    "label": ("", _INDEX, "class of the image; empty where it has no label"),
    "model": ("", "text", "name of the model"),
    "condition": (
        "",
        "text",
        "all that was asked: perturbations with their strengths, or an attack with its settings",
    ),
    "perturbation": (
        "",
        "text",
        'name of the perturbation, or of the attack; several are joined by "+"',
    ),
    "strength": (
        "",
        f"{_SHARE}, and beyond for an epsilon in L2",
        "strength of the perturbation, epsilon of an attack; empty for several at once",
    ),
    "parameter": (
        "the perturbation's own",
        "a number",
        "physical value at that strength, epsilon of an attack; empty for several at once",
    ),
    "seed": ("", "0 to 2**32 - 1", "seed of what is random"),
    "clean_top1": ("", _INDEX, "the most likely class of the clean image"),
    "clean_probability": ("probability", _SHARE, "of the class clean_top1 in the clean image"),
    "top1": ("", _INDEX, "the most likely class of the perturbed image"),
    "probability": ("probability", _SHARE, "of the class top1 in the perturbed image"),
    "retained_probability": (
        "probability",
        _SHARE,
        "of the class clean_top1 in the perturbed image",
    ),
    "clean_top5": ("", _INDICES, "the most likely classes of the clean image"),
    "clean_top5_probabilities": ("probability", _SHARES, "of clean_top5"),
    "top5": ("", _INDICES, "the most likely classes of the perturbed image"),
    "top5_probabilities": ("probability", _SHARES, "of top5"),
    "consistent": ("", _TRUTH, "whether top1 is clean_top1"),
    "clean_correct": ("", _TRUTH, "whether clean_top1 is the label; empty where it has none"),
    "correct": ("", _TRUTH, "whether top1 is the label; empty where it has none"),
    "clean_correct5": (
        "",
        _TRUTH,
        "whether the label is among clean_top5; empty where it has none",
    ),
    "correct5": ("", _TRUTH, "whether the label is among top5; empty where it has none"),
    "stages": (
        "",
        "a list of stages, shallow to deep",
        "name of each stage of the network, with the raw similarity of its features",
    ),
}

_UNITS = {"psnr": "dB", "divergence": "bits"}


def columns(own: Sequence[str] = ()) -> tuple[Column, ...]:
    """Every column of ``rows.schema(own)``, in its order."""
    return tuple(Column(field.name, str(field.type), *_about(field.name)) for field in schema(own))


_RAW = {rescaled: raw for raw, rescaled in RESCALED.items()}


def _about(name: str) -> tuple[str, str, str]:
    if name in _MEANINGS:
        return _MEANINGS[name]
    if name in _RAW:
        return (
            "",
            "at most 1; below 0 where less alike than strangers",
            f"({_RAW[name]} - floor) / (1 - floor), the floor being the mean {_RAW[name]} of "
            "unrelated images; higher is better; empty in runs of earlier versions",
        )
    if name not in metrics.REGISTRY:
        return "", "any number", "a metric of a plugin that is not loaded here"
    metric = metrics.REGISTRY[name]
    better = "higher" if metric.higher_is_better else "lower"
    bounds = f"{metric.low:g} to {metric.high:g}" if math.isfinite(metric.high) else "any number"
    note = "; empty where nothing changed" if name == "psnr" else ""
    return (
        _UNITS.get(name, ""),
        bounds,
        f"{metric.label}: {metric.formula}; {better} is better{note}",
    )
