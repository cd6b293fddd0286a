"""Results of long work, kept for every session of this server, and the key that names each.

What is kept holds no file name of anybody's: the images of the work go by their places.
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
from robustness.evaluation.spec import make_spec
from robustness.models.inference.choice import chosen
from robustness.pictures.picture import Picture

LIMIT = 48 * 1024 * 1024
"""Bytes of what is kept when pickled; in memory rows take up to seven times as much. One model's
sweeps of an image over every perturbation are 1.4 megabytes: two images' by all models stay."""


class Kept:
    """Results by key; beyond its limit the least recently used are forgotten.

    Safe between threads.
    """

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes of what the results are when pickled."""
        self._limit = limit
        self._bytes = 0
        self._lock = threading.Lock()
        self._results: OrderedDict[str, tuple[list[Any], int]] = OrderedDict()

    def get(self, key: str) -> list[Any] | None:
        """The results under ``key``, which counts as using them; None if there are none."""
        with self._lock:
            if key not in self._results:
                return None
            self._results.move_to_end(key)
            return self._results[key][0]

    def put(self, key: str, results: list[Any]) -> None:
        """Keeps ``results`` under ``key``, whatever their size."""
        size = len(pickle.dumps(results, pickle.HIGHEST_PROTOCOL))
        with self._lock:
            self._bytes += size - self._results.pop(key, ([], 0))[1]
            self._results[key] = results, size
            while self._bytes > self._limit and len(self._results) > 1:
                self._bytes -= self._results.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forgets all results."""
        with self._lock:
            self._results.clear()
            self._bytes = 0

    @property
    def bytes(self) -> int:
        """What is kept takes so many bytes when pickled."""
        with self._lock:
            return self._bytes


KEPT = Kept(LIMIT)
"""The results of this server. Those of unfinished work are never kept."""


def work_key(
    what: str,
    pictures: Sequence[Picture],
    names: Sequence[str],
    conditions: Sequence[Condition],
    seed: int,
) -> str:
    """The key of work called ``what``: pixels, conditions, each model's weights, and the engine.

    All of the ``pictures`` have become square in one way.
    """
    spec = make_spec(names, conditions, seed=seed, fit=pictures[0].fit)
    return " ".join([what, spec.digest, str(chosen()), *(picture.digest for picture in pictures)])


def nameless(pictures: Sequence[Picture]) -> list[Picture]:
    """``pictures``, each by its place in the place of its name."""
    return [replace(picture, name=str(place)) for place, picture in enumerate(pictures)]


def named(results: Sequence[Any], pictures: Sequence[Picture]) -> list[Any]:
    """``results`` of ``nameless(pictures)`` with the names of ``pictures`` in them."""
    return [
        replace(result, image=pictures[int(result.image)].name)
        if isinstance(result, Measurement | Point | Smallest)
        else result
        for result in results
    ]
