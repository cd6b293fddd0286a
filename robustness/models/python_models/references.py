"""Find and import models named as ``module:name``."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from robustness.base.errors import WeightsError
from robustness.models.weights.digests import file_digest

_importing = threading.Lock()
_imported: dict[str, str] = {}
"""The digest of the source of each module when it was imported."""


def source_of(reference: str, folder: Path) -> Path:
    """The file of the module in ``reference``, found without importing anything.

    It is looked for where Python looks, then in ``folder``, where it should be otherwise.
    """
    module = reference.partition(":")[0]
    places = [*sys.path, str(folder)]
    origin = None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            origin = None
            break
        origin, places = spec.origin, list(spec.submodule_search_locations or ())
    if origin is None:
        return folder / Path(*module.split(".")).with_suffix(".py")
    return Path(origin)


@contextmanager
def _last_searched(folder: Path) -> Iterator[None]:
    """Has Python look for modules in ``folder``, too, after everywhere else."""
    place = str(folder)
    if place in sys.path:
        yield
        return
    sys.path.append(place)
    try:
        yield
    finally:
        with suppress(ValueError):  # the module removed it itself
            sys.path.remove(place)


def imported(reference: str, source: Path, folder: Path) -> Any:
    """What ``module:name`` names; the module is imported anew once its ``source`` has changed.

    Raises ``WeightsError`` where that fails.
    """
    module, _, name = reference.partition(":")
    with _importing, _last_searched(folder):
        try:
            now = file_digest(source, "sha256:")
            found: Any = importlib.import_module(module)
            if _imported.get(module, now) != now:
                found = importlib.reload(found)
            _imported[module] = now
        except Exception as error:  # importing may raise anything
            text = " ".join(str(error).split())
            raise WeightsError(
                f"The module {module!r} cannot be imported ({type(error).__name__}: {text})."
            ) from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise WeightsError(f"The module {module!r} has no {name!r}.") from error
    return found
