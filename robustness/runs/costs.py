"""What the models of a run cost on this machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from statistics import median

import numpy as np

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.evaluation.spec import RunSpec
from robustness.models.memory import needed
from robustness.models.selfcheck import latency
from robustness.models.weights.ready import size
from robustness.pictures.eight_bits import from_uint8

Costs = Mapping[str, Mapping[str, float]]


def measured(spec: RunSpec, *, here: bool) -> Costs:
    """Per model ``megabytes`` of weights, ``memory_megabytes`` and ``latency_ms`` of one image.

    1 MB = 10**6 bytes. The memory of the loaded model is estimated from its weights. The latency is
    the fastest of a few passes, for a model that answers ``here``. What is unknown is left out.
    """
    found: dict[str, dict[str, float]] = {}
    for name in spec.model_names:
        cost = found.setdefault(name, {})
        if held := size(models.REGISTRY[name]):
            cost["megabytes"] = held / 1e6
            cost["memory_megabytes"] = needed(models.REGISTRY[name]) / 1e6
        with contextlib.suppress(RobustnessError):  # such as a service that is gone by now
            if here:
                cost["latency_ms"] = latency(models.load(name, side=spec.side))
    return found


def remedies_ms(spec: RunSpec) -> dict[str, float]:
    """Milliseconds, by remedy of ``spec``, to make the images that a model is asked about.

    Further forward passes come on top: ``Chain.passes`` - 1 of them.
    """
    shape = 1, spec.side, spec.side, 3
    image = from_uint8(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    found = {}
    for chain in spec.remedies:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            chain.views(image)
            times.append(1000 * (time.perf_counter() - start))
        found[chain.id] = median(times)
    return found
