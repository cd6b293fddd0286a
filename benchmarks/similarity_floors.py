"""How far the floor from the bundled images is from that of many photographs.

``python -m benchmarks.similarity_floors FOLDER`` takes photographs of unrelated things, some 200 of
different classes; it is not among the tables of ``python -m benchmarks``, which needs no images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.support.image_files import load_study_image
from robustness import models
from robustness.measure.loop import Features, Floors, floors
from robustness.metrics import REGISTRY
from robustness.metrics.scores import RESCALED

_SUFFIXES = {".jpg", ".jpeg", ".png"}


def main(folder: Path) -> None:
    """Prints for each ready model and stage the floor of ``folder``, and how far off ours is."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES]
    images = np.stack([load_study_image(path) for path in paths])
    images = images[np.random.default_rng(0).permutation(len(images))]
    print(f"{len(images)} photographs; floor from them, and how far that from the samples is off\n")
    print(f"{'model':18}{'stage':9}" + "".join(f"{name:>13}" for name in RESCALED))
    for name in models.default_names():
        classifier = models.load(name)
        many = _many(classifier(images).features, len(images))
        ours = floors(classifier)
        for stage in classifier.stages:
            cells = [
                f"{many[stage][metric]:6.3f} {ours[stage][metric] - many[stage][metric]:+6.3f}"
                for metric in RESCALED
            ]
            print(f"{name:18}{stage:9}" + "".join(map(_cell, cells)))


_cell: Callable[[str], str] = "{:>13}".format


def _many(features: Features, count: int) -> Floors:
    """The mean similarity over all pairs of ``count`` images."""
    first, second = np.triu_indices(count, 1)
    return {
        stage: {
            name: float(REGISTRY[name].function(rows[first], rows[second]).mean())
            for name in RESCALED
        }
        for stage, rows in features.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
