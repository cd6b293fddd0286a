"""Loads the plugins that the settings and the installed packages name.

The setting ``plugins`` lists Python files; an installed package names its module by the entry point
``robustness.plugins``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Collection
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from robustness.base import settings
from robustness.base.errors import PluginError, RobustnessError
from robustness.plugins.origins import INTERFACE, VARIABLE, Plugin, digest, forget, loading, note

GROUP = "robustness.plugins"
"""The group of entry points."""

_LOADED: dict[str, str] = {}
"""Loaded plugins: their names by the path or the module."""

_LOCK = threading.RLock()
_BUSY = False


def load() -> None:
    """Load the plugins that are named and not yet loaded; remove those no longer named.

    Raises ``PluginError`` for one that cannot be loaded.
    """
    global _BUSY
    with _LOCK:
        if _BUSY:  # called by a plugin that is being loaded
            return
        _BUSY = True
        try:
            named = _named()
            for text in [text for text in _LOADED if text not in named]:
                forget(_LOADED.pop(text))
                _drop(_module(text), retained=())
            for text in named:
                if text not in _LOADED:
                    _LOADED[text] = load_one(text)
        finally:
            _BUSY = False


def _named() -> tuple[str, ...]:
    files = [str(file) for file in settings.value(settings.PLUGINS) or ()]
    for file in files:
        if not file.endswith(".py"):
            raise PluginError(
                f"Expected the paths of .py files in the setting plugins, got {Path(file).name!r}. "
                f"An installed package names its module by the entry point {GROUP}."
            )
    return tuple(dict.fromkeys([*files, *_entry_points()]))


@cache
def _entry_points() -> tuple[str, ...]:
    return tuple(point.module for point in entry_points(group=GROUP))


def load_one(text: str) -> str:
    """Load the Python file or module ``text``; returns the name of the plugin.

    Raises ``PluginError`` if it cannot be loaded; it has then added nothing.
    """
    path = Path(text)
    name = path.name if path.suffix == ".py" else text
    for other in (Path(text) for text, loaded_name in _LOADED.items() if loaded_name == name):
        if other.resolve() != path.resolve():
            raise PluginError(
                f"The plugin {path} needs another file name: {other} has the same. Rename one."
            )
    before = set(sys.modules)
    try:
        with loading(name):
            loaded = _imported(text, path)
            version = getattr(loaded, VARIABLE, None)
            if version is None:
                raise PluginError(
                    f"it names no version of the interface. Add the line {VARIABLE} = {INTERFACE}."
                )
            if version != INTERFACE:
                raise PluginError(
                    f"expected the interface {INTERFACE}, got {version!r}. Use a version of {name} "
                    "for this interface."
                )
        file = Path(loaded.__file__ or "")
        files = file.parent.rglob("*.py") if loaded.__package__ else [file]
        note(Plugin(name, digest(files), shared=True), loaded.__name__)
    except BaseException as error:
        forget(name)
        _drop(_module(text), retained=before)
        if isinstance(error, RobustnessError):
            raise PluginError(f"The plugin {name} cannot be loaded: {error}") from error
        if isinstance(error, Exception | SystemExit):
            reason = f"{type(error).__name__}: {error}".rstrip(".")
            raise PluginError(
                f"The plugin {name} cannot be loaded ({reason}). Correct it, or remove it from the "
                "setting plugins."
            ) from error
        raise
    return name


def _module(text: str) -> str:
    """The name under which Python knows the module of the plugin ``text``."""
    return f"robustness_plugin_{Path(text).stem}" if text.endswith(".py") else text


def _drop(module: str, retained: Collection[str]) -> None:
    """Make the next import of ``module`` reload it, unless it is in ``retained``."""
    for imported in [n for n in sys.modules if n == module or n.startswith(f"{module}.")]:
        if imported not in retained:
            del sys.modules[imported]


def _imported(text: str, path: Path) -> ModuleType:
    name = _module(text)
    if path.suffix != ".py":
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
