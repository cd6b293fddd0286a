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

TOGETHER = (
    ("tests/ui/browser/",),
    (
        *(
            "tests/ui/live/test_attack.py",
            "tests/attacks/",
            "tests/models/test_heat_map.py",
        ),
        *(
            "tests/ui/test_draw_heat_maps.py",
            "tests/ui/live/test_stories.py",
            "tests/report/test_image_attack.py",
        ),
        *("tests/cli/test_images_attack.py", "tests/cli/test_evaluate.py"),
        *("tests/runs/test_golden_runs.py", "tests/ui/test_inputs_true_class.py"),
    ),
    (
        *(
            "tests/models/test_catalogue_transformers.py",
            "tests/models/test_stages.py",
        ),
        "tests/models/test_sources.py",
    ),
    tuple(f"tests/test_{name}.py" for name in ("documents", "notebooks", "packaging", "readme")),
    (
        *("tests/images/test_decoding.py", "tests/base/test_text.py"),
        "tests/measure/test_condition.py",
    ),
)
"""What shares a dashboard; what asks the offline models for gradients, as the networks of these
take seconds to load and to trace; what imports KerasHub; what installs the wheel; and what imports
Hypothesis."""

LONG = (
    "tests/ui/browser/",
    *TOGETHER[1],
    "tests/models/test_catalogue.py",
    *TOGETHER[2],
    "tests/test_document_blocks.py",
    "tests/runs/test_ray.py",
    "tests/models/test_loaded_memory.py",
    *TOGETHER[3],
    "tests/test_deployment.py",
    "tests/ui/test_models.py",
    "tests/hardening/",
    "tests/matching/test_run.py",
    "tests/models/test_describe.py",
    "tests/ui/test_add.py",
    "tests/ui/evaluations/",
    "tests/ui/test_pages.py",
    "tests/ui/test_session_access.py",
)
"""The longest files come first, so that all processes end at about the same time."""


def shard(path: str) -> str:
    """The group of the test file ``path``, as the tests of one file share fixtures."""
    return next((group[0] for group in TOGETHER if path.startswith(group)), path)


def place(path: str) -> int:
    """The position of the test file ``path`` in the order of the tests."""
    return next((at for at, start in enumerate(LONG) if path.startswith(start)), len(LONG))


def scheduler(config: Any, log: Any) -> Any:
    """Deals out shards to processes as these become free."""
    from xdist.scheduler import LoadScopeScheduling

    class Shards(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shard(nodeid.split("::")[0])

    return Shards(config, log)
