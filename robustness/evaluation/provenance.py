"""The versions of everything, other than the request, that may change a row."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import robustness
from robustness.evaluation.spec import RunSpec
from robustness.models.inference.choice import chosen

ENGINE = "inference engine"
"""The engine of the forward passes, among the versions. Engines, and versions of one engine, agree
within rounding."""


def versions() -> dict[str, str]:
    """The versions of everything that may change a row."""
    packages = ("numpy", "opencv-python-headless", "pillow", "tensorflow", "keras")
    return {
        "robustness": robustness.__version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        ENGINE: str(chosen()),
    }


def manifest(spec: RunSpec, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Everything needed to run ``spec`` again: the spec, the images (name, digest), versions."""
    return {
        "spec": spec.as_dict(),
        "spec_digest": spec.digest,
        "pictures": [{"image": name, "digest": digest} for name, digest in pictures],
        "versions": versions(),
    }
