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
    for framing, alike in by_framing(*picture.overrides, names).items():
        version = picture.at(framing)
        shelves = {
            name: _Shelf(_key(version, name, others, seed, perturbation, remedy), perturbation)
            for name in alike
        }
        missing = {name: shelf.missing(strengths) for name, shelf in shelves.items()}
        needed = sorted({strength for each in missing.values() for strength in each})
        images: _Distinct | None = None
        for name, shelf in shelves.items():
            try:
                if missing[name]:
                    classifier = models.load(name, side=version.side)
                    if remedy:
                        classifier = classifier.with_remedies(remedy)
                    images = images or _Distinct(version, others, perturbation, needed, seed, turn)
                    for places, few in images.parts(missing[name]):
                        with turn(), _measured(_PASS, name, version.side, len(few)):
                            probabilities = classifier(few).probabilities
                        for place, row in zip(places, probabilities, strict=True):
                            at = images.equal(place, missing[name])
                            shelf.add(
                                measure_strength.cells(at, np.repeat(row[None], len(at), axis=0))
                            )
                yield name, shelf.cells(strengths)
            except RobustnessError as error:
                yield name, error


def read_cells(
    picture: Picture, names: Sequence[str], perturbations: Sequence[str], seed: int
) -> dict[tuple[str, str], list[Cell]]:
    """The cached cells of the original under one perturbation alone, by perturbation and model.

    They are sorted by strength.
    """
    by_band = {}
    for framing, alike in by_framing(*picture.overrides, names).items():
        version = picture.at(framing)
        for name in alike:
            key = _key(version, name, _NOTHING, seed)
            for perturbation in perturbations:
                by_band[perturbation, name] = _Shelf(key, perturbation).every
    return by_band


def seconds(
    picture: Picture, names: Sequence[str], perturbations: Sequence[str], seed: int
) -> float | None:
    """The estimate for what ``read_cells`` lacks; None if a model has no measured rate yet."""
    have = read_cells(picture, names, perturbations, seed)
    total = 0.0
    for (_, side, *_), alike in by_framing(*picture.overrides, names).items():
        for perturbation in perturbations:
            count = len(measure_strength.strengths(REGISTRY[perturbation]))
            missing = {name: count - len(have[perturbation, name]) for name in alike}
            for name in filter(missing.get, missing):
                if (rate := pass_seconds(name, side)) is None:
                    return None
                total += rate * missing[name]
            perturb = _PERTURB.get((perturbation, side), _USUAL_PERTURB)
            total += perturb * max(missing.values())
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
    now = (time.perf_counter() - start) / count
    before = rates.get((name, side), now)
    rates[name, side] = min(now, (3 * before + now) / 4)  # a first pass is slow, as a busy core is


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
        by_key: dict[str, list[Cell]] = {key: [] for key in self._keys}
        for strength, cell in self._cells.items():
            by_key[self._keys[strength == 0]].append(cell)
        for key, own in by_key.items():
            if own:
                RESULT_CACHE.put(key, own)


class _Distinct:
    """The image at each of the ascending ``strengths``; equal neighbours are one."""

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
        self._place: dict[float, int] = {}
        for few in _parts(strengths):
            with turn(), _measured(_PERTURB, perturbation, version.side, len(few)):
                changed = perturbed(
                    version,
                    measure_strength.conditions(others, perturbation, few),
                    seed,
                )
            for strength, image in zip(few, changed, strict=True):
                if not self._images or not np.array_equal(image, self._images[-1]):
                    self._images.append(image)
                self._place[strength] = len(self._images) - 1

    def parts(self, strengths: Sequence[float]) -> Iterator[tuple[Sequence[int], Images]]:
        """The distinct images at ``strengths`` with their places, ``PART`` at a time."""
        distinct = dict.fromkeys(self._place[strength] for strength in strengths)
        for places in _parts([*distinct]):
            yield places, np.stack([self._images[place] for place in places])

    def equal(self, place: int, strengths: Sequence[float]) -> list[float]:
        """Those of ``strengths`` that have the image at ``place``."""
        return [strength for strength in strengths if self._place[strength] == place]
