"""What the models of a run cost on this machine."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.timing_in_turns import in_turns
from robustness.evaluation.request import Request
from robustness.models.loaded_models import budget, needed
from robustness.models.model_check import PHOTOGRAPH, latencies
from robustness.models.weights.weights_state_and_digest import size
from robustness.pictures.framing_and_study_image import Framing, study_image
from robustness.pictures.sample_files import sample_bytes
from robustness.remedies.chain import Chain

Costs = Mapping[str, Mapping[str, float]]


def measure_costs(spec: Request, *, here: bool) -> Costs:
    """Per model the fields of ``Cost``; what is unknown is left out.

    The memory of the loaded model is estimated from its weights. Latencies are measured in turns,
    for models that answer ``here``.
    """
    costs: dict[str, dict[str, float]] = {name: {} for name in spec.model_names}
    for name, cost in costs.items():
        if size_in_bytes := size(models.REGISTRY[name]):
            cost["megabytes"] = size_in_bytes / 1e6
            cost["memory_megabytes"] = needed(models.REGISTRY[name]) / 1e6
    for names in _in_memory(spec.model_names) if here else ():
        classifiers = {}
        for name in names:
            with contextlib.suppress(RobustnessError):  # such as a service that is gone by now
                classifiers[name] = models.load(name, side=spec.framing_of(name).side)
        for name, timing in latencies(classifiers).items():
            costs[name] |= {
                "latency_ms": timing.median,
                "latency_low_ms": timing.low,
                "latency_high_ms": timing.high,
                "waiting": timing.waiting,
            }
    return costs


def _in_memory(names: Sequence[str]) -> Iterator[list[str]]:
    """``names`` in groups that the memory budget holds at once."""
    group: list[str] = []
    taken = 0
    for name in names:
        taken += needed(models.REGISTRY[name])
        if group and taken > budget():
            yield group
            group, taken = [], needed(models.REGISTRY[name])
        group.append(name)
    yield group


def remedies_ms(spec: Request) -> dict[str, float]:
    """Milliseconds, by remedy of ``spec``, to make the images that a model is asked about.

    Of a photograph at the largest side, with every gate open. Further forward passes come on top:
    ``Chain.passes`` - 1 of them.
    """
    side = max(own.side for own in spec.by_framing)
    image = study_image(sample_bytes(PHOTOGRAPH), Framing(side=side))[None]
    tasks = {}
    for chain in spec.remedies:
        opened = (
            replace(remedy, gate=remedy.gate and replace(remedy.gate, threshold=-math.inf))
            for remedy in chain.remedies
        )
        tasks[chain.id] = partial(Chain(tuple(opened)).views, image)
    return {name: timing.median for name, timing in in_turns(tasks).items()}
