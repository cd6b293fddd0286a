"""Checks of foreign runs share a process."""

from tests.support.shared_examiner import ended, one_process

__all__ = ["ended", "one_process"]
