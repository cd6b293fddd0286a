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

    ``module`` is a full name, as ``__name__`` gives it. Raises ``ModuleNotFoundError`` where there
    is no such module.
    """
    files = _module_files()
    if module not in files:
        raise ModuleNotFoundError(
            f"Expected a module of {_PACKAGE} whose code is part of a key, got {module!r}. "
            "Name the module that computes what is stored."
        )
    digest = hashlib.sha256()
    for name in sorted(imported_modules(module)):
        source = _source(files[name])
        digest.update(f"{name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


def imported_modules(module: str) -> frozenset[str]:
    """``module`` and the modules of this package that it imports, directly or not.

    Imports inside functions count, and so do modules whose names are strings: those of processes
    that a module starts, and those that a package imports in a loop.
    """
    files = _module_files()
    reached = {module}
    waiting = [module]
    while waiting:
        importer = waiting.pop()
        for imported in _possible_imports(importer, files[importer]):
            if imported in files and imported not in reached:
                reached.add(imported)
                waiting.append(imported)
    return frozenset(reached)


@cache
def _possible_imports(module: str, file: str) -> frozenset[str]:
    """Names that ``module`` may import; those that are no modules are left to the caller."""
    if module == _PACKAGE:
        # The package imports its Python interface when a name of that is used, and with it nearly
        # everything: no stored result is computed that way.
        return frozenset()
    source = _source(file).decode("utf-8")
    imported = set(_parent_packages(module))
    for package, names in _FROM.findall(source):
        imported.add(package)
        imported.update(_parent_packages(package))
        for name in _NAME.findall(names):
            imported.add(f"{package}.{name}")
    for names in _IMPORT.findall(source):
        for name in _NAME.findall(names):
            imported.add(name)
            imported.update(_parent_packages(name))
    imported.update(_FULL_NAME.findall(source))
    if _BY_NAME in source:
        for name in _SHORT_NAME.findall(source):
            imported.add(f"{module}.{name}")
    return frozenset(imported)


def _parent_packages(module: str) -> Iterator[str]:
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
            if ending != ".py":
                continue
            module = f"{package}.{stem}"
            if stem == "__init__":
                module = package
            files[module] = os.path.join(folder, name)
    return files


@cache
def _source(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read()
