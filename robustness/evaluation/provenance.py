"""The versions of everything, other than the request, that may change a row."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import robustness
from robustness import metrics
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.registry import Registry
from robustness.evaluation.request import Request
from robustness.evaluation.row_schema import own_scores
from robustness.models.run.openvino_and_engine_choice import chosen
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.plugins import Plugin, plugin_of
from robustness.remedies import REGISTRY as REMEDIES

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


def plugins_of(spec: Request) -> list[Plugin]:
    """The plugins that ``spec`` uses, and those whose metrics add columns."""
    used: list[tuple[Registry[Any], str]] = [
        *(
            (PERTURBATIONS, name)
            for condition in spec.conditions
            for name in condition.perturbations
        ),
        *((ATTACKS, attack.name) for condition in spec.conditions for attack in condition.attacks),
        *((metrics.REGISTRY, name) for name in own_scores()),
        *((REMEDIES, remedy.name) for chain in spec.remedies for remedy in chain.remedies),
    ]
    plugins = (plugin_of(registry, name) for registry, name in used)
    return sorted({plugin for plugin in plugins if plugin}, key=lambda plugin: plugin.name)


def plugin_digests(spec: Request) -> dict[str, str]:
    """The digest of each of ``plugins_of`` by its name, for manifests."""
    return {plugin.name: plugin.digest for plugin in plugins_of(spec)}


def provenance_record(spec: Request, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Everything needed to run ``spec`` again: the spec, the images (name, digest), versions."""
    return {
        "spec": spec.as_dict(),
        "spec_digest": spec.digest,
        "pictures": [{"image": name, "digest": digest} for name, digest in pictures],
        "versions": versions(),
        **({"plugins": plugins} if (plugins := plugin_digests(spec)) else {}),
    }
