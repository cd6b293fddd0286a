"""A run over many images as the page of its results asks for it, all of it made up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from robustness import models
from robustness.base.errors import ImageError
from robustness.evaluation.condition import Condition
from robustness.pictures.fitting import STUDY_SIDE
from robustness.pictures.picture import Picture
from robustness.statistics import Figures
from tests.support.made_up_runs import rows, severities, with_classes

ODD_NAME = "a <b>bold</b> *star*.png"
MISSING = "00001.png"
ESPRESSO = models.imagenet().names.index("espresso")


@dataclass
class MadeUp:
    """A run of squares of one colour."""

    table: pd.DataFrame
    conditions: tuple[Condition, ...]
    id: str = "one-run"
    written: int = 0
    seed: int = 7
    unreadable: tuple[tuple[str, str], ...] = ()
    finished: bool = False
    asked: list[str] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        return self.table

    def recount_note(self, found: Figures) -> str:
        return found.recount

    def picture(self, image_id: str) -> Picture:
        self.asked.append(image_id)
        if image_id == MISSING:
            raise ImageError("The image *is gone*; put it back.")
        shade = (1 + len(self.asked)) / 1000
        return Picture.of(image_id, np.full((STUDY_SIDE, STUDY_SIDE, 3), shade, np.float32))


def made_up(*, labelled: bool = True, images: int = 60, seed: int = 0) -> MadeUp:
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
    return MadeUp(table, conditions, unreadable=(("<i>broken</i>.jpg", "Not an image."),))
