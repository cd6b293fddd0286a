"""What an engine is, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from robustness.base.registry import Registry
from robustness.runs.engines.chunks import Chunk, Job


@dataclass(frozen=True)
class Engine:
    """Evaluates chunks of a job somewhere.

    ``run(job, numbers, address)`` yields None once its models are loaded, then one ``Chunk`` for
    each of ``numbers``, in any order, each once. Closing the iterator stops the work. ``address``
    says where a cluster is; an engine without one ignores it. ``label`` is what people read.
    ``require()`` raises ``ParameterError`` where the engine cannot be used on this machine.
    """

    name: str
    label: str
    run: Callable[[Job, Sequence[int], str | None], Iterator[Chunk | None]]
    require: Callable[[], object] = lambda: None


REGISTRY: Registry[Engine] = Registry("engine")
