"""Measures how robust image classifiers are to real-world perturbations.

The names of ``robustness.api`` are names here, too; they are imported when first asked for.
"""

from importlib import import_module
from typing import Any

__version__ = "0.8.0"

_PACKAGES = {"report"}
"""Names that are packages of ours: the function is ``run.report`` and ``api.report``."""


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        api = import_module("robustness.api")
        if name in api.__all__ and name not in _PACKAGES:
            return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module("robustness.api").__all__} - _PACKAGES)
