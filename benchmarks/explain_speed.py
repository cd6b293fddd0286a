"""Times heat maps against the forward pass of the same images, with the offline models."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.offline_models import NAMES
from benchmarks.timing import interleaved_ms
from robustness import models
from robustness.models.heat_map import heat_maps

PICTURES = 4
"""Two images, each for two classes: what the Live page asks of a model."""


def measure(repeats: int = 15) -> list[dict[str, Any]]:
    """One row a model; ``ratio`` is the time of the maps over that of the forward pass."""
    images = np.random.default_rng(0).random((PICTURES, 224, 224, 3), np.float32)
    classes = np.arange(PICTURES)
    rows = []
    for name in NAMES:
        classifier = models.load(name)
        forward_ms, maps_ms = interleaved_ms(
            partial(classifier, images),
            partial(heat_maps, classifier, images, classes),
            repeats=repeats,
        )
        rows.append(
            {
                "model": name,
                "forward_ms": forward_ms,
                "maps_ms": maps_ms,
                "ratio": maps_ms / forward_ms,
            }
        )
    return rows


def main() -> None:
    """Prints the table."""
    print(f"{'model':20}{'forward ms':>12}{'maps ms':>10}{'ratio':>8}")
    for row in measure():
        print(
            f"{row['model']:20}{row['forward_ms']:12.1f}{row['maps_ms']:10.1f}{row['ratio']:8.2f}"
        )


if __name__ == "__main__":
    main()
