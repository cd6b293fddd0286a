"""Which plugin each record comes from, and the digest of its code."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
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
    code, or of the description and its files.
    """

    name: str
    digest: str
    shared: bool


_PLUGINS: dict[str, Plugin] = {}
_ORIGINS: dict[tuple[str, str], str] = {}
_LOADING: ContextVar[str] = ContextVar("loading", default="")


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
    token = _LOADING.set(name)
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
    origin = _LOADING.get() or function.__module__
    key = registry.kind, record.name
    if record.name in registry and _ORIGINS.get(key) != origin:
        owner = _ORIGINS.get(key)
        by = f"by the plugin {owner}" if owner else "by a built-in one"
        raise PluginError(
            f"The {registry.kind} {record.name!r} needs another name: this one is taken {by}."
        )
    registry.exchange([record.name], [record])
    _ORIGINS[key] = origin
    if not _LOADING.get() and origin not in _PLUGINS:
        _PLUGINS[origin] = Plugin(origin, _digest_of(function), shared=False)


def forget(plugin: str, registries: Iterable[Registry[Any]]) -> None:
    """Remove the plugin called ``plugin`` and its records."""
    gone = records_of(plugin)
    for registry in registries:
        registry.exchange([name for kind, name in gone if kind == registry.kind], [])
    for record in gone:
        del _ORIGINS[record]
    _PLUGINS.pop(plugin, None)


def _digest_of(function: Callable[..., Any]) -> str:
    """The digest of the file of ``function``; of its bytecode where it has no file."""
    try:
        return digest([Path(inspect.getsourcefile(function) or "")])
    except (TypeError, OSError):
        code = function.__code__
        return hashlib.sha256(repr((code.co_code, code.co_consts)).encode()).hexdigest()


def digest(files: Iterable[Path]) -> str:
    """The SHA-256 over names and contents of ``files``."""
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(f"{file.name}\0".encode() + file.read_bytes())
    return found.hexdigest()
