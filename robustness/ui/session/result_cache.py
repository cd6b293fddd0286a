"""Cache of long work's results that all sessions of this server share.

Cached results contain no file names: images are numbered.
"""

from __future__ import annotations

import pickle
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from robustness.attacks.curves import Point, Smallest
from robustness.evaluation.condition import Condition
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import spec_of
from robustness.models.inference.choice import chosen
from robustness.pictures.picture import Picture

LIMIT = 48 * 1024 * 1024
"""Pickled bytes; in memory, rows take up to seven times as much. One model's sweeps of an image
over every perturbation take 1.4 MB, so two images with all models fit."""


class ResultCache:
    """Results by key; drops the least recently used beyond its limit. Thread-safe."""

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes of the pickled results."""
        self._limit = limit
        self._bytes = 0
        self._lock = threading.Lock()
        self._results: OrderedDict[str, tuple[list[Any], int]] = OrderedDict()

    def get(self, key: str) -> list[Any] | None:
        """Return the results under ``key`` and mark them as used; None if there are none."""
        with self._lock:
            if key not in self._results:
                return None
            self._results.move_to_end(key)
            return self._results[key][0]

    def put(self, key: str, results: list[Any]) -> None:
        """Store ``results`` under ``key``, whatever their size."""
        size = len(pickle.dumps(results, pickle.HIGHEST_PROTOCOL))
        with self._lock:
            self._bytes += size - self._results.pop(key, ([], 0))[1]
            self._results[key] = results, size
            while self._bytes > self._limit and len(self._results) > 1:
                self._bytes -= self._results.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Drop all results."""
        with self._lock:
            self._results.clear()
            self._bytes = 0

    @property
    def bytes(self) -> int:
        """Bytes of all results when pickled."""
        with self._lock:
            return self._bytes


RESULT_CACHE = ResultCache(LIMIT)
"""The cache of this server. Unfinished work is never stored."""


def work_key(
    what: str,
    pictures: Sequence[Picture],
    names: Sequence[str],
    conditions: Sequence[Condition],
    seed: int,
) -> str:
    """The key of the work ``what``: pixels, conditions, each model's weights, and the engine.

    All ``pictures`` have the same framings.
    """
    spec = spec_of(pictures[0], names, conditions, seed)
    seen = (version.digest for picture in pictures for version in picture.versions)
    return " ".join([what, spec.digest, str(chosen()), *seen])


def nameless(pictures: Sequence[Picture]) -> list[Picture]:
    """``pictures``, each named by its number."""
    return [replace(picture, name=str(place)) for place, picture in enumerate(pictures)]


def named(results: Sequence[Any], pictures: Sequence[Picture]) -> list[Any]:
    """``results`` of ``nameless(pictures)`` with the real names of ``pictures``."""
    return [
        replace(result, image=pictures[int(result.image)].name)
        if isinstance(result, Measurement | Point | Smallest)
        else result
        for result in results
    ]
