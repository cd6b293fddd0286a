"""How the tests are dealt out to processes, three of which keep two cores busy.

The journeys wait for a browser half of the time. The others give way to them, as one process has
all the journeys and would be the last to end."""

from __future__ import annotations

from typing import Any

SHARDS = 3
GIVE_WAY = 5
"""By how much the priority of what is no journey is lower."""
ONE_CORE = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that keep a process to a core: threads of two that share two cores are in the way."""

LONG = (
    "tests/ui/browser/",
    "tests/models/test_keras_models.py",
    "tests/ui/test_adversarial_page.py",
    "tests/models/test_transformers.py",
    "tests/runs/test_ray_engine.py",
    "tests/attacks/",
    "tests/models/test_memory.py",
)
"""What takes longest comes first, so that all processes end at about the same time."""


def shard(path: str) -> str:
    """What stays together with the test file ``path``: the journeys share a dashboard, and the
    tests of one file their fixtures."""
    return LONG[0] if path.startswith(LONG[0]) else path


def place(path: str) -> int:
    """Where the test file ``path`` comes in the order of the tests."""
    return next((at for at, start in enumerate(LONG) if path.startswith(start)), len(LONG))


def scheduler(config: Any, log: Any) -> Any:
    """Deals out shards to processes as these become free."""
    from xdist.scheduler import LoadScopeScheduling

    class Shards(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shard(nodeid.split("::")[0])

    return Shards(config, log)
