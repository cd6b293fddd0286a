"""A measurement of one model, one image and one condition, and the images prepared for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.images.framing import Picture
from robustness.perturbations import Images

_NOT_OF_VARIANTS = (
    "retained_probability",
    "clean_top5",
    "clean_top5_probabilities",
    "top5",
    "top5_probabilities",
    "stages",
)
"""What the rows of variants lack, beside the scores."""


@dataclass(frozen=True)
class Measurement:
    """One tidy row: the prediction of one model for one image under one condition.

    ``image_digest`` identifies the image, ``framed_digest`` its pixels as the model sees them, with
    ``fit`` and ``side``. ``condition`` is a ``Condition.id``, ``profile`` the name of that whose
    composition it is, if any. ``clean_top1`` and ``top1`` are class indices, each with its own
    probability; ``retained_probability`` is that of the original's class under the condition.
    ``scores`` holds every metric by name, feature metrics also by their names in
    ``features.RESCALED``; ``stages`` holds them for each stage.

    In the row of a variant ``model`` is its name and ``base`` that of the model that it changes.
    Such a row has predictions alone: without scores, stages, top-5 and ``retained_probability``.
    ``reference`` is the class with which ``top1`` is compared, if it is not ``clean_top1``: without
    a label, what the base predicts for the original.
    """

    image: str
    image_digest: str
    framed_digest: str
    fit: str
    side: int
    label: int | None
    model: str
    condition: str
    perturbation: str
    strength: float | None
    parameter: float | None
    seed: int
    clean_top1: int
    clean_probability: float
    top1: int
    probability: float
    retained_probability: float
    clean_top5: tuple[int, ...]
    clean_top5_probabilities: tuple[float, ...]
    top5: tuple[int, ...]
    top5_probabilities: tuple[float, ...]
    scores: Mapping[str, float]
    stages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    profile: str = ""
    base: str = ""
    reference: int | None = None

    @property
    def consistent(self) -> bool:
        reference = self.clean_top1 if self.reference is None else self.reference
        return self.top1 == reference

    def as_row(self) -> dict[str, Any]:
        """The measurement as a flat JSON-ready row; the PSNR of equal images is None."""
        row = asdict(self)
        if not self.profile:
            del row["profile"]
        scores = row.pop("scores")
        stages = row.pop("stages")
        del row["reference"]
        for name, value in scores.items():
            row[name] = value if np.isfinite(value) else None
        row["consistent"] = self.consistent
        row["stages"] = stages
        if not self.base:
            del row["base"]
            return row
        for name in _NOT_OF_VARIANTS:
            del row[name]
        return row


@dataclass(frozen=True)
class Batch:
    """Images of one framing, prepared for every model that sees them so.

    ``frames`` (images, 1 + conditions, S, S, 3) have the original of each image first. ``scores``
    has for each image the metrics between images by name, with a number for each condition.
    """

    pictures: Sequence[Picture]
    frames: Images
    scores: Sequence[Mapping[str, NDArray[np.float64]]]
