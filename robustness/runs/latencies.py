"""The latencies of the models of a run, as in its manifest, and the costs that follow."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from robustness.base.validation import CONFIG
from robustness.statistics.choice import Cost

Sizes = Mapping[str, Mapping[Literal["megabytes", "memory_megabytes"], float]]
"""By model ``megabytes`` and ``memory_megabytes``, as far as they are known."""

_MOST_TURNS = 100
_Text = Annotated[str, Field(max_length=4096)]
_Word = Annotated[str, Field(max_length=256)]
_Milliseconds = Annotated[float, Field(gt=0, lt=1e9)]
_ByTurn = Annotated[tuple[_Milliseconds, ...], Field(min_length=1, max_length=_MOST_TURNS)]


@dataclass(frozen=True)
class Latencies:
    """Milliseconds of single passes over one photograph, measured in turns by one process.

    ``measured`` is the time of the measurement, in UTC, ISO 8601. ``processor`` and ``cores`` are
    those of the machine, and ``engines`` names by model what runs it. ``models`` have a number for
    each turn, and so have variants, by their names: that of their models, as often as they are
    asked, with the time in which the remedies make the images. ``waiting`` is the share of the time
    in which the machine had no core free.

    A model that is a function, such as a paid service, is not called to be measured. It has a
    record of its own, with three numbers of its earlier calls: without a tenth at each end the
    shortest and the longest, and the median.
    """

    __pydantic_config__ = CONFIG

    measured: _Word
    processor: _Word
    cores: Annotated[int, Field(ge=1, le=2**31)]
    engines: Mapping[_Text, _Word]
    models: Mapping[_Text, _ByTurn]
    waiting: Annotated[float, Field(ge=0, le=1)] = 0.0

    def cost(self, turns_ms: Sequence[float], model: str) -> Cost:
        """The latency of a pass that took ``turns_ms`` in each turn and has ``model`` in it."""
        engine = self.engines.get(model, "")
        if self.cores == 1:
            cores = "1 core"
        else:
            cores = f"{self.cores} cores"
        return Cost(
            latency_ms=statistics.median(turns_ms),
            latency_low_ms=min(turns_ms),
            latency_high_ms=max(turns_ms),
            waiting=self.waiting,
            turns_ms=tuple(turns_ms),
            measured=self.measured,
            machine=", ".join(filter(None, [self.processor, cores, engine])),
        )


def costs(sizes: Sizes, latencies: Sequence[Latencies]) -> dict[str, Cost]:
    """The cost of each model: its size, and the latency in the last record that has it."""
    cost_by_model: dict[str, Cost] = {}
    for name, size in sizes.items():
        cost_by_model[name] = Cost(
            megabytes=size.get("megabytes"), memory_megabytes=size.get("memory_megabytes")
        )
    for record in latencies:
        for name, turns_ms in record.models.items():
            size_alone = cost_by_model.get(name, Cost())
            cost_by_model[name] = replace(
                record.cost(turns_ms, name),
                megabytes=size_alone.megabytes,
                memory_megabytes=size_alone.memory_megabytes,
            )
    return cost_by_model
