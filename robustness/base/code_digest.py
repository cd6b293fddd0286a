"""The digest of the code that computes something, for the keys of what is stored of it.

A stored result outlives the code that made it. Its key therefore has the digest of the module that
computes it and of every module of this package that this one imports, however far down. Nothing is
listed, so a module that is renamed, moved or added cannot be left out.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from functools import cache

import robustness

_PACKAGE = __name__.partition(".")[0]

_FROM = re.compile(
    rf"^[ \t]*from[ \t]+({_PACKAGE}[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE
)
_IMPORT = re.compile(rf"^[ \t]*import[ \t]+({_PACKAGE}\.[^\n]*)", re.MULTILINE)
_NAME = re.compile(r"[\w.]+")
_FULL_NAME = re.compile(rf"\"({_PACKAGE}\.[\w.]+)\"")
_SHORT_NAME = re.compile(r"\"(\w+)\"")
_BY_NAME = "import_module"


@cache
def code_digest(module: str) -> str:
    """The SHA-256 of the source of ``module`` and of all that it imports of this package.

    ``module`` is a full name, as ``__name__`` gives it. Imports inside functions count, and so do
    modules whose names are strings: those of processes that a module starts, and those that a
    package imports in a loop. Raises ``ModuleNotFoundError`` where there is no such module.
    """
    files = _module_files()
    if module not in files:
        raise ModuleNotFoundError(
            f"Expected a module of {_PACKAGE} whose code is part of a key, got {module!r}. "
            "Name the module that computes what is stored."
        )
    digest = hashlib.sha256()
    for name in sorted(_closure(module, files)):
        source = _source(files[name])
        digest.update(f"{name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


def imported_modules(module: str) -> frozenset[str]:
    """``module`` and the modules of this package that it imports, directly or not."""
    return frozenset(_closure(module, _module_files()))


def _closure(module: str, files: dict[str, str]) -> set[str]:
    found = {module}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for other in _imports(name, files[name]):
            if other in files and other not in found:
                found.add(other)
                waiting.append(other)
    return found


@cache
def _imports(module: str, file: str) -> frozenset[str]:
    return frozenset(_named_modules(module, file))


def _named_modules(module: str, file: str) -> Iterator[str]:
    """Names of modules that ``module`` may import; some are those of no module.

    The package itself imports its Python interface when a name of that is used, and with it nearly
    everything: this is the road of no result.
    """
    if module == _PACKAGE:
        return
    text = _source(file).decode("utf-8")
    yield from _parents(module)
    for match in _FROM.finditer(text):
        package, names = match.groups()
        yield package
        yield from _parents(package)
        for name in _NAME.findall(names):
            yield f"{package}.{name}"
    for match in _IMPORT.finditer(text):
        for name in _NAME.findall(match.group(1)):
            yield name
            yield from _parents(name)
    yield from _FULL_NAME.findall(text)
    if _BY_NAME in text:
        for name in _SHORT_NAME.findall(text):
            yield f"{module}.{name}"


def _parents(module: str) -> Iterator[str]:
    """The packages around ``module``, whose code runs when it is imported."""
    parent = module.rpartition(".")[0]
    while parent:
        yield parent
        parent = parent.rpartition(".")[0]


@cache
def _module_files() -> dict[str, str]:
    """{name: path} of every module of this package."""
    root = os.path.dirname(robustness.__file__)
    files = {}
    for folder, _, names in os.walk(root):
        package = (_PACKAGE + folder.removeprefix(root)).replace(os.sep, ".")
        for name in names:
            stem, ending = os.path.splitext(name)
            if ending == ".py":
                module = package if stem == "__init__" else f"{package}.{stem}"
                files[module] = os.path.join(folder, name)
    return files


@cache
def _source(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()
