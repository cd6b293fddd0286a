"""Which plugin each record comes from, and the digest of its code."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from robustness.base.errors import PluginError
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


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Records added inside are those of the plugin ``name``."""
    token = _LOADING.set((name, set()))
    try:
        yield
    finally:
        _LOADING.reset(token)


def note(plugin: Plugin, module: str = "") -> None:
    """Add ``plugin``; records that its ``module`` added before are its own, too."""
    _PLUGINS[plugin.name] = plugin
    if module and module != plugin.name:
        _PLUGINS.pop(module, None)
    for record, origin in _ORIGINS.items():
        if module and (origin == module or origin.startswith(f"{module}.")):
            _ORIGINS[record] = plugin.name


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
