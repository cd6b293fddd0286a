"""The plugins: which the settings and installed packages name, what each adds, its code's digest.

The setting ``plugins`` lists Python files; an installed package names its module by the entry point
``robustness.plugins``.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from robustness.base import settings
from robustness.base.errors import PluginError, RobustnessError
from robustness.base.registry import Registry

INTERFACE = 1
"""The version of the interface that plugins are written for."""

VARIABLE = "ROBUSTNESS_INTERFACE"
"""The variable in which a plugin's module names that version."""


@dataclass(frozen=True)
class Plugin:
    """A source of records. ``shared``: the settings or an entry point name it.

    Other processes, such as a job's, load shared plugins only. ``digest`` is the SHA-256 of the
    code.
    """

    name: str
    digest: str
    shared: bool


_PLUGINS: dict[str, Plugin] = {}
_ORIGINS: dict[tuple[str, str], str] = {}
_REGISTRIES: dict[str, Registry[Any]] = {}
"""By their kind, those that a plugin has added to."""
_LOADING: ContextVar[tuple[str, set[tuple[str, str]]] | None] = ContextVar("loading", default=None)
"""The name of the plugin that is being loaded, and (kind, name) of what it has added so far."""


def plugins() -> list[Plugin]:
    """The plugins that have added records to this process."""
    return list(_PLUGINS.values())


def plugin_of(registry: Registry[Any], name: str) -> Plugin | None:
    """The plugin that added the record ``name``; None for a built-in one."""
    return _PLUGINS.get(_ORIGINS.get((registry.kind, name), ""))


def records_of(plugin: str) -> list[tuple[str, str]]:
    """(kind, name) of the records of the plugin called ``plugin``."""
    return [record for record, origin in _ORIGINS.items() if origin == plugin]


def register(registry: Registry[Any], record: Any, function: Callable[..., Any]) -> None:
    """Add ``record``, made from ``function``.

    A record of the same module is replaced, as when a notebook cell runs again. Raises
    ``PluginError`` if the name is taken.
    """
    loaded, added = _LOADING.get() or ("", set())
    origin = loaded or module_of(function)
    key = registry.kind, record.name
    if key in added:
        raise PluginError(
            f"Two functions add the {registry.kind} {record.name!r}. Rename one of them."
        )
    if record.name in registry and _ORIGINS.get(key) != origin:
        owner = _ORIGINS.get(key)
        by = f"by the plugin {owner}" if owner else "by a built-in one"
        raise PluginError(
            f"The {registry.kind} {record.name!r} needs another name: this one is taken {by}."
        )
    registry.exchange([record.name], [record])
    _REGISTRIES[registry.kind] = registry
    _ORIGINS[key] = origin
    added.add(key)
    if not loaded and origin not in _PLUGINS:
        _PLUGINS[origin] = Plugin(origin, _digest_of(function), shared=False)


def forget(plugin: str) -> None:
    """Remove the plugin called ``plugin`` and its records."""
    gone = records_of(plugin)
    for registry in _REGISTRIES.values():
        registry.exchange([name for kind, name in gone if kind == registry.kind], [])
    for record in gone:
        del _ORIGINS[record]
    _PLUGINS.pop(plugin, None)


def _digest_of(function: Callable[..., Any]) -> str:
    """The digest of the file of ``function``; of its bytecode where it has no file."""
    own = _innermost(function)
    if not (inspect.isroutine(own) or isinstance(own, type)):  # an object that can be called
        own = type(own).__call__
    try:
        return digest([Path(inspect.getsourcefile(own) or "")])
    except (TypeError, OSError):
        code = getattr(own, "__code__", None)
        content = (code.co_code, code.co_consts) if code else own
        return hashlib.sha256(repr(content).encode()).hexdigest()


def _innermost(function: Callable[..., Any]) -> Any:
    """``function`` without the arguments that ``functools.partial`` binds."""
    while isinstance(function, partial):
        function = function.func
    return function


def module_of(function: Callable[..., Any]) -> str:
    """The name of the module of ``function``."""
    return getattr(_innermost(function), "__module__", None) or "builtins"


def digest(files: Iterable[Path]) -> str:
    """The SHA-256 over names and contents of ``files``."""
    sha256 = hashlib.sha256()
    for file in sorted(files):
        sha256.update(f"{file.name}\0".encode() + file.read_bytes())
    return sha256.hexdigest()


# --- loading --------------------------------------------------------------------------------------

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
    token = _LOADING.set((name, set()))
    try:
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
        _PLUGINS[name] = Plugin(name, digest(files), shared=True)
        module = loaded.__name__
        if module != name:
            _PLUGINS.pop(module, None)
        for record, origin in _ORIGINS.items():  # what its module has added before is its own, too
            if origin == module or origin.startswith(f"{module}."):
                _ORIGINS[record] = name
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
    finally:
        _LOADING.reset(token)
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
