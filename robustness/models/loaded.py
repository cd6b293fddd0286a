"""The classifiers that are loaded: each is built once and shared, within a budget of memory.

``run_parallel`` has several of them predict at once, as small passes leave cores idle.
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
from typing import NamedTuple, TypeVar

from robustness.base import memory, settings
from robustness.base.errors import GradientError, RobustnessError, WeightsError
from robustness.base.text import in_bytes
from robustness.images.framing import STUDY_SIDE
from robustness.models.classifier import Classifier
from robustness.models.conversion import graph_pass, place, use_of
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
from robustness.models.zero_shot import convert

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
    """The bytes that loaded models may take.

    The setting ``memory``, by default half of the memory of the machine, or of the container
    around this process. Raises ``ParameterError`` for a setting that is not a size.
    """
    setting = settings.value(settings.MEMORY)
    if setting is not None:
        return setting
    memory_sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such limit, or "max"
            memory_sizes.append(int(limit.read_text()))
    return min(memory_sizes) // 2


def needed(record: ModelRecord) -> int:
    """The bytes that the loaded model will take, estimated from its weights."""
    weight_bytes = size(record) or 0
    return int(1.1 * weight_bytes) + GRAPH_BYTES


def give_back(*, garbage: bool = True) -> None:
    """Return unused memory to the system, such as that of released models and of loading.

    Collecting the ``garbage`` that TensorFlow's networks leave takes up to a third of a second.
    """
    if garbage:
        gc.collect()
    memory.give_back()


class _Key(NamedTuple):
    """What distinguishes loaded classifiers; ``weights`` is their digest."""

    name: str
    side: int
    weights: str
    choice: Choice


class Loaded:
    """The loaded classifiers, within a budget of memory. Several threads may use it at once.

    If the budget is full, the least recently used classifiers are released. A caller that still
    holds one of them can go on using it.
    """

    def __init__(self) -> None:
        self._changing = threading.Condition()
        self._classifiers: OrderedDict[_Key, Classifier] = OrderedDict()
        self._bytes: dict[_Key, int] = {}
        self._peaks_of_loading: dict[_Key, int] = {}

    def get(self, record: ModelRecord, side: int, choice: Choice | None = None) -> Classifier:
        """The classifier of ``record`` for images of ``side`` pixels, loaded if it is not yet.

        ``choice`` is the engine; by default the settings choose it. A calibrated classifier is kept
        with that of its base, and is not counted in the budget. Raises ``WeightsError`` if the
        weights are missing or damaged, or if the model alone would exceed the budget.
        """
        if record.base:
            return self.get(record.base, side, choice).calibrated(record)
        try:
            key = _Key(record.name, side, digest(record), choice or chosen())
        except OSError as error:
            raise WeightsError(state(record).reason) from error
        with self._changing:
            classifier = self._touch(key)
        if classifier is not None:
            return classifier
        # Checked here, as a graph that was converted before is loaded without reading the weights.
        require(record)
        with self._reserved_memory(key, record) as classifier:
            if classifier is not None:
                return classifier
            classifier = self._built(key, record)
            with self._changing:
                self._classifiers[key] = classifier
                self._bytes[key] = needed(record)
        return classifier

    def _built(self, key: _Key, record: ModelRecord) -> Classifier:
        file = record.weights.own
        if file and file.call:
            return self._built_of_code(key, record, file, file.call)
        write = build_and_write if record.weights.read else convert
        openvino_pass = graph_pass(
            record,
            key.weights,
            key.side,
            key.choice.precision,
            partial(write, record, key.side),
        )
        forward = native_pass(record, use_of(record, key.side), openvino_pass)
        if key.choice.engine == TENSORFLOW and isinstance(forward, OpenVinoPass):
            with suppress(GradientError):  # TensorFlow lacks an operation of its graph
                forward = ReplayedPass(forward.model, forward.stages, record.label)
        give_back(garbage=False)

        def network() -> Network:
            return self._load_network(key, record, forward)

        return Classifier(record, forward, network, key.side, _classifier_key(key, record, forward))

    def _built_of_code(
        self, key: _Key, record: ModelRecord, file: UserFile, call: PythonCall
    ) -> Classifier:
        """The classifier of a model in Python: of the graph it is exported to, or of its calls."""
        kind = file.kind
        if call.reference:
            model = open_reference(record, file.path, call)

            def load(exported: ModelRecord) -> Classifier:
                exported_key = key._replace(name=exported.name, weights=digest(exported))
                return self._built(exported_key, exported)

            built = as_graph(record, model, load)
            if isinstance(built, Classifier):
                return built
            kind = model.kind
            call = replace(call, ask=model.ask, limit=built)
        forward = FunctionPass(record, kind, call, key.side)
        if call.reference:  # an object of this process was tried when it was added
            forward.warn_if_unsteady()

        def network() -> Network:
            return forward.network(record.label)

        return Classifier(record, forward, network, key.side, _classifier_key(key, record, forward))

    def _load_network(self, key: _Key, record: ModelRecord, forward: ForwardPass) -> Network:
        """Make the network of a loaded classifier in TensorFlow's graph, and count its memory."""
        network_bytes = needed(record)
        with self._changing:
            classifier = self._classifiers.get(key)
            if classifier is not None:
                self._classifiers.move_to_end(key)
                self._release_until(budget() - WHILE_LOADING * network_bytes, but=key)
                self._bytes[key] += network_bytes
        try:
            return forward.network(record.label)
        except BaseException:
            with self._changing:
                # It may have been released meanwhile, or released and loaded again.
                if classifier is not None and self._classifiers.get(key) is classifier:
                    self._bytes[key] -= network_bytes
            raise

    def _touch(self, key: _Key) -> Classifier | None:
        """The classifier of ``key``, if it is loaded, as the most recently used."""
        if key not in self._classifiers:
            return None
        self._classifiers.move_to_end(key)
        return self._classifiers[key]

    @contextmanager
    def _reserved_memory(self, key: _Key, record: ModelRecord) -> Iterator[Classifier | None]:
        """A context within which the memory to load a model is reserved; waits for it.

        Yields the classifier if another thread has loaded it by then, so that two threads that ask
        for a model at once build it once. Several models are loaded at once if the budget allows.
        """
        model_bytes = needed(record)
        allowed = budget()
        if model_bytes > allowed:
            raise WeightsError(
                f"{record.name} takes about {in_bytes(model_bytes)} of memory, and loaded models "
                f"may take {in_bytes(allowed)}: raise the setting 'memory' (ROBUSTNESS_MEMORY)."
            )
        peak = WHILE_LOADING * model_bytes

        def may_load() -> bool:
            if key in self._peaks_of_loading:
                return False
            # A model that is loaded alone may exceed the budget for a moment.
            return (
                not self._peaks_of_loading or sum(self._peaks_of_loading.values()) + peak <= allowed
            )

        with self._changing:
            self._changing.wait_for(may_load)
            classifier = self._touch(key)
            if classifier is None:
                self._peaks_of_loading[key] = peak
                self._release_until(allowed - sum(self._peaks_of_loading.values()))
        try:
            yield classifier
        finally:
            if classifier is None:
                with self._changing:
                    del self._peaks_of_loading[key]
                    self._changing.notify_all()

    def _release_until(self, allowed: int, but: _Key | None = None) -> None:
        """Release the least recently used classifiers, ``but`` one, down to ``allowed`` bytes."""
        excess = sum(self._bytes.values()) - allowed
        released_keys = []
        for key in self._classifiers:
            if excess <= 0:
                break
            if key != but:
                excess -= self._bytes[key]
                released_keys.append(key)
        self._forget(released_keys)

    def _forget(self, keys: Sequence[_Key]) -> None:
        for key in keys:
            del self._classifiers[key]
            del self._bytes[key]
        if keys:
            give_back()

    def bytes(self) -> int:
        """The estimated bytes of all loaded classifiers."""
        with self._changing:
            return sum(self._bytes.values())

    def names(self) -> tuple[str, ...]:
        """The names of the loaded models, the least recently used first."""
        with self._changing:
            return tuple(dict.fromkeys(key.name for key in self._classifiers))

    def release(self, name: str | None = None) -> None:
        """Release the classifiers of the model called ``name``, by default all."""
        with self._changing:
            self._forget([key for key in self._classifiers if name in (None, key.name)])


def _classifier_key(key: _Key, record: ModelRecord, forward: ForwardPass) -> str:
    """The ``key`` of a ``Classifier``, which is equal in other processes too."""
    return f"{place(record, key.weights, key.side).stem}-{forward.engine}"


LOADED = Loaded()
"""The loaded models of this process."""


def load(name: str, *, side: int = STUDY_SIDE) -> Classifier:
    """The classifier of the model called ``name`` for study images of ``side`` pixels.

    It is loaded on the first call, and again after it was released for others. Raises
    ``UnknownNameError`` for an unknown name, ``WeightsError`` if the weights are missing or
    damaged, or if the model alone would exceed the memory budget, and ``ParameterError`` for an
    invalid setting of the engine.
    """
    return LOADED.get(REGISTRY[name], side)


def run_parallel(
    names: Sequence[str], ask: Callable[[str], Answer]
) -> Generator[tuple[str, Answer | RobustnessError]]:
    """Call ``ask(name)`` for each of the models ``names``; yield name and result as they finish.

    A ``RobustnessError`` is yielded in place of the result; other errors are raised.

    The calls start at once, whether or not the caller iterates: as many as there are cores, each
    on one core, or one after another on all cores if the memory budget does not hold all models.
    Measured on two cores, for one image and the four bundled models: 34 ms; each on all cores at
    the same time 40 ms; one after another 42 ms. If all models are loaded, the largest start first,
    so that no core is idle at the end. Closing the iterator drops the calls that have not started.
    """
    sizes = {name: needed(REGISTRY[name]) for name in names}
    core_count = os.cpu_count() or 1
    worker_count = 1
    if sum(sizes.values()) <= budget():
        worker_count = max(1, min(len(names), core_count))
    all_cores_busy = worker_count == core_count and core_count > 1
    if set(names) <= set(LOADED.names()):
        names = sorted(names, key=lambda name: sizes[name], reverse=True)
    pool = ThreadPoolExecutor(
        worker_count,
        thread_name_prefix="ask",
        initializer=PARALLEL_MODELS.set,
        initargs=(all_cores_busy,),
    )
    # Outside of the generator, whose code does not run before the caller iterates.
    futures = {pool.submit(ask, name): name for name in names}

    def results() -> Generator[tuple[str, Answer | RobustnessError]]:
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is None:
                    yield futures[future], future.result()
                elif isinstance(error, RobustnessError):
                    yield futures[future], error
                else:
                    raise error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return results()
