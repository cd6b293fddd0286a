"""Images prepared for the models of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.perturbations import Images
from robustness.pictures.picture import Picture


@dataclass(frozen=True)
class Batch:
    """Prepared images: their ``frames`` and ``picture_scores``."""

    pictures: Sequence[Picture]
    frames: Images
    scores: Sequence[Mapping[str, NDArray[np.float64]]]
