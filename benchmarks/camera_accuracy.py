"""How good accuracies from confidence are, on cameras that the product does not simulate.

``python -m benchmarks.camera_accuracy PHOTOS REFERENCE`` takes two folders of photographs with a
folder a class, and no photograph in both. It is not among the tables of ``python -m benchmarks``,
which needs no images. ``--images 24`` takes smaller folders.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.cameras import CAMERAS, photographs, take
from robustness import models
from robustness.base.turns import Note
from robustness.datasets import open_dataset, sample_pixels
from robustness.datasets.dataset import KNOWN, entry_class_indices
from robustness.images.framing import Framing
from robustness.matching.accuracy import ConfidenceEstimator
from robustness.matching.reference import ReferenceImages
from robustness.matching.run import MOST_REFERENCE, MatchSettings, first_answer

MODELS = ("SqueezeNet", "EfficientNetLite0")
FOLDERS = 4


class _Reference(ReferenceImages):
    """The reference of all folders: what confidence tells is fitted once."""

    fitted: dict[str, ConfidenceEstimator] | None = None

    def confidences(
        self, labels: Mapping[str, NDArray[np.int64]], note: Note
    ) -> dict[str, ConfidenceEstimator]:
        if self.fitted is None:
            self.fitted = super().confidences(labels, note)
        return self.fitted


@dataclass(frozen=True)
class Row:
    """One folder and model: accuracies, and what was said."""

    camera: str
    model: str
    true: float
    reference: float
    expected: float | None
    low: float
    high: float
    other_content: bool

    @property
    def error(self) -> float:
        return abs((self.expected or 0.0) - self.true)

    @property
    def unchanged(self) -> float:
        return abs(self.reference - self.true)

    @property
    def inside(self) -> bool:
        return self.low - 1e-9 <= self.true <= self.high + 1e-9


def rows(photos: Path, reference: Path, images: int, seed: int = 0) -> list[Row]:
    """The rows of every camera, each with ``FOLDERS`` disjoint folders of ``images``."""
    paths = photographs(photos)
    labels = models.REGISTRY[MODELS[0]].labels()
    source = open_dataset(str(reference))
    originals = sample_pixels(source, Framing(), MOST_REFERENCE, seed, _silent)
    known = entry_class_indices(source, [labels], KNOWN)[labels.key]
    indices = np.array([-1 if index is None else index for index in known])[originals.rows]
    side = _Reference(originals.pixels, seed)
    result = []
    for number, camera in enumerate(CAMERAS):
        order = np.random.default_rng([seed, number]).permutation(len(paths))
        for folder in order[: FOLDERS * images].reshape(FOLDERS, images):
            result += _folder(camera, [paths[row] for row in folder.tolist()], side, indices, seed)
        print(f"{camera} done", flush=True)
    return result


def _folder(
    camera: str, paths: list[Path], side: _Reference, indices: NDArray[np.int64], seed: int
) -> list[Row]:
    labels = models.REGISTRY[MODELS[0]].labels()
    with tempfile.TemporaryDirectory() as name:

        def save(path: Path) -> None:
            target = Path(name) / path.parent.name / f"{path.stem}.jpg"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(take(camera, path, seed))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(save, paths))
        dataset = open_dataset(name)
        images = sample_pixels(dataset, Framing(), len(paths), seed, _silent)
        known = entry_class_indices(dataset, [labels], KNOWN)[labels.key]
    names = [dataset.entries[row].name for row in images.rows]
    settings = MatchSettings(models=MODELS, seed=seed)
    answer = first_answer(
        side, images.pixels, names, dict.fromkeys(MODELS, indices), settings, _silent
    )
    truth = {names[place]: known[row] for place, row in enumerate(images.rows.tolist())}
    said = {part.model: part for part in answer.expected_accuracy}
    result = []
    for model in MODELS:
        correct = [
            image.predictions[model] == models.class_name(model, truth[image.name] or 0)
            for image in answer.sample
        ]
        part = said.get(model)
        result.append(
            Row(
                camera,
                model,
                float(np.mean(correct)),
                float((side.originals(model).classes == indices).mean()),
                part.value if part else None,
                part.low if part else 0.0,
                part.high if part else 1.0,
                answer.other_content,
            )
        )
    return result


def _silent(_what: str, _done: int, _total: int) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--images", type=int, default=50)
    options = parser.parse_args()
    table = rows(options.photos, options.reference, options.images)
    print(f"\n{FOLDERS} folders of {options.images} images a camera; means in points\n")
    print("| camera | model | true | expected | error | unchanged | in the interval |")
    print("|---|---|---|---|---|---|---|")
    for camera in CAMERAS:
        for model in MODELS:
            some = [row for row in table if (row.camera, row.model) == (camera, model)]
            print(f"| {camera} | {models.label(model)} {_line(some)}")
    print(f"| all | {_line(table)}")
    print(f"Without an answer: {sum(row.expected is None for row in table)} of {len(table)}")
    print(f"Called other content: {sum(row.other_content for row in table)} of {len(table)}")
    width = np.mean([row.high - row.low for row in table])
    print(f"Mean width of the interval: {100 * width:.0f} points")


def _line(some: list[Row]) -> str:
    said = [row for row in some if row.expected is not None]
    if not said:
        return "| | | | | |"
    values = (
        f"{100 * np.mean([row.true for row in said]):.0f}%",
        f"{100 * np.mean([row.expected for row in said]):.0f}%",
        f"{100 * np.mean([row.error for row in said]):.1f}",
        f"{100 * np.mean([row.unchanged for row in said]):.1f}",
        f"{sum(row.inside for row in said)} of {len(said)}",
    )
    return f"| {' | '.join(values)} |"


if __name__ == "__main__":
    main()
