"""Measures how robust image classifiers are to real-world perturbations.

The names of ``robustness.api`` are names here, too; they are imported when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

__version__ = "0.13.0"

_PACKAGES = {module.name for module in iter_modules(__path__)}
"""These names are packages: ``report`` is, so the function is ``run.report`` and ``api.report``.

``from robustness import models`` asks for the name before it imports the package: were the API
imported for that, it would come in the middle of its own imports."""


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and name not in _PACKAGES:
        api = import_module("robustness.api")
        if name in api.__all__:
            return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    public = set(import_module("robustness.api").__all__)
    return sorted({*globals(), *public} - (public & _PACKAGES))
