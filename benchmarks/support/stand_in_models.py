"""Classifiers that answer in no time, by random projections, so that all can be foreseen."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from robustness.models import REGISTRY as MODELS
from robustness.models import Outputs
from robustness.perturbations import Images

TWO = (("SqueezeNet", "sha256:1"), ("EfficientNetLite0", "sha256:2"))
"""The models of a spec, with hashes of their own."""


class StandIn:
    """A classifier of 1000 classes by random projections of a coarse version of the image."""

    key = ""

    def __init__(self, name: str, side: int) -> None:
        self.record = MODELS[name]
        self.side = side
        self.stages = tuple(stage for stage, _ in self.record.stages)
        self.batches: list[Images] = []
        random = np.random.default_rng(list(name.encode()))
        self._answer = random.normal(size=(192, 1000))
        self._stages = {stage: random.normal(size=(192, 12)) for stage, _ in self.record.stages}

    @property
    def untempered(self) -> StandIn:
        return self

    def __call__(self, images: Images) -> Outputs:
        self.batches.append(images.copy())
        views = [
            cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).ravel() for image in images
        ]
        answers = [np.exp(view @ self._answer) for view in views]
        return Outputs(
            np.array([answer / answer.sum() for answer in answers], np.float32),
            {
                stage: np.array([view @ weights for view in views], np.float32)
                for stage, weights in self._stages.items()
            },
        )


class Stable:
    """Makes stand-ins, as ``models.load`` makes classifiers, and keeps them in view."""

    def __init__(self) -> None:
        self.loaded: dict[str, StandIn] = {}

    def load(self, name: str, *, side: int) -> Any:
        if name not in self.loaded:
            self.loaded[name] = StandIn(name, side)
        return self.loaded[name]
