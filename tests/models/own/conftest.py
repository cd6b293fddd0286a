"""Model files are examined by one process for all tests."""

from tests.support.shared_examiner import ended, one_process

__all__ = ["ended", "one_process"]
