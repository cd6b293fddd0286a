"""The engine of a Ray cluster: Ray Data hands chunks to one stateful actor on every machine."""

from __future__ import annotations

import logging
import math
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from robustness.base.errors import ParameterError, RobustnessError, RunError
from robustness.base.processes import environment
from robustness.measure.rows import plugins_of
from robustness.models.record import require_described
from robustness.runs.engines import REGISTRY, Chunk, Engine, Workload
from robustness.runs.engines import chunks as local_chunks

_MAX_GROUP = 16
"""Chunks that go to a worker together, at most."""

_ROUNDS = 20
"""Groups that each worker gets at least, where there are chunks enough."""

_MOST_GROUPS = 2**13
"""Ray keeps about 9 kB in the driver for each group: more would grow with the dataset."""

_RETRIES = 2
"""How often work whose worker ended is given to another: machines fail, but some images kill."""

_MOST_DEADLY = 20
"""Groups that may kill every worker before something other than an image must be at fault."""

_DEADLY = "{} ended every process that worked on it: save it again with another program."


class RayWorker:
    """Lives in a process of the cluster; keeps its models between chunks."""

    def __init__(self, work: Workload, folder: str) -> None:
        from robustness import plugins
        from robustness.models import own

        # Relative paths, such as that of models.toml, mean here what they mean in ``folder``.
        if Path(folder).is_dir():
            os.chdir(folder)
        plugins.load()
        own.refresh()
        self._work = work

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The chunks numbered ``batch["item"]``, pickled, or the error that stopped them."""
        results: list[Chunk | RunError] = []
        try:
            for chunk in local_chunks(self._work, batch["item"].tolist()):
                if chunk is not None:  # None says that the models are loaded
                    results.append(chunk)
        # Errors are results: Ray would wrap them in pages of its own, or take an error of another
        # kind for an image that ends its worker.
        except RobustnessError as error:
            results = [RunError(f"A worker of the cluster stopped: {error}")]
        except Exception as error:
            kind = type(error).__name__
            results = [RunError(f"A worker of the cluster stopped ({kind}: {error}).")]
        return {"result": [pickle.dumps(result) for result in results]}


def chunks(work: Workload, numbers: Sequence[int], address: str | None) -> Iterator[Chunk | None]:
    """Yields None when the cluster is there, then the chunks of ``work`` as they are done.

    ``address`` is that of a running cluster; without one, a cluster of this machine alone is
    started and ended. A chunk whose worker dies is done by another, and comes once; an image that
    ends every worker is unreadable. Raises ``ParameterError`` without Ray or without the cluster,
    ``RunError`` when it breaks down.
    """
    require_described(work.spec.model_names, "a Ray cluster")
    for plugin in plugins_of(work.spec, work.dataset.source):
        if not plugin.shared:
            raise ParameterError(
                f"A Ray cluster cannot use the plugin {plugin.name}, which only this process has: "
                "save it as a file, and name that in the setting plugins."
            )
    ray = _ray()
    _connect(ray, address)
    try:
        yield None
        missing = yield from _evaluated(ray, work, numbers)
        if missing:
            safe_work = _without_deadly(ray, work, missing)
            missing = yield from _evaluated(ray, safe_work, missing)
        if missing:
            positions = work.positions(missing[0])
            first = work.dataset.entries[positions[0]].name
            last = work.dataset.entries[positions[-1]].name
            raise RunError(
                f"Every worker of the cluster ended over the images {first} to {last}, though none "
                "of them does that alone: give the workers more memory, or take fewer images at "
                "once."
            )
    except ray.exceptions.RayError as error:
        raise RunError(
            f"The cluster broke down ({type(error).__name__}): finished work is saved; continue "
            "the run.",
            hint="The command 'runs resume' with --engine ray does.",
        ) from error
    finally:
        ray.shutdown()


def _ray() -> Any:
    """The module ``ray``; raises ``ParameterError`` where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ParameterError(
            "The engine 'ray' needs Ray: run 'pip install -r requirements-ray.txt'."
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Connects to the cluster at ``address``, or starts one; raises ``ParameterError``."""
    os.environ.update(environment())  # for workers started here
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ParameterError(
            f"There is no Ray cluster at {address!r}: expected HOST:PORT of a running one, or no "
            "address.",
            hint="'ray start --head' starts one.",
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = _MOST_DEADLY
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _evaluated(
    ray: Any, work: Workload, numbers: Sequence[int]
) -> Generator[Chunk, None, list[int]]:
    """The chunks ``numbers`` as they are done, each once; returns those that ended every worker."""
    numbers_done: set[int] = set()
    for batch in _stream(ray, work, numbers):
        for row in batch.to_pylist():
            # It comes from our own workers: Ray unpickles whatever else they send before we see it.
            result = pickle.loads(row["result"])
            if isinstance(result, RunError):
                raise result
            if result.number not in numbers_done:  # work that was given to two workers comes twice
                numbers_done.add(result.number)
                yield result
    return [number for number in numbers if number not in numbers_done]


def _without_deadly(ray: Any, work: Workload, numbers: Sequence[int]) -> Workload:
    """``work`` with those images of the chunks ``numbers`` refused that end a worker alone."""
    positions: list[int] = []
    for number in numbers:
        positions += work.positions(number)
    deadly = _deadly_positions(ray, work, positions)
    entries = list(work.dataset.entries)
    for position in deadly:
        entry = entries[position]
        entries[position] = replace(entry, refused=_DEADLY.format(entry.name))
    dataset = copy(work.dataset)
    dataset.entries = tuple(entries)
    return replace(work, dataset=dataset)


def _deadly_positions(ray: Any, work: Workload, positions: Sequence[int]) -> list[int]:
    """Those of ``positions`` in the dataset whose image ends every worker alone."""
    # With one image a chunk, the number of a chunk is the position of its image.
    trial = _evaluated(ray, replace(work, batch=1), positions)
    while True:
        try:
            next(trial)  # the chunk is not kept: its images are evaluated again with their others
        except StopIteration as end:
            deadly: list[int] = end.value
            return deadly


def _stream(ray: Any, work: Workload, numbers: Sequence[int]) -> Iterator[pa.Table]:
    """Tables of the results of a ``RayWorker`` for the chunks ``numbers``, in any order."""
    cores = _cores_by_machine(ray)
    worker_count = max(1, min(len(cores), len(numbers)))
    group_size = min(_MAX_GROUP, max(1, len(numbers) // (worker_count * _ROUNDS)))
    group_size = max(group_size, math.ceil(len(numbers) / _MOST_GROUPS))
    group_count = math.ceil(len(numbers) / group_size)
    # Nothing waits behind an image alone: what waits on a worker that ends counts as tried.
    tasks_in_flight = 1 if work.batch == 1 else 2
    items = ray.data.from_items(list(numbers), override_num_blocks=group_count)
    results = items.map_batches(
        RayWorker,
        fn_constructor_args=(work, os.getcwd()),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(
            size=worker_count, max_tasks_in_flight_per_actor=tasks_in_flight
        ),
        # A worker that ended is there again; its work is not begun without end. Until Ray 2.64,
        # which names no other way to limit retries: hence the bound in requirements-ray.in.
        ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": _RETRIES},
        # Something stays free on every machine: actors that take all of it leave none for others.
        num_cpus=max(0.5, min(cores, default=1) - 1),
    )
    yield from results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)


def _cores_by_machine(ray: Any) -> list[int]:
    """The number of cores of each machine that takes work; a head may have none."""
    cores = []
    for node in ray.nodes():
        count = int(node["Resources"].get("CPU", 0))
        if node["Alive"] and count > 0:
            cores.append(count)
    return cores


REGISTRY.add(Engine(name="ray", label="a Ray cluster", run=chunks, require=_ray))
