"""Modules that are slow to import, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """A module that is imported once something of it is asked for, and not by pytest's look."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith(("__", "_mock", "_pytest", "pytest")):
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
