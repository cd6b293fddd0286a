"""The loaded classifiers: each built once, shared by all, the least recently used released.

Several can be asked at once: small passes leave cores idle that others can use.
"""

from __future__ import annotations

import gc
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from robustness.base import settings, workers
from robustness.base.errors import GradientError, RobustnessError, WeightsError
from robustness.base.text import in_bytes
from robustness.images.framing import STUDY_SIDE
from robustness.models.classifier import Classifier
from robustness.models.conversion import graph_pass, inspect_and_convert, place, use_of
from robustness.models.engine import (
    PARALLEL_MODELS,
    TENSORFLOW,
    Choice,
    ForwardPass,
    Network,
    chosen,
)
from robustness.models.layers import build_and_write
from robustness.models.passes import OpenVinoPass, native_pass
from robustness.models.python import FunctionPass
from robustness.models.record import REGISTRY, ModelRecord, PythonCall, UserFile
from robustness.models.replay import ReplayedPass
from robustness.models.torch import as_graph, open_reference
from robustness.models.weights import digest, require, size, state

Key = tuple[str, int, str, Choice]
Answer = TypeVar("Answer")

GRAPH_BYTES = 90 * 10**6
"""Memory of a loaded model besides its weights. Measured: 6 (VGG16) to 85 MB (DenseNet121)."""

WHILE_LOADING = 3
"""Peak memory while loading, as a multiple of what stays. Measured: 2.2 GB for VGG16."""

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def budget() -> int:
    """Bytes that loaded models may take: the setting ``memory``, else half of the machine's, or of
    the container around this process.

    Raises ``ParameterError`` for a setting that is no size.
    """
    chosen = settings.value(settings.MEMORY)
    if chosen is not None:
        return chosen
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such limit, or "max"
            sizes.append(int(limit.read_text()))
    return min(sizes) // 2


def needed(record: ModelRecord) -> int:
    """Estimated bytes of the loaded model, from its weights."""
    return int(1.1 * (size(record) or 0)) + GRAPH_BYTES


def give_back(*, garbage: bool = True) -> None:
    """Returns unused memory to the system, such as released models and buffers of loading.

    Collecting ``garbage``, which TensorFlow's networks leave, takes up to a third of a second.
    """
    if garbage:
        gc.collect()
    workers.give_back()


class Loaded:
    """Classifiers by name, side, weights and engine, within a budget of memory; safe in threads.

    One that is released while somebody still holds it lives until they are done.
    """

    def __init__(self) -> None:
        self._changing = threading.Condition()
        self._classifiers: OrderedDict[Key, Classifier] = OrderedDict()
        self._bytes: dict[Key, int] = {}
        self._loading: dict[Key, int] = {}

    def get(self, record: ModelRecord, side: int, choice: Choice | None = None) -> Classifier:
        """The classifier of ``record`` for images of ``side``, built unless it is there.

        By the engine that the settings choose, or by ``choice``. A calibrated one is kept with its
        base, and takes no memory of its own.
        """
        if record.base:
            return self.get(record.base, side, choice).calibrated(record)
        try:
            key = record.name, side, digest(record), choice or chosen()
        except OSError as error:
            raise WeightsError(state(record).reason) from error
        with self._changing:
            if loaded := self._touch(key):
                return loaded
        require(record)  # what is converted already does not read the weights again
        with self._room(key, record) as loaded:
            if loaded:
                return loaded
            classifier = self._built(key, record, side)
            with self._changing:
                self._classifiers[key] = classifier
                self._bytes[key] = needed(record)
        return classifier

    def _built(self, key: Key, record: ModelRecord, side: int) -> Classifier:
        _, _, weights, choice = key
        file = record.weights.own
        if file and file.call:
            return self._built_of_code(key, record, file, file.call)
        write = build_and_write if record.weights.read else inspect_and_convert
        save = partial(write, record, side)
        by_openvino = graph_pass(record, weights, side, choice.precision, save)
        forward = native_pass(record, use_of(record, side), by_openvino)
        if choice.engine == TENSORFLOW and isinstance(forward, OpenVinoPass):
            with suppress(GradientError):  # TensorFlow lacks an operation of its graph
                forward = ReplayedPass(forward.model, forward.stages, record.label)
        give_back(garbage=False)
        name = f"{place(record, weights, side).stem}-{forward.engine}"
        return Classifier(
            record, forward, lambda: self._load_network(key, record, forward), side, name
        )

    def _built_of_code(
        self, key: Key, record: ModelRecord, file: UserFile, call: PythonCall
    ) -> Classifier:
        """The classifier of a model in Python: of the graph it is exported to, or of its calls."""
        _, side, weights, choice = key
        kind = file.kind
        if call.reference:
            model = open_reference(record, file.path, call)

            def load(exported: ModelRecord) -> Classifier:
                own = exported.name, side, digest(exported), choice
                return self._built(own, exported, side)

            built = as_graph(record, model, load)
            if isinstance(built, Classifier):
                return built
            kind = model.kind
            call = replace(call, ask=model.ask, limit=built)
        forward = FunctionPass(record, kind, call, side)
        if call.reference:  # one of this process was tried when it was added
            forward.warn_if_unsteady()
        name = f"{place(record, weights, side).stem}-{forward.engine}"
        return Classifier(record, forward, lambda: forward.network(record.label), side, name)

    def _load_network(self, key: Key, record: ModelRecord, forward: ForwardPass) -> Network:
        """The model in TensorFlow's graph of a classifier that is loaded, counted with it."""
        more = needed(record)
        with self._changing:
            counted = self._classifiers.get(key)
            if counted:
                self._classifiers.move_to_end(key)
                self._release_until(budget() - WHILE_LOADING * more, but=key)
                self._bytes[key] += more
        try:
            return forward.network(record.label)
        except BaseException:
            with self._changing:
                if counted and self._classifiers.get(key) is counted:
                    self._bytes[key] -= more
            raise

    def _touch(self, key: Key) -> Classifier | None:
        if key in self._classifiers:
            self._classifiers.move_to_end(key)
        return self._classifiers.get(key)

    @contextmanager
    def _room(self, key: Key, record: ModelRecord) -> Iterator[Classifier | None]:
        """Waits for memory to load a model, and reserves it within the context.

        Gives the classifier where another thread has loaded it by then: two sessions that ask at
        once build it once. Others load beside it as long as the budget allows.
        """
        stays = needed(record)
        allowed = budget()
        if stays > allowed:
            raise WeightsError(
                f"{record.name} takes about {in_bytes(stays)} of memory, and loaded models may "
                f"take {in_bytes(allowed)}: raise the setting 'memory' (ROBUSTNESS_MEMORY)."
            )
        peak = WHILE_LOADING * stays
        with self._changing:
            self._changing.wait_for(
                lambda: (
                    key not in self._loading
                    and (not self._loading or sum(self._loading.values()) + peak <= allowed)
                )
            )
            classifier = self._touch(key)
            if classifier is None:
                self._loading[key] = peak
                self._release_until(allowed - sum(self._loading.values()))
        try:
            yield classifier
        finally:
            if classifier is None:
                with self._changing:
                    del self._loading[key]
                    self._changing.notify_all()

    def _release_until(self, allowed: int, but: Key | None = None) -> None:
        more = sum(self._bytes.values()) - allowed
        keys = []
        for key in self._classifiers:
            if more > 0 and key != but:
                more -= self._bytes[key]
                keys.append(key)
        self._forget(keys)

    def _forget(self, keys: Sequence[Key]) -> None:
        for key in keys:
            del self._classifiers[key], self._bytes[key]
        if keys:
            give_back()

    def bytes(self) -> int:
        """Estimated bytes of all that are kept."""
        with self._changing:
            return sum(self._bytes.values())

    def names(self) -> tuple[str, ...]:
        """Names of the models that are kept, the least recently used first."""
        with self._changing:
            return tuple(dict.fromkeys(key[0] for key in self._classifiers))

    def release(self, name: str | None = None) -> None:
        """Lets go of the model called ``name``, or of all."""
        with self._changing:
            self._forget([key for key in self._classifiers if name in (None, key[0])])


LOADED = Loaded()
"""The loaded models of this process."""


def load(name: str, *, side: int = STUDY_SIDE) -> Classifier:
    """The classifier called ``name`` for study images of ``side`` pixels, loaded once.

    It stays within the memory budget, and is loaded again after a release. Raises
    ``UnknownNameError`` for an unknown name, ``WeightsError`` when its weights are missing or
    damaged, or when it alone would exceed the budget, and ``ParameterError`` for a setting of the
    engine that means nothing.
    """
    return LOADED.get(REGISTRY[name], side)


def run_parallel(
    names: Sequence[str], ask: Callable[[str], Answer]
) -> Generator[tuple[str, Answer | RobustnessError]]:
    """Yields each of the models ``names`` with ``ask(name)``, or its error, as they finish.

    They start at once, whether or not the caller iterates: as many as there are cores, on one core
    each; or one after another on all cores, if the memory budget does not hold them all. Measured
    on two cores, one image by the four bundled models: 34 ms; each on all cores at the same time
    40 ms; one after another 42 ms. Once all are loaded, the largest start first, so that no core
    is idle at the end. Closing the iterator drops those that have not started.
    """
    sizes = {name: needed(REGISTRY[name]) for name in names}
    cores = os.cpu_count() or 1
    workers = min(len(names), cores) if sum(sizes.values()) <= budget() else 1
    crowded = workers == cores > 1
    if set(names) <= set(LOADED.names()):
        names = sorted(names, key=lambda name: -sizes[name])
    pool = ThreadPoolExecutor(
        max(1, workers), "ask", initializer=PARALLEL_MODELS.set, initargs=(crowded,)
    )
    futures = {pool.submit(ask, name): name for name in names}

    def answers() -> Generator[tuple[str, Answer | RobustnessError]]:
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is not None and not isinstance(error, RobustnessError):
                    raise error
                yield futures[future], error or future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return answers()
