"""The cells of bands, computed in small turns; all sessions of this server share them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.images.framing import Picture
from robustness.measure import strength as measure_strength
from robustness.measure.condition import Condition
from robustness.measure.loop import perturbed
from robustness.measure.request import by_framing
from robustness.measure.strength import Cell
from robustness.models import Classifier
from robustness.perturbations import REGISTRY, Images
from robustness.ui.shared import RESULT_CACHE, Turn, work_key

PART = 4
"""Most images that one turn perturbs or passes, so that nobody waits long behind a band."""

Item = TypeVar("Item")

_NOTHING = Condition.of({})

_PASS: dict[tuple[str, int], float] = {}
_PERTURB: dict[tuple[str, int], float] = {}
"""Seconds per image by model or perturbation, and side."""

_USUAL_PERTURB = 0.01
"""Seconds to perturb an image where nothing was measured yet."""


def _parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """``items``, ``PART`` at a time."""
    return (items[start : start + PART] for start in range(0, len(items), PART))


def cells(
    picture: Picture,
    names: Sequence[str],
    others: Condition,
    perturbation: str,
    strengths: Sequence[float],
    seed: int,
    turn: Turn,
    remedy: str = "",
) -> Iterator[tuple[str, list[Cell] | RobustnessError]]:
    """Yield each of the models ``names`` with its cells at ``strengths``, or its error.

    ``others`` are the perturbations beside ``perturbation``; ``remedy`` is the id of a chain of one
    model, or "". Cells that any session has computed are not computed again, and images are
    perturbed only for others. Each ``PART`` takes a turn; what it raises ends the work, and keeps
    the cells so far.
    """
    for framing, model_names in by_framing(*picture.overrides, names).items():
        version = picture.at(framing)
        shelves: dict[str, _Shelf] = {}
        missing: dict[str, list[float]] = {}
        needed: set[float] = set()
        for name in model_names:
            key = _key(version, name, others, seed, perturbation, remedy)
            shelves[name] = _Shelf(key, perturbation)
            missing[name] = shelves[name].missing(strengths)
            needed.update(missing[name])
        images: _DistinctImages | None = None
        for name, shelf in shelves.items():
            try:
                if missing[name]:
                    classifier = models.load(name, side=version.side)
                    if remedy:
                        classifier = classifier.with_remedies(remedy)
                    if images is None:  # all models of one framing see the same images
                        images = _DistinctImages(
                            version, others, perturbation, sorted(needed), seed, turn
                        )
                    _fill(shelf, missing[name], images, classifier, name, version.side, turn)
                yield name, shelf.cells(strengths)
            except RobustnessError as error:
                yield name, error


def _fill(
    shelf: _Shelf,
    strengths: Sequence[float],
    images: _DistinctImages,
    classifier: Classifier,
    model_name: str,
    side: int,
    turn: Turn,
) -> None:
    """Add the cells of one model at ``strengths`` to ``shelf``, those of each turn at once."""
    for indices, batch in images.batches(strengths):
        with turn(), _measured(_PASS, model_name, side, len(batch)):
            probabilities = classifier(batch).probabilities
        for index, row in zip(indices, probabilities, strict=True):
            equal_strengths = images.strengths_of(index, strengths)
            rows = np.repeat(row[None], len(equal_strengths), axis=0)
            shelf.add(measure_strength.cells(equal_strengths, rows))


def read_cells(
    picture: Picture, names: Sequence[str], perturbations: Sequence[str], seed: int
) -> dict[tuple[str, str], list[Cell]]:
    """The cached cells of the original under one perturbation alone, by perturbation and model.

    They are sorted by strength.
    """
    by_band = {}
    for framing, model_names in by_framing(*picture.overrides, names).items():
        version = picture.at(framing)
        for name in model_names:
            key = _key(version, name, _NOTHING, seed)
            for perturbation in perturbations:
                by_band[perturbation, name] = _Shelf(key, perturbation).every
    return by_band


def seconds(
    picture: Picture, names: Sequence[str], perturbations: Sequence[str], seed: int
) -> float | None:
    """The estimate for what ``read_cells`` lacks; None if a model has no measured rate yet."""
    cached = read_cells(picture, names, perturbations, seed)
    total = 0.0
    for framing, model_names in by_framing(*picture.overrides, names).items():
        side = framing.side
        for perturbation in perturbations:
            cell_count = len(measure_strength.strengths(REGISTRY[perturbation]))
            missing_counts = {
                name: cell_count - len(cached[perturbation, name]) for name in model_names
            }
            for name, missing_count in missing_counts.items():
                if missing_count == 0:
                    continue
                seconds_per_pass = pass_seconds(name, side)
                if seconds_per_pass is None:
                    return None
                total += seconds_per_pass * missing_count
            # The models of one framing share the perturbed images.
            seconds_per_image = _PERTURB.get((perturbation, side), _USUAL_PERTURB)
            total += seconds_per_image * max(missing_counts.values())
    return total


def pass_seconds(name: str, side: int) -> float | None:
    """The measured seconds per image of a model at ``side``; None before its first cells."""
    return _PASS.get((name, side))


@contextmanager
def _measured(
    rates: dict[tuple[str, int], float], name: str, side: int, count: int
) -> Iterator[None]:
    start = time.perf_counter()
    yield
    latest = (time.perf_counter() - start) / count
    previous = rates.get((name, side), latest)
    # A first pass is slow, and so is one on a busy core: a lower figure counts at once.
    rates[name, side] = min(latest, (3 * previous + latest) / 4)


def _key(
    version: Picture,
    name: str,
    others: Condition,
    seed: int,
    perturbation: str = "",
    remedy: str = "",
) -> str:
    """What a cell depends on, but for the perturbation and its strength."""
    beside = {step: strength for step, strength in others.steps if step != perturbation}
    return work_key(f"cells {remedy}", version, [name], [Condition.of(beside)], seed)


class _Shelf:
    """The cells of one band in the cache. At strength 0 every perturbation has the same cell."""

    def __init__(self, key: str, perturbation: str) -> None:
        self._keys = [f"{key} {perturbation}", key]
        self._cells: dict[float, Cell] = {}
        self._read()

    def _read(self) -> None:
        for key in self._keys:
            self._cells |= {cell.strength: cell for cell in RESULT_CACHE.get(key) or ()}

    @property
    def every(self) -> list[Cell]:
        return sorted(self._cells.values(), key=lambda cell: cell.strength)

    def missing(self, strengths: Sequence[float]) -> list[float]:
        return sorted(strength for strength in strengths if strength not in self._cells)

    def cells(self, strengths: Sequence[float]) -> list[Cell]:
        return [self._cells[strength] for strength in strengths]

    def add(self, cells: Sequence[Cell]) -> None:
        self._read()  # another session may have computed others
        self._cells |= {cell.strength: cell for cell in cells}
        shifted: list[Cell] = []
        clean: list[Cell] = []
        for strength, cell in self._cells.items():
            if strength == 0:
                clean.append(cell)
            else:
                shifted.append(cell)
        for key, cells_of_key in zip(self._keys, (shifted, clean), strict=True):
            if cells_of_key:
                RESULT_CACHE.put(key, cells_of_key)


class _DistinctImages:
    """The perturbed image at each of the ascending ``strengths``; equal neighbours are one."""

    def __init__(
        self,
        version: Picture,
        others: Condition,
        perturbation: str,
        strengths: Sequence[float],
        seed: int,
        turn: Turn,
    ) -> None:
        self._images: list[Images] = []
        self._index: dict[float, int] = {}
        for batch in _parts(strengths):
            conditions = measure_strength.conditions(others, perturbation, batch)
            with turn(), _measured(_PERTURB, perturbation, version.side, len(batch)):
                perturbed_images = perturbed(version, conditions, seed)
            for strength, image in zip(batch, perturbed_images, strict=True):
                if not self._images or not np.array_equal(image, self._images[-1]):
                    self._images.append(image)
                self._index[strength] = len(self._images) - 1

    def batches(self, strengths: Sequence[float]) -> Iterator[tuple[Sequence[int], Images]]:
        """Yield the distinct images at ``strengths`` with their indices, ``PART`` at a time."""
        distinct = dict.fromkeys(self._index[strength] for strength in strengths)
        for indices in _parts(list(distinct)):
            yield indices, np.stack([self._images[index] for index in indices])

    def strengths_of(self, index: int, strengths: Sequence[float]) -> list[float]:
        """Return those of ``strengths`` that have the image at ``index``."""
        return [strength for strength in strengths if self._index[strength] == index]
