"""The models, as data. Adding one is adding a record to one of these files."""

from robustness.models.catalogue import study, offline, modern  # noqa: I001  (their order of registration)

__all__ = ["modern", "offline", "study"]
