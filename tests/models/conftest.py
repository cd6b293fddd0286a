"""Model files are inspected by one process for all tests of a module."""

from tests.support.shared_examiner import ended, one_process

__all__ = ["ended", "one_process"]
