"""What the remedies of a run gain: each variant against its base, on the same images."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robustness.models.variant import Variant
from robustness.runs.rows import Cells
from robustness.runs.run import Run
from robustness.statistics.grid import UNKNOWN, ConditionKey, profile_groups
from robustness.statistics.pairs import Gain, PairedTruths, Truths, gains


@dataclass(frozen=True)
class Gains:
    """The gains of the remedies of a run."""

    gains: tuple[Gain, ...]
    milliseconds: dict[tuple[str, str], float]
    """By remedy and model, what the remedy adds for one image; what is unknown is left out."""
    labelled: bool | None = True
    """Whether the images have a true class; None if some do. Without one, a prediction counts as
    good if it is that of the original."""

    def as_rows(self) -> list[dict[str, Any]]:
        """The gains, JSON-ready, each with ``milliseconds`` (None if unknown)."""
        return [
            {**vars(gain), "milliseconds": self.milliseconds.get((gain.remedy, gain.model))}
            for gain in self.gains
        ]


_CACHE: WeakKeyDictionary[Run, Gains] = WeakKeyDictionary()
"""Cache of open runs: the rows of a large one take seconds to read."""


def measured_gains(run: Run) -> Gains:
    """The gains of the remedies of ``run``, worked out once; empty without remedies or images."""
    if run in _CACHE:
        return _CACHE[run]
    spec = run.manifest.spec
    trials: list[PairedTruths] = []
    label_states: set[bool] = set()
    if spec.variants and run.row_count:
        cells, keys = run.rows.variant_cells()
        groups = _condition_groups(run, keys)
        is_attack = np.array([key.is_attack for key in keys])
        for model in spec.model_names:
            is_labelled = cells.read(model, "label") != UNKNOWN
            label_states |= set(np.unique(is_labelled).tolist())
            variants = [variant for variant in spec.variants if model in variant.models]
            trials += _trials(cells, model, variants, groups, is_attack)
    labelled: bool | None
    if len(label_states) > 1:
        labelled = None
    else:
        labelled = label_states != {False}
    _CACHE[run] = Gains(tuple(gains(trials)), _added_milliseconds(run), labelled)
    return _CACHE[run]


def _condition_groups(run: Run, keys: Sequence[ConditionKey]) -> list[tuple[str, Sequence[int]]]:
    """The columns of each condition or profile, in the order in which the rows have them."""
    order = {text: index for index, (text, *_) in enumerate(run.rows.axes.conditions)}

    def first_row(group: tuple[str, Sequence[int]]) -> int:
        _, columns = group
        return min(order[keys[column].id] for column in columns)

    groups = [(key.id, columns) for key, columns in profile_groups(keys).items()]
    return sorted(groups, key=first_row)


def _trials(
    cells: Cells,
    model: str,
    variants: Sequence[Variant],
    groups: Sequence[tuple[str, Sequence[int]]],
    is_attack: NDArray[np.bool_],
) -> Iterator[PairedTruths]:
    """Whether ``model`` and each of its ``variants`` are right, under each condition or profile.

    The right class is the label or, without one, what the model predicts for the original. Under an
    attack a prediction is right only if that for the original is so, too.
    """
    labels = cells.read(model, "label")
    truth = np.where(labels == UNKNOWN, cells.read(model, "clean_top1"), labels)

    def rights(name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        clean = cells.read(name, "clean_top1") == truth
        perturbed = (cells.read(name, "top1") == truth) & (clean | ~is_attack)
        return perturbed, clean

    before, clean_before = rights(model)
    rights_of_variants = [rights(variant.name) for variant in variants]
    for condition, columns in groups:
        for variant, (after, clean_after) in zip(variants, rights_of_variants, strict=True):
            yield PairedTruths(
                variant.chain.id,
                model,
                condition,
                _mean(before, columns),
                _mean(after, columns),
                _mean(clean_before, columns),
                _mean(clean_after, columns),
            )


def _mean(truths: NDArray[np.bool_], columns: Sequence[int]) -> Truths:
    """(images,): the truth values of a condition, or the means over those of a profile."""
    if len(columns) == 1:
        return truths[:, columns[0]]
    return truths[:, columns].mean(axis=1)


def _added_milliseconds(run: Run) -> dict[tuple[str, str], float]:
    """As ``Gains.milliseconds``: the median of what a variant takes longer than the model."""
    added: dict[tuple[str, str], float] = {}
    for record in run.manifest.latencies:
        for variant in run.manifest.spec.variants:
            if variant.name not in record.models:
                continue
            for model in variant.models:
                turns = zip(record.models[variant.name], record.models[model], strict=False)
                longer = [behind - alone for behind, alone in turns]
                added[variant.chain.id, model] = statistics.median(longer)
    return added
