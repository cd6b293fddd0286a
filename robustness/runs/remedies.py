"""What the remedies of a run gain, and its models with each remedy as further grids.

A row with a remedy has the predictions for the original and under the condition, and no more.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import RunError
from robustness.remedies import Chain
from robustness.runs.rows import Cells
from robustness.runs.run import Run
from robustness.statistics.grid import (
    UNKNOWN,
    ConditionKey,
    Grid,
    breakable,
    profile_groups,
    targets,
)
from robustness.statistics.pairs import Gain, PairedTruths, Truths, gains

Classes = NDArray[np.int32]
Flags = NDArray[np.int8]

FLAGS = ("clean_correct", "correct", "consistent")


@dataclass(frozen=True)
class RemedyFigures:
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


_CACHE: WeakKeyDictionary[Run, RemedyFigures] = WeakKeyDictionary()
"""Cache of open runs: the rows of a large one take seconds to read."""


def remedy_figures(run: Run) -> RemedyFigures:
    """The figures of the remedies of ``run``, worked out once; empty without remedies or images."""
    if run in _CACHE:
        return _CACHE[run]
    spec = run.manifest.spec
    trials: list[PairedTruths] = []
    label_states: set[bool] = set()
    if spec.remedies and run.row_count:
        predictions = _Predictions(run)
        for model in spec.model_names:
            label_states |= set(np.unique(predictions.is_labelled(model)).tolist())
            trials += predictions.truths(model)
    labelled: bool | None
    if len(label_states) > 1:
        labelled = None
    else:
        labelled = label_states != {False}
    _CACHE[run] = RemedyFigures(tuple(gains(trials)), milliseconds(run), labelled)
    return _CACHE[run]


class _Predictions:
    """The predictions of a run, with its remedies and without: arrays (images, conditions)."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.chains = run.manifest.spec.remedies
        self.cells: Cells
        self.keys: tuple[ConditionKey, ...]
        self.cells, self.keys = run.rows.cells([chain.id for chain in self.chains])
        self.is_attack = np.array([key.is_attack for key in self.keys])

    def top1(self, model: str, remedy: str = "") -> tuple[Classes, Classes]:
        """The classes predicted for the originals, and under the conditions."""
        clean = self.cells.read(model, "clean_top1", remedy)
        perturbed = self.cells.read(model, "top1", remedy)
        return clean, perturbed

    def is_labelled(self, model: str) -> NDArray[np.bool_]:
        return np.asarray(self.cells.read(model, "label") != UNKNOWN)

    def true_classes(self, model: str) -> Classes:
        """The labels or, without one, the predictions for the originals."""
        clean, _ = self.top1(model)
        return np.where(self.is_labelled(model), self.cells.read(model, "label"), clean)

    def of_chains(self, model: str) -> Iterator[tuple[Chain, Classes, Classes]]:
        """Each remedy with the ``top1`` of ``model``.

        Raises ``RunError`` if rows with a remedy are missing.
        """
        expected = self.cells.has_row(model)
        for chain in self.chains:
            if not np.array_equal(self.cells.has_row(model, chain.id), expected):
                raise RunError(
                    f"The rows of {model} lack some predictions with {chain.id}: the run was "
                    "damaged or changed. Evaluate it again."
                )
            clean, perturbed = self.top1(model, chain.id)
            yield chain, clean, perturbed

    def truths(self, model: str) -> Iterator[PairedTruths]:
        """Whether ``model`` is right without and with each remedy, under each condition or profile.

        Under an attack it is right only if it is so on the original, too.
        """
        truth = self.true_classes(model)
        clean, perturbed = self.top1(model)
        clean_before = clean == truth
        before = (perturbed == truth) & (clean_before | ~self.is_attack)
        with_remedy = []
        for chain, clean, perturbed in self.of_chains(model):
            clean_after = clean == truth
            after = (perturbed == truth) & (clean_after | ~self.is_attack)
            with_remedy.append((chain.id, after, clean_after))
        for condition, columns in self._groups():
            for chain_id, after, clean_after in with_remedy:
                yield PairedTruths(
                    chain_id,
                    model,
                    condition,
                    _mean(before, columns),
                    _mean(after, columns),
                    _mean(clean_before, columns),
                    _mean(clean_after, columns),
                )

    def _groups(self) -> list[tuple[str, Sequence[int]]]:
        """The columns of each condition or profile, in the order in which the rows have them."""
        order = {text: index for index, (text, *_) in enumerate(self.run.rows.axes.conditions)}

        def first_row(group: tuple[str, Sequence[int]]) -> int:
            _, columns = group
            return min(order[self.keys[column].id] for column in columns)

        groups = [(key.id, columns) for key, columns in profile_groups(self.keys).items()]
        return sorted(groups, key=first_row)

    def flags(self, model: str) -> Iterator[tuple[Chain, dict[str, Flags]]]:
        """Each remedy with ``FLAGS``, as ``remedied_models`` defines them."""
        truth = self.true_classes(model)
        is_labelled = self.is_labelled(model)
        is_plain = ~self.is_attack
        attack_targets = targets([key.id for key in self.keys])
        clean_without, _ = self.top1(model)
        for chain, clean, perturbed in self.of_chains(model):
            clean_good = clean == truth
            reference = clean if chain.several_models else clean_without
            reference = np.where(is_labelled & self.is_attack, truth, reference)
            correct = (perturbed == truth) & (clean_good | is_plain)
            consistent = (perturbed == reference) & ((clean == reference) | is_plain)
            can_break = breakable(clean_good | ~is_labelled, clean, attack_targets) | is_plain
            yield (
                chain,
                {
                    "clean_correct": _flags(clean_good, is_labelled),
                    "correct": _flags(correct, is_labelled),
                    "consistent": _flags(consistent, can_break),
                },
            )


def _flags(truth: NDArray[np.bool_], is_counted: NDArray[np.bool_]) -> Flags:
    """``truth`` as 0 and 1, ``UNKNOWN`` where it does not count."""
    return np.where(is_counted, truth, UNKNOWN).astype(np.int8)


def _mean(truths: NDArray[np.bool_], columns: Sequence[int]) -> Truths:
    """(images,): the truth values of a condition, or the means over those of a profile."""
    if len(columns) == 1:
        return truths[:, columns[0]]
    return truths[:, columns].mean(axis=1)


@dataclass(frozen=True)
class RemediedModel:
    """A model with a remedy, or all ``names`` in one for ``average`` and ``vote``.

    ``grid`` has the id, such as ``SqueezeNet+median``, in place of a model's name. It has flags
    alone; numbers such as confidences are unknown.
    """

    grid: Grid
    names: tuple[str, ...]
    chain: Chain

    @property
    def id(self) -> str:
        return self.grid.model


def remedied_names(run: Run) -> dict[str, tuple[tuple[str, ...], Chain]]:
    """The models and the remedy by the id of both, remedy by remedy."""
    by_id: dict[str, tuple[tuple[str, ...], Chain]] = {}
    for chain in run.manifest.spec.remedies:
        for name in run.manifest.spec.model_names:
            names = _asked_models(run, name, chain)
            if chain.several_models and len(names) == 1:
                continue  # one model alone is not combined with others
            by_id["+".join([*names, chain.id])] = (names, chain)
    return by_id


def _asked_models(run: Run, model: str, chain: Chain) -> tuple[str, ...]:
    """The models that ``chain`` asks: those with the classes of ``model`` if it asks several."""
    return same_classes(run, model) if chain.several_models else (model,)


def remedied_models(
    run: Run, grids: Sequence[Grid], columns: Collection[str] = FLAGS
) -> list[RemediedModel]:
    """Every model of ``run``, with its ``grids``, with each remedy.

    ``columns`` are the flags to read. Under an attack an image is correct if it is so before and
    after the attacks on the model and through the remedy; for ``average`` and ``vote``, under those
    on each model. Without labels a prediction is unchanged if it is that of the original without
    the remedy; that of several models, if it is their own of the original.
    """
    by_id = remedied_names(run)
    if not by_id or not run.row_count:
        return []
    predictions = _Predictions(run)
    flags_by_id: dict[str, dict[str, Flags]] = {}
    for grid in grids:
        for chain, flags in predictions.flags(grid.model):
            model_id = "+".join([*_asked_models(run, grid.model, chain), chain.id])
            if model_id not in by_id:
                continue
            combined = flags_by_id.setdefault(model_id, {})
            for column in columns:
                if column in combined:  # of several models each must be right
                    combined[column] = np.minimum(combined[column], flags[column])
                else:
                    combined[column] = flags[column]
    grid_by_model = {grid.model: grid for grid in grids}
    remedied = []
    for model_id, (names, chain) in by_id.items():
        if model_id in flags_by_id:
            grid = _grid_of_flags(model_id, grid_by_model[names[0]], flags_by_id[model_id])
            remedied.append(RemediedModel(grid, names, chain))
    return remedied


def _grid_of_flags(model_id: str, plain: Grid, flags: Mapping[str, Flags]) -> Grid:
    """``plain`` as the grid of ``model_id``, with ``flags`` as its only known columns."""

    def read(column: str) -> NDArray[Any]:
        if column in flags:
            return flags[column]
        return np.full(plain.has_row.shape, np.nan)

    return replace(plain, model=model_id, read=read, plugin_columns=())


def same_classes(run: Run, model: str) -> tuple[str, ...]:
    """The models of ``run`` with the classes of ``model``, which ``average`` and ``vote`` ask."""
    groups = models.by_labels(run.manifest.spec.model_names)
    return next(names for _, names in groups if model in names)


def added_turns(run: Run) -> dict[tuple[str, str], tuple[float, ...]]:
    """By remedy and model the milliseconds that the remedy adds to one image, in each turn."""
    added: dict[tuple[str, str], tuple[float, ...]] = {}
    for record in run.manifest.latencies:
        for chain in run.manifest.spec.remedies:
            if chain.id not in record.remedies:
                continue
            for model in record.models:
                if chain.several_models:
                    more_passes = [name for name in same_classes(run, model) if name != model]
                else:
                    more_passes = [model] * (chain.passes - 1)
                if not all(name in record.models for name in more_passes):
                    continue
                pass_turns = [record.models[name] for name in more_passes]
                turns = zip(record.remedies[chain.id], *pass_turns, strict=False)
                added[chain.id, model] = tuple(sum(times) for times in turns)
    return added


def milliseconds(run: Run) -> dict[tuple[str, str], float]:
    """As ``RemedyFigures.milliseconds``."""
    return {key: statistics.median(turns) for key, turns in added_turns(run).items()}
