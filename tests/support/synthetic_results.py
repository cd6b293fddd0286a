"""A run over many images as the page of its results asks for it, all of it made up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.support.synthetic_rows import SyntheticRun, rows, severities, with_classes
from robustness import models
from robustness.base.errors import ImageError
from robustness.images.framing import STUDY_SIDE, Framing, Picture
from robustness.measure.condition import Condition

ODD_NAME = "a <b>bold</b> *star*.png"
MISSING = "00001.png"
ESPRESSO = models.imagenet().names.index("espresso")


class SquaresRun(SyntheticRun):
    """A run of squares of one colour, one of which is gone."""

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        return [("<i>broken</i>.jpg", "Not an image.")]

    def picture(self, name: str, framings: Sequence[Framing] = ()) -> Picture:
        if name == MISSING:
            raise ImageError("The image *is gone*; put it back.")
        shade = (1 + int(hashlib.sha256(name.encode()).hexdigest()[:4], 16)) / 1e5
        return Picture.of(name, np.full((STUDY_SIDE, STUDY_SIDE, 3), shade, np.float32))


def squares_run(*, labelled: bool = True, images: int = 60, seed: int = 0) -> SquaresRun:
    """SqueezeNet keeps 3 of 10 answers, EfficientNet-Lite0 8, Lite1 hardly fewer."""
    strengths = (*severities("fog"), ("rotation", 0.1), ("horizontal_flip", 1.0))
    conditions = (
        *(Condition.of({name: strength or 0.0}) for name, strength in strengths),
        Condition.of({"fog": 0.4, "rotation": 0.25}),
    )
    rng = np.random.default_rng(seed)
    clean = rng.random(images) < 0.9
    parts = []
    for model, share in (
        ("SqueezeNet", 0.3),
        ("EfficientNetLite0", 0.8),
        ("EfficientNetLite1", 0.77),
    ):
        kept = rng.random((images, len(conditions))) < share
        parts.append(
            rows(
                kept,
                model=model,
                conditions=conditions,
                labels=ESPRESSO + np.arange(images) % 2 if labelled else None,
                clean_correct=clean if labelled else None,
                correct=clean[:, None] & kept if labelled else None,
                figures={"ssim": rng.random(kept.shape)},
            )
        )
    table = pd.concat(parts, ignore_index=True)
    table["image"] = table["image"].replace("00000.png", ODD_NAME)
    table = with_classes(table, ESPRESSO + 2 if labelled else ESPRESSO, 0)
    return SquaresRun(table, conditions, seed=7)
