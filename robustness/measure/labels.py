"""Whether predictions are correct: the true class of a row, and four columns that follow from it.

The columns stand in for the top-5 lists of a measurement.
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
from robustness.measure.measurement import Measurement
from robustness.models import REGISTRY, by_labels
from robustness.models.record import Labels, imagenet


def require_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise ``ParameterError`` naming the ``columns`` that ``frame`` lacks."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ParameterError(
            f"Expected measurements with the columns {', '.join(columns)}; "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        )


CORRECTNESS = ("clean_correct", "correct", "clean_correct5", "correct5")
"""Whether the label is among the top-1 and top-5 of the original and the perturbed image."""


_ANSWERS = ("clean_top1", "top1", "clean_top5", "top5")


def sample_class(name: str) -> str | None:
    """The class of the sample ``name``; None if ImageNet has no such class."""
    synset = SAMPLES[name].synset
    return None if synset is None else imagenet().names[imagenet().index(synset)]


def true_class(image: str, said: str | None, model_names: Iterable[str]) -> str | None:
    """The name of the class ``said``, or of the class of a ``sample:``.

    ``said`` is a name, synset or index. Raises ``UnknownNameError`` if no model has the class.
    """
    if said is None:
        return sample_class(image.removeprefix(SAMPLE)) if image.startswith(SAMPLE) else None
    sets = [labels for labels, _ in by_labels(model_names)]
    label_set = next((labels for labels in sets if class_index(said, labels) is not None), sets[0])
    return label_set.names[label_set.index(said)]


def label_index(model: str, truth: str | None) -> int | None:
    """The class called ``truth`` of ``model``, or the one of ImageNet's synset for it."""
    if truth is None:
        return None
    labels = REGISTRY[model].labels()
    index = _named(truth, labels)
    if index is None and (index_in_imagenet := _named(truth, imagenet())) is not None:
        index = class_index((imagenet().synsets or ())[index_in_imagenet], labels)
    return index


def _named(name: str, labels: Labels) -> int | None:
    """The class called ``name``, never an index."""
    index = class_index(name, labels)
    return index if index is not None and folded(labels.names[index]) == folded(name) else None


def is_correct(label: Any, top1: int) -> bool | None:
    """Whether the class ``top1`` is the label; None without a label."""
    return None if pd.isna(label) else bool(top1 == label)


def good_rows(frame: pd.DataFrame) -> pd.Series:
    """Whether the prediction of each row is correct or, where it has no label, unchanged."""
    correct = frame["top1"] == frame["label"]
    return frame["consistent"].where(frame["label"].isna(), correct).astype(bool)


def correctness(row: Measurement) -> dict[str, bool | None]:
    """The columns ``CORRECTNESS`` of one measurement; all None without a label."""
    answers = (row.clean_top1, row.top1, row.clean_top5, row.top5)
    return dict(zip(CORRECTNESS, right(row.label, answers), strict=True))


def with_correctness(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the columns ``CORRECTNESS``, computed from its predictions if missing.

    Raises ``ParameterError`` if it has neither these nor the columns ``label``, ``clean_top1``,
    ``top1``, ``clean_top5`` and ``top5``.
    """
    if set(CORRECTNESS) <= set(frame.columns):
        return frame
    require_columns(frame, ("label", *_ANSWERS))
    labels = frame["label"].astype("Int64").tolist()
    answers = zip(*(frame[name].tolist() for name in _ANSWERS), strict=True)
    flags = pd.DataFrame([*map(right, labels, answers)], frame.index, CORRECTNESS, "boolean")
    return frame.assign(**{name: flags[name] for name in CORRECTNESS})


def right(label: Any, answers: tuple[Any, Any, Any, Any]) -> tuple[bool | None, ...]:
    """``CORRECTNESS`` of the ``answers`` clean_top1, top1, clean_top5 and top5."""
    if label is None or label is pd.NA:
        return (None,) * 4
    clean_top1, top1, clean_top5, top5 = answers
    return (
        bool(clean_top1 == label),
        bool(top1 == label),
        bool(label in clean_top5),
        bool(label in top5),
    )
