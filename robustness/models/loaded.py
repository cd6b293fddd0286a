"""The loaded classifiers: each built once, shared by all, the least recently used released."""

from __future__ import annotations

import threading
from collections import OrderedDict

from robustness.base.errors import WeightsError
from robustness.models import memory
from robustness.models.classifier import Classifier
from robustness.models.loading import load_network
from robustness.models.model_record import REGISTRY, ModelRecord
from robustness.models.weights import digest, megabytes, state
from robustness.pictures.fitting import STUDY_SIDE

Key = tuple[str, int, str]


class Loaded:
    """Classifiers by name, side and weights, within a budget of memory; safe between threads.

    One that is released while somebody still holds it lives until they are done.
    """

    def __init__(self) -> None:
        self._building = threading.Lock()
        self._changing = threading.Lock()
        self._classifiers: OrderedDict[Key, tuple[Classifier, int]] = OrderedDict()

    def get(self, record: ModelRecord, side: int) -> Classifier:
        """The classifier of ``record`` for images of ``side``, built unless it is there."""
        try:
            key = record.name, side, digest(record)
        except OSError as error:
            raise WeightsError(state(record).reason) from error
        if found := self._find(key):
            return found
        with self._building:  # two sessions that ask at once build it once
            if found := self._find(key):
                return found
            bytes_ = memory.needed(record)
            self._make_room(record, bytes_)
            network, stages = load_network(record)
            classifier = Classifier(record, network, stages, side=side)
            del network  # the classifier keeps a folded copy
            with self._changing:
                self._classifiers[key] = classifier, bytes_
            memory.give_back()
            return classifier

    def _find(self, key: Key) -> Classifier | None:
        with self._changing:
            if key not in self._classifiers:
                return None
            self._classifiers.move_to_end(key)
            return self._classifiers[key][0]

    def _make_room(self, record: ModelRecord, bytes_: int) -> None:
        budget = memory.budget()
        if bytes_ > budget:
            raise WeightsError(
                f"{record.name} takes about {megabytes(bytes_)} of memory, and loaded models may "
                f"take {megabytes(budget)}: raise the setting 'memory' (ROBUSTNESS_MEMORY)."
            )
        allowed = budget - memory.WHILE_LOADING * bytes_
        released = False
        with self._changing:  # throughout, as another thread may release any of them
            while self._classifiers and self._bytes() > allowed:
                self._classifiers.popitem(last=False)
                released = True
        if released:
            memory.give_back()

    def bytes(self) -> int:
        """Estimated bytes of all that are kept."""
        with self._changing:
            return self._bytes()

    def _bytes(self) -> int:
        return sum(bytes_ for _, bytes_ in self._classifiers.values())

    def names(self) -> tuple[str, ...]:
        """Names of the models that are kept, the least recently used first."""
        with self._changing:
            return tuple(dict.fromkeys(name for name, _, _ in self._classifiers))

    def release(self, name: str | None = None) -> None:
        """Lets go of the model called ``name``, or of all."""
        with self._changing:
            for key in [key for key in self._classifiers if name in (None, key[0])]:
                del self._classifiers[key]
        memory.give_back()


LOADED = Loaded()
"""Those of this process."""


def load(name: str, *, side: int = STUDY_SIDE) -> Classifier:
    """The classifier called ``name`` for study images of ``side`` pixels, loaded once.

    It stays within the memory budget, and is loaded again after a release. Raises
    ``UnknownNameError`` for an unknown name and ``WeightsError`` when its weights are missing or
    damaged, or when it alone would exceed the budget.
    """
    return LOADED.get(REGISTRY[name], side)
