"""Memory that the C library keeps: what is freed and made again costs the system no new pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.support.repository import ROOT
from robustness.base import memory

PAGES_AGAIN = """
import resource, sys
import numpy as np
from robustness.base import memory
for name in sys.argv[2:]:
    getattr(memory, name)()
made = [np.ones(int(sys.argv[1])) for _ in range(4)]
del made
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    made = [np.ones(int(sys.argv[1])) for _ in range(4)]
    del made
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PICTURE = 224 * 224 * 3  # of 8 bytes


def pages_again(size: int, *kept: str) -> int:
    """How many pages the system gives for arrays of ``size`` that were made, and freed, before."""
    run = [sys.executable, "-c", PAGES_AGAIN, str(size), *kept]
    return int(subprocess.run(run, cwd=ROOT, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(memory._glibc() is None, reason="no other C library has these settings")
def test_freed_arrays_are_made_again_of_what_is_there() -> None:
    assert 10 * pages_again(PICTURE, "keep_arrays") < pages_again(PICTURE)
