"""The true classes of images, and whether predictions are correct.

Four columns of flags say it of a row, so that figures need not read its lists of top-5 classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from robustness.base.errors import ParameterError
from robustness.base.text import folded
from robustness.datasets.dataset import class_index
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.decoding import SAMPLE
from robustness.models import REGISTRY, by_labels
from robustness.models.record import Labels, imagenet


def require_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise ``ParameterError`` naming the ``columns`` that ``frame`` lacks."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ParameterError(
            f"Expected measurements with the columns {', '.join(columns)}; "
            f"{', '.join(missing)} {verb} missing."
        )


CORRECTNESS = ("clean_correct", "correct", "clean_correct5", "correct5")
"""Whether the label is the top-1 class, and among the top-5, of the original (``clean_``) and of
the perturbed image."""

_PREDICTIONS = ("clean_top1", "top1", "clean_top5", "top5")
"""The columns from which these follow, beside the label."""


def sample_class(name: str) -> str | None:
    """The class of the sample ``name``; None if ImageNet has no such class."""
    synset = SAMPLES[name].synset
    if synset is None:
        return None
    labels = imagenet()
    return labels.names[labels.index(synset)]


def true_class(image: str, said: str | None, model_names: Iterable[str]) -> str | None:
    """The name of the true class of ``image``: ``said``, else that of a bundled ``sample:``.

    ``said`` is a name, synset or index of a class of one of the models. Raises
    ``UnknownNameError`` if no model has it.
    """
    if said is None:
        if not image.startswith(SAMPLE):
            return None
        return sample_class(image.removeprefix(SAMPLE))
    label_sets = [labels for labels, _ in by_labels(model_names)]
    for labels in label_sets:
        if class_index(said, labels) is not None:
            return labels.names[labels.index(said)]
    first = label_sets[0]
    return first.names[first.index(said)]  # raises, with the classes that are near


def label_index(model: str, truth: str | None) -> int | None:
    """The index of the class called ``truth`` of ``model``, or of ImageNet's synset for it.

    None if the model has neither, or ``truth`` is None.
    """
    if truth is None:
        return None
    labels = REGISTRY[model].labels()
    index = _index_of_name(truth, labels)
    if index is not None:
        return index
    imagenet_index = _index_of_name(truth, imagenet())
    if imagenet_index is None:
        return None
    synsets = imagenet().synsets or ()
    return class_index(synsets[imagenet_index], labels)


def _index_of_name(name: str, labels: Labels) -> int | None:
    """The class called ``name``, which is not taken for an index or synset."""
    index = class_index(name, labels)
    if index is None or folded(labels.names[index]) != folded(name):
        return None
    return index


def is_correct(label: Any, top1: int) -> bool | None:
    """Whether the class ``top1`` is the label; None without a label."""
    if pd.isna(label):
        return None
    return bool(top1 == label)


def good_rows(frame: pd.DataFrame) -> pd.Series:
    """Whether the prediction of each row is correct or, where it has no label, unchanged."""
    correct = frame["top1"] == frame["label"]
    return frame["consistent"].where(frame["label"].isna(), correct).astype(bool)


def correctness(
    label: Any, clean_top1: Any, top1: Any, clean_top5: Any, top5: Any
) -> tuple[bool | None, bool | None, bool | None, bool | None]:
    """The values of ``CORRECTNESS``, in its order; all None without a label.

    ``label`` is an index, None or ``pd.NA``; the ``top1`` are indices, the ``top5`` sequences.
    """
    if label is None or label is pd.NA:
        return (None, None, None, None)
    return (
        bool(clean_top1 == label),
        bool(top1 == label),
        bool(label in clean_top5),
        bool(label in top5),
    )


def with_correctness(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the columns ``CORRECTNESS``, computed from its predictions if missing.

    Scores take their place where the frame has some. Raises ``ParameterError`` if it has neither
    these nor the columns ``label``, ``clean_top1``, ``top1``, ``clean_top5`` and ``top5``.
    """
    if {"clean_score", "score"} <= set(frame.columns):
        return frame.assign(clean_correct=frame["clean_score"], correct=frame["score"])
    if set(CORRECTNESS) <= set(frame.columns):
        return frame
    require_columns(frame, ("label", *_PREDICTIONS))
    labels = frame["label"].astype("Int64").tolist()
    predictions = [frame[name].tolist() for name in _PREDICTIONS]
    rows = list(map(correctness, labels, *predictions))
    flags = pd.DataFrame(rows, index=frame.index, columns=CORRECTNESS, dtype="boolean")
    return frame.assign(**{name: flags[name] for name in CORRECTNESS})
