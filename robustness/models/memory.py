"""Memory of loaded models: the budget, estimates, and its return to the system."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from pathlib import Path

from robustness.base import allocator, settings
from robustness.models.model_record import ModelRecord
from robustness.models.weights.weight_files import size

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


def use_returnable_memory() -> None:
    """Makes TensorFlow use memory that can be returned; called before it starts.

    Its own pool for oneDNN never shrinks: after VGG16 was released, 1.6 GB stayed. The system's
    allocator returns it, but by default maps and unmaps every large activation, which made a pass
    up to three times as slow; kept in one heap until ``give_back``, it is as fast as the pool.
    """
    if allocator.keep_everything():
        os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")


def give_back(*, garbage: bool = True) -> None:
    """Returns unused memory to the system, such as released models and buffers of loading.

    Collecting ``garbage``, which TensorFlow's networks leave, takes up to a third of a second.
    """
    if garbage:
        gc.collect()
    allocator.give_back()
