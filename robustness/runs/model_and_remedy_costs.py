"""What the models of a run cost: their size, and their latency on one machine.

Latencies are measured apart from the evaluation, after its rows are written: models in turns in one
process, so that a machine that is busy for a while slows all of them.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.timing_in_turns import in_turns
from robustness.evaluation.request import Request
from robustness.models.classifier_with_probabilities_and_features import Classifier
from robustness.models.loaded_models import budget, needed
from robustness.models.model_check import PHOTOGRAPH, single_pass
from robustness.models.weights.weights_state_and_digest import size
from robustness.pictures.framing_and_study_image import Framing, study_image
from robustness.pictures.sample_files import sample_bytes
from robustness.remedies.chain import Chain
from robustness.runs.latencies import Latencies, Sizes


def measure_sizes(spec: Request) -> Sizes:
    """By model its size; the memory of the loaded model is estimated from its weights."""
    return {
        name: {
            "megabytes": size_in_bytes / 1e6,
            "memory_megabytes": needed(models.REGISTRY[name]) / 1e6,
        }
        for name in spec.model_names
        if (size_in_bytes := size(models.REGISTRY[name]))
    }


def measure_latencies(spec: Request) -> tuple[Latencies, ...]:
    """The latencies of the models of ``spec`` and of its remedies on this machine.

    Models that the memory does not hold at once are in several records. One that cannot be loaded
    here, such as a service that is gone by now, is left out.
    """
    remedies = _remedy_tasks(spec)
    records = []
    for names in _in_memory(spec.model_names):
        passes: dict[str, Callable[[], object]] = {}
        engines = {}
        for name in names:
            with contextlib.suppress(RobustnessError):
                classifier = models.load(name, side=spec.framing_of(name).side)
                engines[name] = classifier.engine
                if classifier.call_seconds is None:
                    passes[name] = single_pass(classifier)
                elif classifier.call_seconds:
                    records.append(_of_calls(name, classifier))
        # One list of turns has both; no model's name has a blank.
        both = {**passes, **{f" {remedy}": task for remedy, task in remedies.items()}}
        if not both:
            continue
        turns, waiting = in_turns(both)
        record = Latencies(
            measured=_now(),
            processor=processor(),
            cores=os.cpu_count() or 1,
            engines={name: engines[name] for name in passes},
            models={name: tuple(turns[name]) for name in passes},
            remedies={remedy: tuple(turns[f" {remedy}"]) for remedy in remedies},
            waiting=waiting,
        )
        records.append(record)
    return tuple(records)


def _of_calls(name: str, classifier: Classifier) -> Latencies:
    """The record of a function, from its earlier calls."""
    seconds = sorted(classifier.call_seconds or ())
    tenth = len(seconds) // 10
    ends = seconds[tenth], statistics.median(seconds), seconds[-1 - tenth]
    return Latencies(
        measured=_now(),
        processor=processor(),
        cores=os.cpu_count() or 1,
        engines={name: classifier.engine},
        models={name: tuple(1000 * each for each in ends)},
    )


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


def _remedy_tasks(spec: Request) -> dict[str, Callable[[], object]]:
    """By remedy what makes the images that a model is asked about.

    Of a photograph at the largest side, with every gate open. Further forward passes come on top:
    ``Chain.passes`` - 1 of them.
    """
    side = max(own.side for own in spec.by_framing)
    image = study_image(sample_bytes(PHOTOGRAPH), Framing(side=side))[None]
    tasks: dict[str, Callable[[], object]] = {}
    for chain in spec.remedies:
        opened = (
            replace(remedy, gate=remedy.gate and replace(remedy.gate, threshold=-math.inf))
            for remedy in chain.remedies
        )
        tasks[chain.id] = partial(Chain(tuple(opened)).views, image)
    return tasks


def processor() -> str:
    """The name of this machine's processor, as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return " ".join(value.split())[:200]
    return (platform.processor() or platform.machine() or "unknown processor")[:200]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
