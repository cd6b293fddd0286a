"""What a saved run was to do, planned once more from what it says of itself."""

from __future__ import annotations

from robustness import models
from robustness.base.errors import RunError
from robustness.evaluation.provenance import plugins_of
from robustness.runs.engines import REGISTRY as ENGINES
from robustness.runs.manifest import Manifest
from robustness.runs.planning import Plan, plan


def replan(manifest: Manifest) -> Plan:
    """The plan of the run of ``manifest``: the same source, with the same weights.

    It opens whatever source the manifest names, so it is for those who may read that themselves.
    Raises ``RunError`` for weights that have changed since, and what ``models.require`` and
    ``plan`` raise.
    """
    asked, spec = manifest.dataset, manifest.spec
    if manifest.engine in ENGINES and not ENGINES[manifest.engine].asks_models:
        raise RunError("its predictions came in a table: evaluate that table again.")
    for name, digest in spec.models:
        models.require(models.REGISTRY[name])
        now = models.digest(models.REGISTRY[name])
        if now != digest:
            raise RunError(f"the weights of {name} have changed since, from {digest} to {now}.")
    loaded = {plugin.name for plugin in plugins_of(spec)}
    if missing := [name for name in manifest.plugins if name not in loaded]:
        raise RunError(
            f"it used the plugin {' and '.join(missing)}, which is not loaded here: name it in the "
            "setting plugins, or install it."
        )
    return plan(
        asked.source,
        spec,
        labelling=asked.labelling,
        limit=asked.limit,
        sample=asked.sample,
        batch=manifest.batch,
        race=manifest.race,
    )
