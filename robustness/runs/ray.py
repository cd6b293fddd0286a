"""The engine of a Ray cluster: Ray Data hands chunks to one stateful actor on every machine."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from robustness.base.errors import ParameterError, RobustnessError, RunError
from robustness.base.workers import environment
from robustness.measure.rows import plugins_of
from robustness.models.record import require_described
from robustness.runs.engines import REGISTRY, Chunk, Engine, Workload
from robustness.runs.engines import chunks as local_chunks

_MAX_GROUP = 16
_ROUNDS = 20
"""Chunks go to a worker in groups of up to 16, small enough that each worker gets 20 of them."""

_MOST_GROUPS = 2**13
"""Ray keeps about 9 kB in the driver for each group: more would grow with the dataset."""

_RETRIES = 2
"""How often work whose worker ended is given to another: machines fail, but some images kill."""

_MOST_DEADLY = 20
"""Groups that may kill every worker before something other than an image must be at fault."""


class RayWorker:
    """Lives in a process of the cluster; keeps its models between chunks."""

    def __init__(self, work: Workload, folder: str) -> None:
        from robustness import plugins
        from robustness.models import own

        if Path(folder).is_dir():  # what is relative there, such as models.toml, is so here
            os.chdir(folder)
        plugins.load()
        own.refresh()
        self._job = work

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The chunks called ``batch["item"]``, pickled, or the error that stopped them."""
        chunks: list[Chunk | RunError]
        try:
            chunks = [c for c in local_chunks(self._job, batch["item"].tolist()) if c is not None]
        except RobustnessError as error:  # Ray would wrap it in pages of its own
            chunks = [RunError(f"A worker of the cluster stopped: {error}")]
        except Exception as error:  # else it would pass for an image that ends its worker
            chunks = [
                RunError(f"A worker of the cluster stopped ({type(error).__name__}: {error}).")
            ]
        return {"found": [pickle.dumps(result) for result in chunks]}


def chunks(work: Workload, numbers: Sequence[int], address: str | None) -> Iterator[Chunk | None]:
    """Yields None when the cluster is there, then the chunks of ``work`` as they are done.

    ``address`` is that of a running cluster; without one, a cluster of this machine alone is
    started and ended. A chunk whose worker dies is done by another, and comes once; an image that
    ends every worker is unreadable. Raises ``ParameterError`` without Ray or without the cluster,
    ``RunError`` when it breaks down.
    """
    require_described(work.spec.model_names, "a Ray cluster")
    for plugin in plugins_of(work.spec):
        if not plugin.shared:
            raise ParameterError(
                f"A Ray cluster cannot use the plugin {plugin.name}, which only this process has: "
                "save it as a file, and name that in the setting plugins."
            )
    ray = _ray()
    _connect(ray, address)
    try:
        yield None
        missing = yield from _done(ray, work, numbers)
        if missing:
            safe = _without_deadly(ray, work, missing)
            missing = yield from _done(ray, safe, missing)
        if missing:
            pictures = [work.dataset.entries[place].name for place in work.positions(missing[0])]
            raise RunError(
                f"Every worker of the cluster ended over the images {pictures[0]} to "
                f"{pictures[-1]}, though none of them does that alone: give the workers more "
                "memory, or take fewer images at once."
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


def _done(ray: Any, work: Workload, numbers: Sequence[int]) -> Generator[Chunk, None, list[int]]:
    """The chunks ``numbers`` as they are done, each once; returns those that ended every worker."""
    numbers_done: set[int] = set()
    for batch in _stream(ray, work, numbers):
        for row in batch.to_pylist():
            # Of our own workers: Ray unpickles whatever else they send before we see it.
            chunk = pickle.loads(row["found"])
            if isinstance(chunk, RunError):
                raise chunk
            if chunk.number not in numbers_done:
                numbers_done.add(chunk.number)
                yield chunk
    return [number for number in numbers if number not in numbers_done]


def _without_deadly(ray: Any, work: Workload, numbers: Sequence[int]) -> Workload:
    """``work`` with those images of the chunks ``numbers`` refused that end a worker alone."""
    places = [place for number in numbers for place in work.positions(number)]
    # With one image a chunk, the number of a chunk is the place of its image.
    trial = _done(ray, replace(work, batch=1), places)
    while True:
        try:
            next(trial)
        except StopIteration as ended:
            deadly = set(ended.value)
            break
    dataset = copy(work.dataset)
    dataset.entries = tuple(
        replace(entry, refused=_DEADLY.format(entry.name)) if place in deadly else entry
        for place, entry in enumerate(work.dataset.entries)
    )
    return replace(work, dataset=dataset)


_DEADLY = "{} ended every process that worked on it: save it again with another program."


def _stream(ray: Any, work: Workload, numbers: Sequence[int]) -> Iterator[pa.Table]:
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    machines = [count for count in cores if count > 0]
    workers = max(1, min(len(machines), len(numbers)))
    group = min(_MAX_GROUP, max(1, len(numbers) // (workers * _ROUNDS)))
    group = max(group, -(-len(numbers) // _MOST_GROUPS))
    # Nothing waits behind an image alone: what waits on a worker that ends counts as tried.
    ahead = 1 if work.batch == 1 else 2
    items = ray.data.from_items(list(numbers), override_num_blocks=-(-len(numbers) // group))
    answered = items.map_batches(
        RayWorker,
        fn_constructor_args=(work, os.getcwd()),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=ahead),
        # A worker that ended is there again; its work is not begun without end. Until Ray 2.64,
        # which names no other way to limit retries: hence the bound in requirements-ray.in.
        ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": _RETRIES},
        # Something stays free on every machine: actors that take all of it leave none for others.
        num_cpus=max(0.5, min(machines, default=1) - 1),
    )
    yield from answered.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)


REGISTRY.add(Engine(name="ray", label="a Ray cluster", run=chunks, require=_ray))
